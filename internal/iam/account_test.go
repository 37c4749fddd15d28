package iam

import (
	"context"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"hearth/internal/awsquery"
	"hearth/internal/webidentity"
)

// query calls an operation that no SDK has.
func (b *bench) query(c *caller, service string, form url.Values) ([]byte, error) {
	b.t.Helper()
	return b.Serve(b.t.Context(), &awsquery.Call{Caller: b.identity(c), Service: service, Form: form, RequestID: "id"})
}

func TestAccounts(t *testing.T) {
	b := start(t)
	ctx := t.Context()
	text, err := b.query(b.root(), "iam", url.Values{"Action": {"HearthCreateAccount"}, "AccountName": {"team"}})
	if err != nil {
		t.Fatal(err)
	}
	var made struct {
		Result accountResult `xml:"HearthCreateAccountResult"`
	}
	if err := xml.Unmarshal(text, &made); err != nil {
		t.Fatal(err)
	}
	id := made.Result.Account.AccountID
	if !isAccount(id) || id == testAccount {
		t.Fatalf("account %q", id)
	}
	other := b.as(aws.Credentials{AccessKeyID: made.Result.RootKey.AccessKeyID, SecretAccessKey: made.Result.RootKey.SecretAccessKey})
	who, err := other.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil || *who.Arn != "arn:aws:iam::"+id+":root" || *who.Account != id {
		t.Errorf("%+v, %v", who, err)
	}
	for who, c := range map[string]*caller{"the first account's": b.root(), "another's": other} {
		keys, err := c.ListAccessKeys(ctx, &iam.ListAccessKeysInput{})
		if err != nil || len(keys.AccessKeyMetadata) != 1 || *keys.AccessKeyMetadata[0].AccessKeyId != c.keys.AccessKeyID ||
			keys.AccessKeyMetadata[0].Status != "Active" || keys.AccessKeyMetadata[0].UserName != nil {
			t.Errorf("%s root user's keys: %+v, %v", who, keys, err)
		}
	}
	if _, err := other.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String(DefaultRole)}); err != nil {
		t.Errorf("the default role: %v", err)
	}
	// The accounts do not see each other.
	b.makeRole("mine", lambdaTrust, "")
	_, err = other.GetRole(ctx, &iam.GetRoleInput{RoleName: aws.String("mine")})
	refused(t, "a role of another account", err, 404, "NoSuchEntity", "")
	arn := b.managedPolicy("p", statement("Allow", "*", "*"))
	_, err = other.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: arn})
	refused(t, "a policy of another account", err, 404, "NoSuchEntity", "")
	_, err = other.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: aws.String(DefaultRole), PolicyArn: arn})
	refused(t, "attaching a policy of another account", err, 404, "NoSuchEntity", "")
	if summary, err := other.GetAccountSummary(ctx, &iam.GetAccountSummaryInput{}); err != nil || summary.SummaryMap["Roles"] != 1 {
		t.Errorf("summary %+v, %v", summary, err)
	}

	for what, c := range map[string]*caller{"another account's root user": other, "an administrator": b.user("admin", statement("Allow", "*", "*"))} {
		for _, action := range []string{"HearthCreateAccount", "HearthListAccounts"} {
			_, err := b.query(c, "iam", url.Values{"Action": {action}, "AccountName": {"x"}})
			denied(t, what, err, "AccessDenied")
		}
	}
	text, err = b.query(b.root(), "iam", url.Values{"Action": {"HearthListAccounts"}})
	if err != nil || strings.Count(string(text), "<member>") != 2 || !strings.Contains(string(text), id) {
		t.Errorf("%s, %v", text, err)
	}
	if strings.Contains(string(text), "Secret") {
		t.Error("a list shows secrets")
	}

	// A role may be assumed from the other account, if both sides allow.
	role := b.makeRole("shared", trustingARN("arn:aws:iam::"+id+":root"), "")
	if _, err := other.CreateUser(ctx, &iam.CreateUserInput{UserName: aws.String("eve")}); err != nil {
		t.Fatal(err)
	}
	k, err := other.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: aws.String("eve")})
	if err != nil {
		t.Fatal(err)
	}
	eve := b.as(aws.Credentials{AccessKeyID: *k.AccessKey.AccessKeyId, SecretAccessKey: *k.AccessKey.SecretAccessKey})
	_, err = b.assume(eve, role)
	refused(t, "without a policy of her own", err, 403, "AccessDenied", "sts:AssumeRole")
	_, err = other.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: aws.String("eve"), PolicyName: aws.String("p"), PolicyDocument: aws.String(statement("Allow", "sts:AssumeRole", role))})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.assume(eve, role); err != nil {
		t.Errorf("with both: %v", err)
	}
	// What the API stores is sealed.
	found, err := b.etcd.Get(ctx, "hearth/iam/users/"+id+"/eve")
	if err != nil || len(found.Kvs) != 1 || strings.Contains(string(found.Kvs[0].Value), *k.AccessKey.SecretAccessKey) {
		t.Errorf("the record of eve: %v, %v", found, err)
	}
}

