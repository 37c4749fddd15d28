package iam

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"hearth/internal/awserr"
	"hearth/internal/policy"
	"hearth/internal/sigv4"
)

func (b *bench) identity(c *caller) *sigv4.Identity {
	b.t.Helper()
	credential, err := b.Secret(b.t.Context(), c.keys.AccessKeyID, c.keys.SessionToken)
	if err != nil {
		b.t.Fatal(err)
	}
	return &sigv4.Identity{Credential: credential, AccessKeyID: c.keys.AccessKeyID, Token: c.keys.SessionToken}
}

// managedPolicy makes a managed policy.
func (b *bench) managedPolicy(name, document string) *string {
	b.t.Helper()
	p, err := b.root().CreatePolicy(b.t.Context(), &iam.CreatePolicyInput{PolicyName: &name, PolicyDocument: &document})
	if err != nil {
		b.t.Fatal(err)
	}
	return p.Policy.Arn
}

func TestPassRole(t *testing.T) {
	b := start(t)
	const function = "arn:aws:lambda:us-east-1:000000000000:function:f"
	any1 := b.makeRole("any", lambdaTrust, "")
	ec2 := b.makeRole("ec2", trusting(`{"Service":"ec2.amazonaws.com"}`), "")
	mine := b.makeRole("mine", trusting(`{"Service":"lambda.amazonaws.com"}`, `"Condition":{"ArnLike":{"aws:SourceArn":"`+function+`"},"StringEquals":{"aws:SourceAccount":"`+testAccount+`"}}`), "")
	all := b.user("all", statement("Allow", "iam:PassRole", "*"))
	lambdaOnly := b.user("lambda", statement("Allow", "iam:PassRole", "arn:aws:iam::*:role/any", `"Condition":{"StringEquals":{"iam:PassedToService":"lambda.amazonaws.com"}}`))
	otherOnly := b.user("other", statement("Allow", "iam:PassRole", "*", `"Condition":{"StringEquals":{"iam:PassedToService":"ec2.amazonaws.com"}}`))
	office := b.user("office", statement("Allow", "iam:PassRole", "*", `"Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`))
	const notAssumed = "The role defined for the function cannot be assumed by Lambda."
	for _, tt := range []struct {
		who            *caller
		role, function string
		code, text     string
	}{
		{b.root(), any1, function, "", ""},
		{all, any1, function, "", ""},
		{lambdaOnly, any1, function, "", ""},
		{lambdaOnly, mine, function, "AccessDeniedException", "iam:PassRole on resource: " + mine},
		{otherOnly, any1, function, "AccessDeniedException", "because no identity-based policy allows the iam:PassRole action"},
		{office, any1, function, "AccessDeniedException", "iam:PassRole"},
		{all, ec2, function, "InvalidParameterValueException", notAssumed},
		{all, mine, function, "", ""},
		{all, mine, function + "2", "InvalidParameterValueException", notAssumed},
		{all, "arn:aws:iam::000000000000:role/none", function, "InvalidParameterValueException", notAssumed},
		{all, "arn:aws:iam::111111111111:role/any", function, "AccessDeniedException", "Cross-account pass role is not allowed."},
	} {
		err := b.PassRole(t.Context(), b.identity(tt.who), &policy.Request{Resource: tt.role}, tt.function)
		e, _ := awserr.As(err)
		if tt.code == "" && err != nil || tt.code != "" && (e == nil || e.Code != tt.code) {
			t.Errorf("%s to %s: %v", tt.role, tt.function, err)
		} else if tt.code != "" {
			denied(t, tt.role, err, tt.code)
		}
	}
	keys, err := b.FunctionSession(t.Context(), mine, function, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	who := b.identity(b.as(aws.Credentials{AccessKeyID: keys.AccessKeyID, SecretAccessKey: keys.SecretAccessKey, SessionToken: keys.SessionToken}))
	if who.PrincipalARN != "arn:aws:sts::000000000000:assumed-role/mine/f" {
		t.Errorf("a function is %s", who.PrincipalARN)
	}
	for _, arn := range []string{function + "2", "arn:aws:lambda:us-east-1:111111111111:function:f", "f", ""} {
		if _, err := b.FunctionSession(t.Context(), mine, arn, time.Hour); err == nil {
			t.Errorf("function %q got a role that does not trust it", arn)
		}
	}
}

// TestGuards holds the conditions by which documented policies guard what a
// delegated administrator must not touch. Without the key they deny nothing.
func TestGuards(t *testing.T) {
	b := start(t)
	ctx, root := t.Context(), b.root()
	limit := b.managedPolicy("limit", statement("Allow", "lambda:*", "*"))
	b.makeRole("bounded", lambdaTrust, "")
	b.makeRole("tagged", lambdaTrust, "")
	if _, err := root.PutRolePermissionsBoundary(ctx, &iam.PutRolePermissionsBoundaryInput{RoleName: aws.String("bounded"), PermissionsBoundary: limit}); err != nil {
		t.Fatal(err)
	}
	if _, err := root.TagRole(ctx, &iam.TagRoleInput{RoleName: aws.String("tagged"), Tags: []types.Tag{{Key: aws.String("protected"), Value: aws.String("yes")}}}); err != nil {
		t.Fatal(err)
	}
	admin := b.user("admin", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iam:*","Resource":"*"},`+
		`{"Effect":"Deny","Action":"iam:DeleteRolePermissionsBoundary","Resource":"*","Condition":{"StringEquals":{"iam:PermissionsBoundary":"`+*limit+`"}}},`+
		`{"Effect":"Deny","Action":"iam:CreateRole","Resource":"*","Condition":{"StringNotEquals":{"iam:PermissionsBoundary":"`+*limit+`"}}},`+
		`{"Effect":"Deny","Action":"iam:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/protected":"yes"}}},`+
		`{"Effect":"Deny","Action":"iam:AttachRolePolicy","Resource":"*","Condition":{"ArnEquals":{"iam:PolicyARN":"arn:aws:iam::aws:policy/AdministratorAccess"}}},`+
		`{"Effect":"Deny","Action":"iam:TagRole","Resource":"*","Condition":{"ForAnyValue:StringEquals":{"aws:TagKeys":["protected"]}}},`+
		`{"Effect":"Deny","Action":"iam:UntagRole","Resource":"*","Condition":{"ForAnyValue:StringEquals":{"aws:TagKeys":["protected"]}}}]}`)
	no := func(what string, err error) {
		t.Helper()
		refused(t, what, err, 403, "AccessDenied", "with an explicit deny in an identity-based policy")
	}
	_, err := admin.DeleteRolePermissionsBoundary(ctx, &iam.DeleteRolePermissionsBoundaryInput{RoleName: aws.String("bounded")})
	no("taking the boundary away", err)
	_, err = admin.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("free"), AssumeRolePolicyDocument: aws.String(lambdaTrust)})
	no("a role without the boundary", err)
	if _, err = admin.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("free"), AssumeRolePolicyDocument: aws.String(lambdaTrust), PermissionsBoundary: limit}); err != nil {
		t.Error(err)
	}
	_, err = admin.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("tagged")})
	no("deleting what is protected by a tag", err)
	_, err = admin.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String("free"), PolicyArn: aws.String("arn:aws:iam::aws:policy/AdministratorAccess")})
	no("attaching what must not be", err)
	_, err = admin.TagRole(ctx, &iam.TagRoleInput{RoleName: aws.String("free"), Tags: []types.Tag{{Key: aws.String("protected"), Value: aws.String("x")}}})
	no("a tag key", err)
	_, err = admin.UntagRole(ctx, &iam.UntagRoleInput{RoleName: aws.String("free"), TagKeys: []string{"protected"}})
	no("taking a tag key", err)
	_, err = root.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: limit})
	refused(t, "deleting a boundary in use", err, 409, "DeleteConflict", "Cannot delete a policy attached to entities.")
}

