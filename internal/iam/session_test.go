package iam

import (
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"hearth/internal/awserr"
)

// denied fails unless err is an AWS error of a code.
func denied(t testing.TB, what string, err error, code string) {
	t.Helper()
	if e, ok := awserr.As(err); !ok || e.Code != code {
		t.Errorf("%s: got %v, want %s", what, err, code)
	}
}

func TestAssumeRole(t *testing.T) {
	b := start(t)
	ctx := t.Context()
	bob := b.user("bob", statement("Allow", "sts:AssumeRole", "*"))
	role := b.makeRole("r", trustingARN("arn:aws:iam::000000000000:user/bob"), statement("Allow", "lambda:Get*", "*"))
	out, err := bob.sts.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: &role, RoleSessionName: aws.String("s1")})
	if err != nil {
		t.Fatal(err)
	}
	c := out.Credentials
	id, _ := b.idOf(role)
	if *out.AssumedRoleUser.Arn != "arn:aws:sts::000000000000:assumed-role/r/s1" || *out.AssumedRoleUser.AssumedRoleId != id+":s1" ||
		!strings.HasPrefix(*c.AccessKeyId, "ASIA") || !c.Expiration.Equal(b.now().Add(time.Hour)) {
		t.Errorf("%+v %+v", out.AssumedRoleUser, c)
	}
	session := b.as(aws.Credentials{AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken})
	who, err := session.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil || *who.Arn != *out.AssumedRoleUser.Arn || *who.UserId != id+":s1" {
		t.Errorf("%+v, %v", who, err)
	}
	if err := b.ask(session, "lambda:GetFunction", "arn:aws:lambda:us-east-1:000000000000:function:f"); err != nil {
		t.Error(err)
	}
	denied(t, "beyond the role", b.ask(session, "lambda:DeleteFunction", "*"), "AccessDeniedException")

	const plain = "is not authorized to perform: sts:AssumeRole on resource: "
	_, err = b.assume(bob, "arn:aws:iam::000000000000:role/none")
	refused(t, "a role that is not there", err, 403, "AccessDenied", "User: arn:aws:iam::000000000000:user/bob "+plain+"arn:aws:iam::000000000000:role/none")
	mary := b.user("mary", statement("Allow", "sts:AssumeRole", "*"))
	_, err = b.assume(mary, role)
	refused(t, "a user who is not trusted", err, 403, "AccessDenied", plain+role)
	if strings.Contains(err.Error(), "because") {
		t.Errorf("the answer tells that the role is there: %v", err)
	}
	_, err = b.assume(b.root(), role)
	refused(t, "the root user", err, 403, "AccessDenied", "Roles may not be assumed by root accounts.")
	_, err = b.assume(bob, "arn:aws:iam::000000000000:user/bob")
	refused(t, "no role", err, 400, "ValidationError", "is invalid")
	for what, tt := range map[string]struct {
		change func(*sts.AssumeRoleInput)
		code   string
		text   string
	}{
		"too short":       {func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(899) }, "ValidationError", "Member must have value greater than or equal to 900"},
		"too long":        {func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(43201) }, "ValidationError", "Member must have value less than or equal to 43200"},
		"beyond the role": {func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(3601) }, "ValidationError", "exceeds the MaxSessionDuration set for this role."},
		"session name":    {func(in *sts.AssumeRoleInput) { in.RoleSessionName = aws.String("a/b") }, "ValidationError", "'roleSessionName'"},
		"second factor":   {func(in *sts.AssumeRoleInput) { in.SerialNumber = aws.String("arn:aws:iam::000000000000:mfa/x") }, "AccessDenied", "MultiFactorAuthentication"},
		"session policy":  {func(in *sts.AssumeRoleInput) { in.Policy = aws.String("{}") }, "MalformedPolicyDocument", ""},
		"tags":            {func(in *sts.AssumeRoleInput) { in.Tags = []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}} }, "AccessDenied", "sts:TagSession"},
		"source identity": {func(in *sts.AssumeRoleInput) { in.SourceIdentity = aws.String("bob") }, "AccessDenied", "sts:SetSourceIdentity"},
	} {
		_, err := b.assume(bob, role, tt.change)
		status := 400
		if tt.code == "AccessDenied" {
			status = 403
		}
		refused(t, what, err, status, tt.code, tt.text)
	}
}

