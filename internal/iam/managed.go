package iam

import (
	"strings"
	"time"
)

// awsManaged are AWS's managed policies that Lambda's users name, with their
// documents as AWS's managed policy reference lists them.
var awsManaged = makeAWSManaged()

const logWriting = `"logs:CreateLogGroup","logs:CreateLogStream","logs:PutLogEvents"`

func makeAWSManaged() map[string]*managed {
	service, job := "/service-role/", "/"
	all := make(map[string]*managed)
	for _, p := range []struct{ path, name, actions string }{
		{service, "AWSLambdaBasicExecutionRole", logWriting},
		{service, "AWSLambdaVPCAccessExecutionRole", logWriting + `,"ec2:CreateNetworkInterface","ec2:DescribeNetworkInterfaces",` +
			`"ec2:DescribeSubnets","ec2:DeleteNetworkInterface","ec2:AssignPrivateIpAddresses","ec2:UnassignPrivateIpAddresses"`},
		{service, "AWSLambdaSQSQueueExecutionRole", logWriting + `,"sqs:ReceiveMessage","sqs:DeleteMessage","sqs:GetQueueAttributes"`},
		{service, "AWSLambdaKinesisExecutionRole", logWriting + `,"kinesis:DescribeStream","kinesis:DescribeStreamSummary",` +
			`"kinesis:GetRecords","kinesis:GetShardIterator","kinesis:ListShards","kinesis:ListStreams","kinesis:SubscribeToShard"`},
		{service, "AWSLambdaDynamoDBExecutionRole", logWriting + `,"dynamodb:DescribeStream","dynamodb:GetRecords",` +
			`"dynamodb:GetShardIterator","dynamodb:ListStreams"`},
		{service, "AWSLambdaMSKExecutionRole", logWriting + `,"kafka:DescribeCluster","kafka:DescribeClusterV2","kafka:GetBootstrapBrokers",` +
			`"ec2:CreateNetworkInterface","ec2:DescribeNetworkInterfaces","ec2:DescribeVpcs","ec2:DeleteNetworkInterface",` +
			`"ec2:DescribeSubnets","ec2:DescribeSecurityGroups"`},
		{service, "AWSLambdaRole", `"lambda:InvokeFunction"`},
		{job, "AWSLambdaExecute", `"logs:*","s3:GetObject","s3:PutObject"`},
		{job, "AWSLambdaInvocation-DynamoDB", `"lambda:InvokeFunction","dynamodb:DescribeStream",` +
			`"dynamodb:GetRecords","dynamodb:GetShardIterator","dynamodb:ListStreams"`},
		{job, "AWSXRayDaemonWriteAccess", `"xray:PutTraceSegments","xray:PutTelemetryRecords","xray:GetSamplingRules",` +
			`"xray:GetSamplingTargets","xray:GetSamplingStatisticSummaries"`},
		{job, "AdministratorAccess", `"*"`},
		{job, "AWSLambda_FullAccess", `"cloudformation:DescribeStacks","cloudformation:ListStackResources","cloudwatch:ListMetrics",` +
			`"cloudwatch:GetMetricData","ec2:DescribeSecurityGroups","ec2:DescribeSubnets","ec2:DescribeVpcs","kms:ListAliases",` +
			`"iam:GetPolicy","iam:GetPolicyVersion","iam:GetRole","iam:GetRolePolicy","iam:ListAttachedRolePolicies",` +
			`"iam:ListRolePolicies","iam:ListRoles","iam:PassRole","lambda:*","logs:DescribeLogGroups","logs:DescribeLogStreams",` +
			`"logs:GetLogEvents","logs:FilterLogEvents","logs:StartLiveTail","states:DescribeStateMachine","states:ListStateMachines",` +
			`"tag:GetResources","xray:GetTraceSummaries","xray:BatchGetTraces"`},
		{job, "AWSLambda_ReadOnlyAccess", `"cloudwatch:GetMetricData","cloudwatch:ListMetrics","iam:GetPolicy","iam:GetPolicyVersion",` +
			`"iam:GetRole","iam:GetRolePolicy","iam:ListAttachedRolePolicies","iam:ListRolePolicies","iam:ListRoles","kms:ListAliases",` +
			`"lambda:Get*","lambda:List*","logs:DescribeLogGroups","logs:DescribeLogStreams","logs:GetLogEvents","logs:FilterLogEvents",` +
			`"states:DescribeStateMachine","states:ListStateMachines","tag:GetResources","xray:GetTraceSummaries","xray:BatchGetTraces"`},
		{job, "ReadOnlyAccess", `"iam:Get*","iam:List*","kms:Describe*","kms:Get*","kms:List*","lambda:Get*","lambda:List*",` +
			`"logs:Describe*","logs:FilterLogEvents","logs:Get*","logs:List*","logs:StartLiveTail","sqs:Get*","sqs:List*","sts:GetCallerIdentity"`},
	} {
		addAWS(all, p.path, p.name, `{"Effect":"Allow","Action":[`+p.actions+`],"Resource":"*"}`)
	}
	addAWS(all, job, "PowerUserAccess", `{"Effect":"Allow","NotAction":["iam:*","organizations:*","account:*"],"Resource":"*"},`+
		`{"Effect":"Allow","Action":["iam:CreateServiceLinkedRole","iam:DeleteServiceLinkedRole","iam:ListRoles"],"Resource":"*"}`)
	addAWS(all, job, "IAMFullAccess", `{"Effect":"Allow","Action":["iam:*","organizations:DescribeAccount"],"Resource":"*"}`)
	return all
}

func addAWS(all map[string]*managed, path, name, statements string) {
	created := time.Date(2015, 4, 9, 15, 3, 43, 0, time.UTC)
	m := &managed{
		Account: awsAccount, Name: name, Path: path, ID: policyPrefix + strings.ToUpper(pad(name)), Created: created, Updated: created,
		Versions: []policyVersion{{ID: "v1", Document: `{"Version":"2012-10-17","Statement":[` + statements + `]}`, Created: created}},
		Default:  "v1", Last: 1,
	}
	all[m.arn()] = m
}

// pad makes of a name the rest of an id.
func pad(name string) string {
	var b strings.Builder
	for _, c := range name + "AAAAAAAAAAAAAAAAA" {
		if 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' {
			b.WriteRune(c)
		}
	}
	return b.String()[:idLength-len(policyPrefix)]
}

// managedByARN finds a managed policy, AWS's or an account's own.
func (s *Service) managedByARN(arn string) (*managed, bool) {
	if m, ok := awsManaged[arn]; ok {
		return m, true
	}
	account, kind, name, ok := parseARN(arn)
	if !ok || kind != "policy" {
		return nil, false
	}
	m, ok := s.policies.Lookup(entityKey(account, name))
	if !ok || m.arn() != arn {
		return nil, false
	}
	return m, true
}

// accountOf is the account of an IAM ARN.
func accountOf(arn string) string {
	account, _, _, ok := parseARN(arn)
	if !ok {
		return ""
	}
	return account
}

// parseARN splits an IAM ARN; the path is left out of the name.
func parseARN(arn string) (account, kind, name string, ok bool) {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 || parts[0] != "arn" || parts[2] != "iam" || parts[3] != "" {
		return "", "", "", false
	}
	kind, rest, ok := strings.Cut(parts[5], "/")
	if !ok || !isAccount(parts[4]) {
		return "", "", "", false
	}
	if kind == "oidc-provider" {
		return parts[4], kind, rest, true
	}
	return parts[4], kind, rest[strings.LastIndexByte(rest, '/')+1:], true
}