// TestRevokedSessions does what the console's "revoke active sessions" does.
func TestRevokedSessions(t *testing.T) {
	b := start(t)
	bob := b.user("bob", statement("Allow", "sts:AssumeRole", "*"))
	role := b.makeRole("r", trustingARN("arn:aws:iam::000000000000:user/bob"), statement("Allow", "*", "*"))
	before, err := b.assume(bob, role)
	if err != nil {
		t.Fatal(err)
	}
	b.clock.add(time.Minute)
	document := statement("Deny", "*", "*", `"Condition":{"DateLessThan":{"aws:TokenIssueTime":"`+b.now().Format(time.RFC3339)+`"}}`)
	_, err = b.root().PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: aws.String("r"), PolicyName: aws.String("AWSRevokeOlderSessions"), PolicyDocument: &document})
	if err != nil {
		t.Fatal(err)
	}
	after, err := b.assume(bob, role)
	if err != nil {
		t.Fatal(err)
	}
	denied(t, "a session of before", b.ask(before, "lambda:GetFunction", "*"), "AccessDeniedException")
	if err := b.ask(after, "lambda:GetFunction", "*"); err != nil {
		t.Errorf("a session of after: %v", err)
	}
}

// TestChangesCountAtOnce changes every thing that a decision is made of.
func TestChangesCountAtOnce(t *testing.T) {
	b := start(t)
	ctx, root, name := t.Context(), b.root(), aws.String("bob")
	bob := b.user("bob", "")
	arn := b.managedPolicy("p", statement("Allow", "lambda:GetFunction", "*"))
	ask := func(what string, want bool) {
		t.Helper()
		for range 2 { // the second answer is remembered
			if err := b.ask(bob, "lambda:GetFunction", "*"); (err == nil) != want {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	do := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ask("at first", false)
	do(root.AttachUserPolicy(ctx, &iam.AttachUserPolicyInput{UserName: name, PolicyArn: arn}))
	ask("attached", true)
	do(root.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: arn, SetAsDefault: true, PolicyDocument: aws.String(statement("Deny", "*", "*"))}))
	ask("a new version denies", false)
	do(root.SetDefaultPolicyVersion(ctx, &iam.SetDefaultPolicyVersionInput{PolicyArn: arn, VersionId: aws.String("v1")}))
	ask("the old version again", true)
	bounds := b.managedPolicy("b", statement("Allow", "s3:*", "*"))
	do(root.PutUserPermissionsBoundary(ctx, &iam.PutUserPermissionsBoundaryInput{UserName: name, PermissionsBoundary: bounds}))
	ask("bounded", false)
	do(root.CreatePolicyVersion(ctx, &iam.CreatePolicyVersionInput{PolicyArn: bounds, SetAsDefault: true, PolicyDocument: aws.String(statement("Allow", "*", "*"))}))
	ask("a wider boundary", true)
	do(root.DeleteUserPermissionsBoundary(ctx, &iam.DeleteUserPermissionsBoundaryInput{UserName: name}))
	do(root.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: name, PolicyName: aws.String("i"), PolicyDocument: aws.String(statement("Deny", "lambda:*", "*"))}))
	ask("denied inline", false)
	do(root.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: name, PolicyName: aws.String("i")}))
	ask("no more", true)
	do(root.DetachUserPolicy(ctx, &iam.DetachUserPolicyInput{UserName: name, PolicyArn: arn}))
	ask("detached", false)
}