func TestExternalID(t *testing.T) {
	b := start(t)
	bob := b.user("bob", statement("Allow", "sts:AssumeRole", "*"))
	role := b.makeRole("r", trusting(`{"AWS":"arn:aws:iam::000000000000:user/bob"}`, `"Condition":{"StringEquals":{"sts:ExternalId":"ext"}}`), "")
	with := func(id string) func(*sts.AssumeRoleInput) {
		return func(in *sts.AssumeRoleInput) { in.ExternalId = &id }
	}
	if _, err := b.assume(bob, role, with("ext")); err != nil {
		t.Error(err)
	}
	_, err := b.assume(bob, role, with("other"))
	refused(t, "another id", err, 403, "AccessDenied", "")
	_, err = b.assume(bob, role)
	refused(t, "none", err, 403, "AccessDenied", "")
}

// TestSessionLimits holds that a session's own policies only ever take away.
func TestSessionLimits(t *testing.T) {
	b := start(t)
	bob := b.user("bob", statement("Allow", "sts:AssumeRole", "*"))
	role := b.makeRole("r", trustingARN("arn:aws:iam::000000000000:user/bob"), statement("Allow", "lambda:*", "*"))
	inline, err := b.assume(bob, role, func(in *sts.AssumeRoleInput) {
		in.Policy = aws.String(statement("Allow", "*", "arn:aws:lambda:*:*:function:a"))
	})
	if err != nil {
		t.Fatal(err)
	}
	arns, err := b.assume(bob, role, func(in *sts.AssumeRoleInput) {
		in.PolicyArns = []types.PolicyDescriptorType{{Arn: aws.String("arn:aws:iam::aws:policy/AWSLambda_ReadOnlyAccess")}}
	})
	if err != nil {
		t.Fatal(err)
	}
	a, other := "arn:aws:lambda:us-east-1:000000000000:function:a", "arn:aws:lambda:us-east-1:000000000000:function:b"
	for _, tt := range []struct {
		who              *caller
		action, resource string
		allowed          bool
	}{
		{inline, "lambda:InvokeFunction", a, true},
		{inline, "lambda:InvokeFunction", other, false},
		{inline, "s3:GetObject", a, false},
		{arns, "lambda:GetFunction", a, true},
		{arns, "lambda:InvokeFunction", a, false},
	} {
		if err := b.ask(tt.who, tt.action, tt.resource); (err == nil) != tt.allowed {
			t.Errorf("%s on %s: %v", tt.action, tt.resource, err)
		}
	}
}

