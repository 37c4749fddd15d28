package iam

import (
	"strings"
	"time"

	"hearth/internal/awsid"
)

// awsManaged are AWS's managed policies that Lambda's users name, with their
// documents as AWS's managed policy reference lists them
// (https://docs.aws.amazon.com/aws-managed-policy/latest/reference/).
// ReadOnlyAccess has the services that Hearth serves only: its document is
// longer than a policy may be.
var awsManaged = makeAWSManaged()

const (
	logWriting = `"logs:CreateLogGroup","logs:CreateLogStream","logs:PutLogEvents"`
	networks   = `"ec2:CreateNetworkInterface","ec2:DescribeNetworkInterfaces","ec2:DeleteNetworkInterface","ec2:DescribeSubnets"`
	console    = `"cloudformation:DescribeStacks","cloudformation:ListStackResources","cloudwatch:ListMetrics",` +
		`"cloudwatch:GetMetricData","ec2:DescribeSecurityGroups","ec2:DescribeSubnets","ec2:DescribeVpcs","kms:ListAliases",` +
		`"iam:GetPolicy","iam:GetPolicyVersion","iam:GetRole","iam:GetRolePolicy","iam:ListAttachedRolePolicies",` +
		`"iam:ListRolePolicies","iam:ListRoles","logs:DescribeLogGroups","states:DescribeStateMachine","states:ListStateMachines",` +
		`"tag:GetResources","xray:GetTraceSummaries","xray:BatchGetTraces"`
	lambdaLogs = `"arn:aws:logs:*:*:log-group:/aws/lambda/*"`
)

// allowing is a statement that allows actions on a resource, both in JSON.
func allowing(actions, resource string) string {
	return `{"Effect":"Allow","Action":[` + actions + `],"Resource":` + resource + `}`
}

func makeAWSManaged() map[string]*managed {
	all := make(map[string]*managed)
	service := func(name, actions string) { addAWS(all, "/service-role/", name, allowing(actions, `"*"`)) }
	service("AWSLambdaBasicExecutionRole", logWriting)
	service("AWSLambdaVPCAccessExecutionRole", logWriting+","+networks+`,"ec2:AssignPrivateIpAddresses","ec2:UnassignPrivateIpAddresses"`)
	service("AWSLambdaSQSQueueExecutionRole", `"sqs:ReceiveMessage","sqs:DeleteMessage","sqs:GetQueueAttributes",`+logWriting)
	service("AWSLambdaKinesisExecutionRole", `"kinesis:DescribeStream","kinesis:DescribeStreamSummary","kinesis:GetRecords",`+
		`"kinesis:GetShardIterator","kinesis:ListShards","kinesis:ListStreams","kinesis:SubscribeToShard",`+logWriting)
	service("AWSLambdaDynamoDBExecutionRole", `"dynamodb:DescribeStream","dynamodb:GetRecords","dynamodb:GetShardIterator","dynamodb:ListStreams",`+logWriting)
	service("AWSLambdaMSKExecutionRole", `"kafka:DescribeCluster","kafka:DescribeClusterV2","kafka:GetBootstrapBrokers",`+
		networks+`,"ec2:DescribeVpcs","ec2:DescribeSecurityGroups",`+logWriting)
	service("AWSLambdaRole", `"lambda:InvokeFunction"`)

	add := func(name string, statements ...string) { addAWS(all, "/", name, strings.Join(statements, ",")) }
	add("AWSLambdaExecute", allowing(`"logs:*"`, `"arn:aws:logs:*:*:*"`), allowing(`"s3:GetObject","s3:PutObject"`, `"arn:aws:s3:::*"`))
	add("AWSLambdaInvocation-DynamoDB", allowing(`"lambda:InvokeFunction"`, `"*"`),
		allowing(`"dynamodb:DescribeStream","dynamodb:GetRecords","dynamodb:GetShardIterator","dynamodb:ListStreams"`, `"*"`))
	add("AWSXRayDaemonWriteAccess", allowing(`"xray:PutTraceSegments","xray:PutTelemetryRecords","xray:GetSamplingRules",`+
		`"xray:GetSamplingTargets","xray:GetSamplingStatisticSummaries"`, `"*"`))
	add("AWSLambda_FullAccess", allowing(console+`,"lambda:*"`, `"*"`),
		`{"Effect":"Allow","Action":"iam:PassRole","Resource":"*","Condition":{"StringEquals":{"iam:PassedToService":"lambda.amazonaws.com"}}}`,
		allowing(`"logs:DescribeLogStreams","logs:GetLogEvents","logs:FilterLogEvents","logs:StartLiveTail","logs:StopLiveTail"`, lambdaLogs))
	add("AWSLambda_ReadOnlyAccess", allowing(console+`,"cloudformation:ListStacks","lambda:Get*","lambda:List*"`, `"*"`),
		allowing(`"logs:DescribeLogStreams","logs:GetLogEvents","logs:FilterLogEvents","logs:StartQuery","logs:StopQuery","logs:DescribeQueries",`+
			`"logs:GetLogGroupFields","logs:GetLogRecord","logs:GetQueryResults","logs:StartLiveTail","logs:StopLiveTail"`, lambdaLogs))
	add("AdministratorAccess", allowing(`"*"`, `"*"`))
	add("PowerUserAccess", `{"Effect":"Allow","NotAction":["iam:*","organizations:*","account:*"],"Resource":"*"}`,
		allowing(`"account:GetAccountInformation","account:GetGovCloudAccountInformation","account:GetPrimaryEmail","account:ListRegions",`+
			`"iam:CreateServiceLinkedRole","iam:DeleteServiceLinkedRole","iam:ListRoles",`+
			`"organizations:DescribeEffectivePolicy","organizations:DescribeOrganization"`, `"*"`))
	add("IAMFullAccess", allowing(`"iam:*","organizations:DescribeAccount","organizations:DescribeOrganization","organizations:DescribeOrganizationalUnit",`+
		`"organizations:DescribePolicy","organizations:ListChildren","organizations:ListParents","organizations:ListPoliciesForTarget",`+
		`"organizations:ListRoots","organizations:ListPolicies","organizations:ListTargetsForPolicy"`, `"*"`))
	add("ReadOnlyAccess", allowing(`"iam:Get*","iam:List*","kms:Describe*","kms:Get*","kms:List*","lambda:Get*","lambda:List*",`+
		`"logs:Describe*","logs:FilterLogEvents","logs:Get*","logs:List*","logs:StartLiveTail","logs:StopLiveTail","sqs:Get*","sqs:List*"`, `"*"`))
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
	return b.String()[:awsid.UniqueLength-len(policyPrefix)]
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