// TestSetsOutliveOtherChanges holds that what concerns one user leaves the
// policies of others where they are.
func TestSetsOutliveOtherChanges(t *testing.T) {
	b := start(t)
	bob := b.user("bob", statement("Allow", "*", "*"))
	id, err := identityOf(b.identity(bob))
	if err != nil {
		t.Fatal(err)
	}
	before := b.setOf(id)
	b.user("mary", statement("Allow", "*", "*"))
	b.makeRole("r", lambdaTrust, "")
	if b.setOf(id) != before {
		t.Error("the policies were read again")
	}
}

// TestAttachWhileDeleted lets policies be attached and deleted at once: none
// may be gone and attached.
func TestAttachWhileDeleted(t *testing.T) {
	b := start(t)
	ctx, root := t.Context(), b.root()
	const roles = 4
	for i := range roles {
		b.makeRole(fmt.Sprint("r", i), lambdaTrust, "")
	}
	for round := range 10 {
		arn := b.managedPolicy("p", statement("Allow", "a:B", "*"))
		var wg sync.WaitGroup
		var gone error
		for i := range roles {
			wg.Go(func() {
				_, _ = root.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String(fmt.Sprint("r", i)), PolicyArn: arn})
			})
		}
		wg.Go(func() { _, gone = root.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: arn}) })
		wg.Wait()
		attached := 0
		for i := range roles {
			r, _ := b.roleNamed(testAccount, fmt.Sprint("r", i))
			attached += len(r.Attached)
			if len(r.Attached) == 0 {
				continue
			}
			if _, err := root.DetachRolePolicy(ctx, &iam.DetachRolePolicyInput{RoleName: &r.Name, PolicyArn: arn}); err != nil {
				t.Error(err)
			}
		}
		if gone == nil && attached > 0 {
			t.Fatalf("round %d: the policy is gone and attached to %d roles", round, attached)
		}
		if gone != nil {
			if _, err := root.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: arn}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestKeyStaysFound makes requests while their user changes.