// TestSessionEnds ends sessions in every way there is.
func TestSessionEnds(t *testing.T) {
	b := start(t)
	ctx, root := t.Context(), b.root()
	bob := b.user("bob", statement("Allow", "*", "*"))
	trust := trustingARN("arn:aws:iam::000000000000:user/bob")
	role := b.makeRole("r", trust, statement("Allow", "lambda:*", "*"))
	session, err := b.assume(bob, role)
	if err != nil {
		t.Fatal(err)
	}
	ask := func() error { return b.ask(session, "lambda:GetFunction", "*") }
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	if _, err := root.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: aws.String("r"), PolicyName: aws.String("p")}); err != nil {
		t.Fatal(err)
	}
	denied(t, "after the role's policy went", ask(), "AccessDeniedException")
	if _, err := root.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("r")}); err != nil {
		t.Fatal(err)
	}
	gone := func(what string, c *caller) {
		t.Helper()
		_, err := c.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		refused(t, what, err, 403, "InvalidClientTokenId", "The security token included in the request is invalid.")
	}
	gone("after the role went", session)
	b.makeRole("r", trust, statement("Allow", "lambda:*", "*"))
	gone("after another role came in its place", session)

	session, err = b.assume(bob, role)
	if err != nil {
		t.Fatal(err)
	}
	own, err := bob.sts.GetSessionToken(ctx, &sts.GetSessionTokenInput{DurationSeconds: aws.Int32(7200)})
	if err != nil {
		t.Fatal(err)
	}
	mine := b.as(aws.Credentials{AccessKeyID: *own.Credentials.AccessKeyId, SecretAccessKey: *own.Credentials.SecretAccessKey, SessionToken: *own.Credentials.SessionToken})
	if err := b.ask(mine, "lambda:GetFunction", "*"); err != nil {
		t.Error(err)
	}
	_, err = mine.ListUsers(ctx, &iam.ListUsersInput{})
	refused(t, "IAM with session keys of a user", err, 403, "InvalidClientTokenId", "")
	_, err = mine.sts.GetSessionToken(ctx, &sts.GetSessionTokenInput{})
	refused(t, "a session of a session", err, 403, "AccessDenied", "Cannot call GetSessionToken with session credentials")

	// The key is cached as one that verified; all the same it ends at once.
	if _, err := bob.GetUser(ctx, &iam.GetUserInput{}); err != nil {
		t.Fatal(err)
	}
	status := func(s iamtypes.StatusType) {
		t.Helper()
		_, err := root.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: aws.String("bob"), AccessKeyId: &bob.keys.AccessKeyID, Status: s})
		if err != nil {
			t.Fatal(err)
		}
	}
	status(iamtypes.StatusTypeInactive)
	gone("a key that was switched off", bob)
	gone("the session made with it", mine)
	status(iamtypes.StatusTypeActive)
	if _, err := bob.GetUser(ctx, &iam.GetUserInput{}); err != nil {
		t.Errorf("switched on again: %v", err)
	}
	if _, err := root.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: aws.String("bob"), AccessKeyId: &bob.keys.AccessKeyID}); err != nil {
		t.Fatal(err)
	}
	gone("a key that was deleted", bob)
	gone("its session", mine)

	if err := b.ask(session, "lambda:GetFunction", "*"); err != nil {
		t.Errorf("a role's session ends with the key that assumed it: %v", err)
	}
	b.clock.add(time.Hour)
	_, err = session.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	refused(t, "an expired session", err, 403, "ExpiredToken", "The security token included in the request is expired")
}

// TestTokensAreBound moves tokens to other keys and changes them.
func TestTokensAreBound(t *testing.T) {
	b := start(t)
	ctx := t.Context()
	bob := b.user("bob", statement("Allow", "*", "*"))
	role := b.makeRole("r", trustingARN("arn:aws:iam::000000000000:user/bob"), "")
	one, err1 := b.assume(bob, role)
	two, err2 := b.assume(bob, role)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	token := one.keys.SessionToken
	for what, keys := range map[string]aws.Credentials{
		"another session's token":   {AccessKeyID: one.keys.AccessKeyID, SecretAccessKey: one.keys.SecretAccessKey, SessionToken: two.keys.SessionToken},
		"no token":                  {AccessKeyID: one.keys.AccessKeyID, SecretAccessKey: one.keys.SecretAccessKey},
		"a token with a user's key": {AccessKeyID: bob.keys.AccessKeyID, SecretAccessKey: bob.keys.SecretAccessKey, SessionToken: token},
		"another account":           {AccessKeyID: one.keys.AccessKeyID, SecretAccessKey: one.keys.SecretAccessKey, SessionToken: strings.Replace(token, testAccount, "111111111111", 1)},
		"a changed token":           {AccessKeyID: one.keys.AccessKeyID, SecretAccessKey: one.keys.SecretAccessKey, SessionToken: token[:40] + "A" + token[41:] + "A"},
		"a cut token":               {AccessKeyID: one.keys.AccessKeyID, SecretAccessKey: one.keys.SecretAccessKey, SessionToken: token[:len(token)-4]},
	} {
		_, err := b.as(keys).sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
		refused(t, what, err, 403, "InvalidClientTokenId", "The security token included in the request is invalid.")
	}
	// Another Hearth's tokens are none, and a restart forgets no session.
	if s := b.open(); s != nil {
		if _, err := s.Secret(ctx, one.keys.AccessKeyID, token); err != nil {
			t.Errorf("after a restart: %v", err)
		}
	}
	foreign := b.open(func(c *Config) { c.Sealer = newSealer("another") })
	if _, err := foreign.Secret(ctx, one.keys.AccessKeyID, token); err == nil {
		t.Error("a token of another keyring was believed")
	}
}