// tokens believes what a test says.
type tokens struct {
	claims map[string]any
	err    error
	asked  []string
}

func (f *tokens) Verify(_ context.Context, issuer, _ string) (map[string]any, error) {
	f.asked = append(f.asked, issuer)
	return f.claims, f.err
}

func TestWebIdentity(t *testing.T) {
	f := &tokens{}
	b := start(t, func(c *Config) { c.Tokens = f })
	ctx, root := t.Context(), b.root()
	made, err := root.CreateOpenIDConnectProvider(ctx, &iam.CreateOpenIDConnectProviderInput{Url: aws.String("https://id.example/realm"), ClientIDList: []string{"app"}})
	if err != nil || *made.OpenIDConnectProviderArn != "arn:aws:iam::000000000000:oidc-provider/id.example/realm" {
		t.Fatalf("%+v, %v", made, err)
	}
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Federated":"` + *made.OpenIDConnectProviderArn + `"},` +
		`"Action":"sts:AssumeRoleWithWebIdentity","Condition":{"StringEquals":{"id.example/realm:aud":"app","id.example/realm:sub":"me"}}}]}`
	role := b.makeRole("web", trust, `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"lambda:*","Resource":"*",`+
		`"Condition":{"StringEquals":{"id.example/realm:sub":"me","aws:FederatedProvider":"`+*made.OpenIDConnectProviderArn+`"}}},`+
		`{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalTag/admin":"yes"}}}]}`)
	nobody := b.as(aws.Credentials{})
	jwt := func(issuer string) string {
		return "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+issuer+`"}`)) + ".sig"
	}
	ask := func(issuer string) (*sts.AssumeRoleWithWebIdentityOutput, error) {
		token := jwt(issuer)
		return nobody.sts.AssumeRoleWithWebIdentity(ctx, &sts.AssumeRoleWithWebIdentityInput{RoleArn: &role, RoleSessionName: aws.String("ci"), WebIdentityToken: &token})
	}
	const issuer = "https://id.example/realm"
	f.claims = map[string]any{"iss": issuer, "sub": "me", "aud": "app"}
	out, err := ask(issuer)
	if err != nil || *out.SubjectFromWebIdentityToken != "me" || *out.Audience != "app" || *out.Provider != *made.OpenIDConnectProviderArn {
		t.Fatalf("%+v, %v", out, err)
	}
	session := b.as(aws.Credentials{AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: *out.Credentials.SecretAccessKey, SessionToken: *out.Credentials.SessionToken})
	if err := b.ask(session, "lambda:GetFunction", "*"); err != nil {
		t.Error(err)
	}
	f.claims["azp"], f.claims["aud"] = "app", []any{"x", "y"}
	if _, err := ask(issuer); err != nil {
		t.Errorf("the authorised party: %v", err)
	}
	for what, tt := range map[string]struct {
		claims map[string]any
		err    error
		issuer string
		status int
		code   string
	}{
		"another subject":     {map[string]any{"sub": "you", "aud": "app"}, nil, issuer, 403, "AccessDenied"},
		"another audience":    {map[string]any{"sub": "me", "aud": "other"}, nil, issuer, 400, "InvalidIdentityToken"},
		"another party":       {map[string]any{"sub": "me", "aud": "app", "azp": "other"}, nil, issuer, 400, "InvalidIdentityToken"},
		"no audience":         {map[string]any{"sub": "me"}, nil, issuer, 400, "InvalidIdentityToken"},
		"an unknown provider": {nil, errors.New("must not be asked"), "https://evil.example", 400, "InvalidIdentityToken"},
		"no HTTPS":            {nil, errors.New("must not be asked"), "http://id.example/realm", 400, "InvalidIdentityToken"},
		"a bad token":         {nil, webidentity.ErrInvalid, issuer, 400, "InvalidIdentityToken"},
		"an old token":        {nil, webidentity.ErrExpired, issuer, 400, "ExpiredTokenException"},
		"a provider away":     {nil, webidentity.ErrUnreachable, issuer, 400, "IDPCommunicationError"},
	} {
		f.claims, f.err, f.asked = tt.claims, tt.err, nil
		_, err := ask(tt.issuer)
		refused(t, what, err, tt.status, tt.code, "")
		if tt.issuer != issuer && f.asked != nil {
			t.Errorf("%s: %v was asked", what, f.asked)
		}
	}
	// Whoever has no signature cannot add tags to the session.
	f.claims, f.err = map[string]any{"sub": "me", "aud": "app"}, nil
	text, err := b.Serve(ctx, &awsquery.Call{Service: "sts", Form: url.Values{
		"Action": {"AssumeRoleWithWebIdentity"}, "RoleArn": {role}, "RoleSessionName": {"ci"}, "WebIdentityToken": {jwt(issuer)},
		"Tags.member.1.Key": {"admin"}, "Tags.member.1.Value": {"yes"},
	}})
	var answer struct {
		Credentials xmlCredentials `xml:"AssumeRoleWithWebIdentityResult>Credentials"`
	}
	if err == nil {
		err = xml.Unmarshal(text, &answer)
	}
	if err != nil {
		t.Fatal(err)
	}
	k := answer.Credentials
	denied(t, "with a tag of its own", b.ask(b.as(aws.Credentials{AccessKeyID: k.AccessKeyID, SecretAccessKey: k.SecretAccessKey, SessionToken: k.SessionToken}),
		"s3:GetObject", "*"), "AccessDeniedException")
	byTag := b.makeRole("tag", strings.Replace(trust, `"id.example/realm:sub":"me"`, `"aws:RequestTag/admin":"yes"`, 1), "")
	_, err = b.Serve(ctx, &awsquery.Call{Service: "sts", Form: url.Values{
		"Action": {"AssumeRoleWithWebIdentity"}, "RoleArn": {byTag}, "RoleSessionName": {"ci"}, "WebIdentityToken": {jwt(issuer)},
		"Tags.member.1.Key": {"admin"}, "Tags.member.1.Value": {"yes"},
	}})
	denied(t, "by a tag of its own", err, "AccessDenied")
	_, err = nobody.sts.GetSessionToken(ctx, &sts.GetSessionTokenInput{})
	if err == nil {
		t.Error("a session for nobody")
	}
	for _, action := range []string{"GetCallerIdentity", "GetSessionToken", "AssumeRole", "GetAccessKeyInfo"} {
		if _, err := b.Serve(ctx, &awsquery.Call{Service: "sts", Form: url.Values{"Action": {action}}}); err == nil {
			t.Errorf("%s without a signature", action)
		}
	}
	for action := range iamOperations {
		if _, err := b.Serve(ctx, &awsquery.Call{Service: "iam", Form: url.Values{"Action": {action}}}); err == nil {
			t.Errorf("%s without a signature", action)
		} else {
			denied(t, action, err, "MissingAuthenticationTokenException")
		}
	}
}

// TestEveryOperationAsks calls everything as somebody who may do nothing.
func TestEveryOperationAsks(t *testing.T) {
	b := start(t)
	nobody := b.user("nobody", "")
	b.makeRole("r", lambdaTrust, "")
	for action := range iamOperations {
		_, err := b.query(nobody, "iam", url.Values{"Action": {action}, "RoleName": {"r"}, "UserName": {"nobody"}, "PolicyName": {"p"},
			"PolicyArn": {"arn:aws:iam::aws:policy/AdministratorAccess"}, "PolicyDocument": {statement("Allow", "*", "*")}})
		denied(t, action, err, "AccessDenied")
	}
	if n := len(b.users.All()[0].Inline); n != 0 {
		t.Errorf("%d policies were stored", n)
	}
}