func TestKeyStaysFound(t *testing.T) {
	b := start(t)
	bob := b.user("bob", "")
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if _, err := b.Secret(t.Context(), bob.keys.AccessKeyID, ""); err != nil {
				t.Errorf("while the user changes: %v", err)
				return
			}
		}
	})
	for i := range 50 {
		_, err := b.users.Change(t.Context(), entityKey(testAccount, "bob"), func(now *user) (*user, error) {
			next := now.clone()
			next.Tags = map[string]string{"i": fmt.Sprint(i)}
			return next, nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	close(done)
	wg.Wait()
}

// TestUnreadablePolicyDenies stores what no API would.
func TestUnreadablePolicyDenies(t *testing.T) {
	b := start(t)
	bob := b.user("bob", statement("Allow", "*", "*"))
	_, err := b.users.Change(t.Context(), entityKey(testAccount, "bob"), func(now *user) (*user, error) {
		next := now.clone()
		next.Inline["broken"] = `{"Version":"2099-01-01"}`
		return next, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	denied(t, "with a policy that cannot be read", b.ask(bob, "lambda:GetFunction", "*"), "AccessDeniedException")
}

func TestAWSManaged(t *testing.T) {
	for arn, m := range awsManaged {
		if m.arn() != arn {
			t.Errorf("%s is listed as %s", m.arn(), arn)
		}
		d, err := policy.Parse(policy.KindIdentity, arn, []byte(m.Versions[0].Document))
		if err != nil {
			t.Errorf("%s: %v", arn, err)
		} else if d.Size() > policy.QuotaManaged {
			t.Errorf("%s is too long", arn)
		}
	}
	b := start(t)
	full := b.user("full", "")
	if _, err := b.root().AttachUserPolicy(t.Context(), &iam.AttachUserPolicyInput{UserName: aws.String("full"), PolicyArn: aws.String("arn:aws:iam::aws:policy/AWSLambda_FullAccess")}); err != nil {
		t.Fatal(err)
	}
	if err := b.ask(full, "iam:PassRole", "arn:aws:iam::000000000000:role/r", "iam:PassedToService", "lambda.amazonaws.com"); err != nil {
		t.Errorf("passing a role to Lambda: %v", err)
	}
	denied(t, "passing a role to another service", b.ask(full, "iam:PassRole", "arn:aws:iam::000000000000:role/r", "iam:PassedToService", "ec2.amazonaws.com"), "AccessDeniedException")
	denied(t, "logs of others", b.ask(full, "logs:GetLogEvents", "arn:aws:logs:us-east-1:000000000000:log-group:/secret:log-stream:x"), "AccessDeniedException")
}