// TestChaining passes tags and the source identity from session to session.
func TestChaining(t *testing.T) {
	b := start(t)
	bob := b.user("bob", `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:*","Resource":"*"}}`)
	open := func(principal string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + principal + `"},` +
			`"Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]}]}`
	}
	first := b.makeRole("first", open("arn:aws:iam::000000000000:user/bob"), `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"sts:*","Resource":"*"},`+
		`{"Effect":"Allow","Action":"lambda:GetFunction","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/team":"red"}}}]}`)
	if _, err := b.root().TagRole(t.Context(), &iam.TagRoleInput{RoleName: aws.String("first"), Tags: []iamtypes.Tag{{Key: aws.String("Team"), Value: aws.String("red")}}}); err != nil {
		t.Fatal(err)
	}
	second := b.makeRole("second", open(first), `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"lambda:GetFunction","Resource":"*",`+
		`"Condition":{"StringEquals":{"aws:PrincipalTag/team":"blue","aws:SourceIdentity":"bob"},"Null":{"aws:PrincipalTag/other":"true"}}}]}`)
	plain, err := b.assume(bob, first)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.ask(plain, "lambda:GetFunction", "*"); err != nil {
		t.Errorf("the role's own tag: %v", err)
	}
	tagged, err := b.assume(bob, first, func(in *sts.AssumeRoleInput) {
		in.Tags = []types.Tag{{Key: aws.String("team"), Value: aws.String("blue")}, {Key: aws.String("other"), Value: aws.String("x")}}
		in.TransitiveTagKeys, in.SourceIdentity = []string{"team"}, aws.String("bob")
	})
	if err != nil {
		t.Fatal(err)
	}
	denied(t, "the session's tag hides the role's", b.ask(tagged, "lambda:GetFunction", "*"), "AccessDeniedException")
	chained, err := b.assume(tagged, second)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.ask(chained, "lambda:GetFunction", "*"); err != nil {
		t.Errorf("the transitive tag and source identity: %v", err)
	}
	_, err = b.assume(tagged, second, func(in *sts.AssumeRoleInput) {
		in.Tags = []types.Tag{{Key: aws.String("TEAM"), Value: aws.String("green")}}
	})
	refused(t, "another value for a transitive tag", err, 400, "ValidationError", "transitive tag")
	_, err = b.assume(tagged, second, func(in *sts.AssumeRoleInput) { in.SourceIdentity = aws.String("mary") })
	refused(t, "another source identity", err, 403, "AccessDenied", "source identity")
	_, err = b.root().UpdateRole(t.Context(), &iam.UpdateRoleInput{RoleName: aws.String("second"), MaxSessionDuration: aws.Int32(7200)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.assume(tagged, second, func(in *sts.AssumeRoleInput) { in.DurationSeconds = aws.Int32(3601) })
	refused(t, "a long chained session", err, 400, "ValidationError", "1 hour session limit for roles assumed by role chaining")
}

// TestNamesake holds that trust is in a user, not in a name.
func TestNamesake(t *testing.T) {
	b := start(t)
	ctx, root := t.Context(), b.root()
	bob := b.user("bob", statement("Allow", "sts:AssumeRole", "*"))
	role := b.makeRole("r", trustingARN("arn:aws:iam::000000000000:user/bob"), "")
	if _, err := b.assume(bob, role); err != nil {
		t.Fatal(err)
	}
	name := aws.String("bob")
	old, _ := b.idOf("arn:aws:iam::000000000000:user/bob")
	for _, step := range []func() error{
		func() error {
			_, err := root.DeleteAccessKey(ctx, &iam.DeleteAccessKeyInput{UserName: name, AccessKeyId: &bob.keys.AccessKeyID})
			return err
		},
		func() error {
			_, err := root.DeleteUserPolicy(ctx, &iam.DeleteUserPolicyInput{UserName: name, PolicyName: aws.String("p")})
			return err
		},
		func() error { _, err := root.DeleteUser(ctx, &iam.DeleteUserInput{UserName: name}); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	_, err := b.assume(b.user("bob", statement("Allow", "sts:AssumeRole", "*")), role)
	refused(t, "another user of the name", err, 403, "AccessDenied", "sts:AssumeRole")
	out, err := root.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("r")})
	if err != nil || !strings.Contains(*out.Role.AssumeRolePolicyDocument, old) {
		t.Errorf("the trust policy does not show %s: %v, %v", old, out, err)
	}
}
