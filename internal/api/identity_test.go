package api_test

import (
	"context"
	"encoding/xml"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"hearth/internal/sigv4"
)

// as are an access key's clients.
type as struct {
	*lambda.Client
	iam *iam.Client
	sts *sts.Client
}

func (h hearth) as(keyID, secret, token string) as {
	credentials := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret, SessionToken: token}, nil
	})
	return as{
		Client: lambda.New(lambda.Options{Region: region, BaseEndpoint: &h.url, HTTPClient: h.http, RetryMaxAttempts: 1, Credentials: credentials}),
		iam:    iam.New(iam.Options{Region: region, BaseEndpoint: &h.url, HTTPClient: h.http, RetryMaxAttempts: 1, Credentials: credentials}),
		sts:    sts.New(sts.Options{Region: region, BaseEndpoint: &h.url, HTTPClient: h.http, RetryMaxAttempts: 1, Credentials: credentials}),
	}
}

func (h hearth) root() as { return h.as(key, secret, "") }

// user makes a user with an inline policy and returns its clients and key.
func (h hearth) user(name, document string) (as, string) {
	h.t.Helper()
	return h.userOf(h.root(), name, document)
}

// userOf makes a user in the account of a root user.
func (h hearth) userOf(root as, name, document string) (as, string) {
	h.t.Helper()
	ctx := h.t.Context()
	if _, err := root.iam.CreateUser(ctx, &iam.CreateUserInput{UserName: &name}); err != nil {
		h.t.Fatal(err)
	}
	h.allowIn(root, name, document)
	out, err := root.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name})
	if err != nil {
		h.t.Fatal(err)
	}
	return h.as(*out.AccessKey.AccessKeyId, *out.AccessKey.SecretAccessKey, ""), *out.AccessKey.AccessKeyId
}

func (h hearth) allow(user, document string) {
	h.t.Helper()
	h.allowIn(h.root(), user, document)
}

func (h hearth) allowIn(root as, user, document string) {
	h.t.Helper()
	_, err := root.iam.PutUserPolicy(h.t.Context(), &iam.PutUserPolicyInput{UserName: &user, PolicyName: aws.String("p"), PolicyDocument: &document})
	if err != nil {
		h.t.Fatal(err)
	}
}

func statement(effect, action, resource string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"` + effect + `","Action":"` + action + `","Resource":"` + resource + `"}]}`
}

// denied checks a refusal, and that the audit log has a line of it.
func (h hearth) denied(what string, err error, code, words, by string) {
	h.t.Helper()
	want(h.t, what, err, 403, code, words)
	events := *h.events
	if len(events) == 0 {
		h.t.Errorf("%s: no audit line", what)
		return
	}
	last := events[len(events)-1]
	if last.Allowed || last.RequestID == "" || !strings.Contains(last.By, by) {
		h.t.Errorf("%s: audit line %+v, want it denied by %q", what, last, by)
	}
}

func list(c as) error {
	_, err := c.ListFunctions(context.Background(), &lambda.ListFunctionsInput{})
	return err
}

// TestDenyMatrix has everybody who should not get in knock.
func TestDenyMatrix(t *testing.T) {
	h, ctx := startHearth(t), t.Context()
	h.create("hi")
	hi := aws.String("hi")
	get := func(c as, name string) error {
		_, err := c.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: &name})
		return err
	}
	alice, aliceKey := h.user("alice", statement("Allow", "lambda:*", "*"))
	if err := get(alice, "hi"); err != nil {
		t.Fatalf("alice may: %v", err)
	}

	h.denied("a bad signature", list(h.as(aliceKey, "wrong", "")), "InvalidSignatureException", "", "InvalidSignatureException")
	h.denied("an unknown key", list(h.as("AKIAAAAAAAAAAAAAAAAA", "x", "")), "UnrecognizedClientException", "The security token included in the request is invalid.", "UnrecognizedClientException")
	h.denied("another account", get(alice, "arn:aws:lambda:us-east-1:111111111111:function:hi"), "AccessDeniedException",
		"User: arn:aws:iam::000000000000:user/alice is not authorized to perform: lambda:GetFunction on resource: "+
			"arn:aws:lambda:us-east-1:111111111111:function:hi because no resource-based policy allows the lambda:GetFunction action", "no resource-based policy")

	bob, _ := h.user("bob", statement("Allow", "lambda:GetFunction", hiARN))
	if err := get(bob, "hi"); err != nil {
		t.Fatalf("bob may: %v", err)
	}
	h.denied("no statement", list(bob), "AccessDeniedException",
		"User: arn:aws:iam::000000000000:user/bob is not authorized to perform: lambda:ListFunctions on resource: * because no identity-based policy allows the lambda:ListFunctions action", "no identity-based policy")
	_, err := bob.Invoke(ctx, &lambda.InvokeInput{FunctionName: hi})
	h.denied("invoke", err, "AccessDeniedException", "User: arn:aws:iam::000000000000:user/bob is not authorized to perform: lambda:InvokeFunction on resource: "+
		hiARN+" because no identity-based policy allows the lambda:InvokeFunction action", "no identity-based policy")
	h.allow("bob", `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"lambda:*","Resource":"*"},{"Sid":"never","Effect":"Deny","Action":"lambda:GetFunction","Resource":"*"}]}`)
	h.denied("an explicit deny", get(bob, "hi"), "AccessDeniedException", "User: arn:aws:iam::000000000000:user/bob is not authorized to perform: "+
		"lambda:GetFunction on resource: "+hiARN+" with an explicit deny in an identity-based policy", "never")

	_, err = alice.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: aws.String("new"), Role: aws.String(role), Runtime: types.RuntimePython311, Handler: aws.String("app.handler"),
		Code: &types.FunctionCode{ZipFile: archiveOf(t, "x")},
	})
	h.denied("PassRole is missing", err, "AccessDeniedException", "User: arn:aws:iam::000000000000:user/alice is not authorized to perform: "+
		"iam:PassRole on resource: "+role+" because no identity-based policy allows the iam:PassRole action", "no identity-based policy")

	h.boundary(alice)
	h.resourcePolicies(alice)
	h.crossAccount()

	_, err = h.root().iam.UpdateAccessKey(ctx, &iam.UpdateAccessKeyInput{UserName: aws.String("alice"), AccessKeyId: &aliceKey, Status: "Inactive"})
	if err != nil {
		t.Fatal(err)
	}
	h.denied("a deactivated key", list(alice), "UnrecognizedClientException", "The security token included in the request is invalid.", "UnrecognizedClientException")
	h.presigned()
}

// boundary limits alice to reading.
func (h hearth) boundary(alice as) {
	h.t.Helper()
	ctx, root := h.t.Context(), h.root()
	reading, err := root.iam.CreatePolicy(ctx, &iam.CreatePolicyInput{PolicyName: aws.String("reading"), PolicyDocument: aws.String(statement("Allow", "lambda:Get*", "*"))})
	if err != nil {
		h.t.Fatal(err)
	}
	_, err = root.iam.PutUserPermissionsBoundary(ctx, &iam.PutUserPermissionsBoundaryInput{UserName: aws.String("alice"), PermissionsBoundary: reading.Policy.Arn})
	if err != nil {
		h.t.Fatal(err)
	}
	h.denied("a boundary", list(alice), "AccessDeniedException", "User: arn:aws:iam::000000000000:user/alice is not authorized to perform: "+
		"lambda:ListFunctions on resource: * because no permissions boundary allows the lambda:ListFunctions action", "no permissions boundary")
	if _, err := root.iam.DeletePolicy(ctx, &iam.DeletePolicyInput{PolicyArn: reading.Policy.Arn}); err == nil {
		h.t.Error("a policy that is somebody's boundary was deleted")
	}
	if _, err := root.iam.DeleteUserPermissionsBoundary(ctx, &iam.DeleteUserPermissionsBoundaryInput{UserName: aws.String("alice")}); err != nil {
		h.t.Fatal(err)
	}
	if err := list(alice); err != nil {
		h.t.Errorf("without the boundary: %v", err)
	}
}

// resourcePolicies has a function's own policy decide.
func (h hearth) resourcePolicies(alice as) {
	h.t.Helper()
	ctx := h.t.Context()
	policy := `{"Version":"2012-10-17","Statement":[{"Sid":"shut","Effect":"Deny","Principal":"*","Action":"lambda:Get*","Resource":"` + hiARN + `"}]}`
	if _, err := h.PutResourcePolicy(ctx, &lambda.PutResourcePolicyInput{ResourceArn: aws.String(hiARN), Policy: &policy}); err != nil {
		h.t.Fatal(err)
	}
	_, err := alice.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("hi")})
	h.denied("the function's policy", err, "AccessDeniedException", "", "shut")
	if _, err := h.DeleteResourcePolicy(ctx, &lambda.DeleteResourcePolicyInput{ResourceArn: aws.String(hiARN)}); err != nil {
		h.t.Fatal(err)
	}
}

// account makes an account and returns its id and its root user.
func (h hearth) account(name string) (string, as) {
	h.t.Helper()
	form := url.Values{"Action": {"HearthCreateAccount"}, "AccountName": {name}, "Version": {"2010-05-08"}}.Encode()
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodPost, h.url+"/", strings.NewReader(form))
	if err != nil {
		h.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	if err := sigv4.Sign(h.t.Context(), req, key, secret, sigv4.Scope{Region: region, Service: "iam"}, []byte(form), time.Now().UTC()); err != nil {
		h.t.Fatal(err)
	}
	resp, err := h.http.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	var made struct {
		ID     string `xml:"HearthCreateAccountResult>Account>AccountID"`
		Key    string `xml:"HearthCreateAccountResult>RootKey>AccessKeyID"`
		Secret string `xml:"HearthCreateAccountResult>RootKey>SecretAccessKey"`
	}
	if err := xml.NewDecoder(resp.Body).Decode(&made); err != nil || made.Secret == "" {
		h.t.Fatalf("account %q, %v", made.ID, err)
	}
	return made.ID, h.as(made.Key, made.Secret, "")
}

// crossAccount has a second account knock: nothing of the first is open to it
// but what a resource policy opens, on that policy's conditions.
func (h hearth) crossAccount() {
	h.t.Helper()
	ctx := h.t.Context()
	id, root := h.account("strangers")
	stranger, _ := h.userOf(root, "eve", statement("Allow", "lambda:*", "*"))
	get := func() error {
		_, err := stranger.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String(hiARN)})
		return err
	}
	permit := func(sid string, source *string) {
		_, err := h.AddPermission(ctx, &lambda.AddPermissionInput{
			FunctionName: aws.String("hi"), StatementId: &sid, Action: aws.String("lambda:GetFunction"), Principal: &id, SourceArn: source,
		})
		if err != nil {
			h.t.Fatal(err)
		}
	}
	words := "User: arn:aws:iam::" + id + ":user/eve is not authorized to perform: lambda:GetFunction on resource: " + hiARN +
		" because no resource-based policy allows the lambda:GetFunction action"
	h.denied("another account", get(), "AccessDeniedException", words, "no resource-based policy")
	_, err := root.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String(hiARN)})
	h.denied("another account's root user", err, "AccessDeniedException", strings.Replace(words, ":user/eve ", ":root ", 1), "no resource-based policy")
	permit("open", nil)
	if err := get(); err != nil {
		h.t.Errorf("a permission for the account: %v", err)
	}
	if _, err := h.RemovePermission(ctx, &lambda.RemovePermissionInput{FunctionName: aws.String("hi"), StatementId: aws.String("open")}); err != nil {
		h.t.Fatal(err)
	}
	permit("bucket", aws.String("arn:aws:s3:::bucket"))
	h.denied("another source", get(), "AccessDeniedException", words, "no resource-based policy")
	if _, err := h.RemovePermission(ctx, &lambda.RemovePermissionInput{FunctionName: aws.String("hi"), StatementId: aws.String("bucket")}); err != nil {
		h.t.Fatal(err)
	}
	// What the function's account opens, the user's own must allow too.
	permit("open", nil)
	h.allowIn(root, "eve", statement("Allow", "lambda:ListFunctions", "*"))
	h.denied("the user's own account", get(), "AccessDeniedException", "User: arn:aws:iam::"+id+":user/eve is not authorized to perform: "+
		"lambda:GetFunction on resource: "+hiARN+" because no identity-based policy allows the lambda:GetFunction action", "no identity-based policy")
	h.allowIn(root, "eve", statement("Allow", "lambda:*", hiARN))
	if err := get(); err != nil {
		h.t.Errorf("both accounts allow it: %v", err)
	}
}

// presigned uses an old link.
func (h hearth) presigned() {
	h.t.Helper()
	out, err := h.GetFunction(h.t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String("hi")})
	if err != nil {
		h.t.Fatal(err)
	}
	link, err := url.Parse(*out.Code.Location)
	if err != nil {
		h.t.Fatal(err)
	}
	h.clock.Add(int64(11 * time.Minute))
	defer h.clock.Add(-int64(11 * time.Minute))
	req, err := http.NewRequestWithContext(h.t.Context(), http.MethodGet, link.String(), nil)
	if err != nil {
		h.t.Fatal(err)
	}
	resp, err := h.http.Do(req)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	events := *h.events
	if last := events[len(events)-1]; resp.StatusCode != http.StatusForbidden || last.By != "InvalidSignatureException" {
		h.t.Errorf("an old link: %d, audit line %+v", resp.StatusCode, last)
	}
}

func TestSessions(t *testing.T) {
	h, ctx := startHearth(t), t.Context()
	h.create("hi")
	root := h.root()
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:root"},"Action":"sts:AssumeRole",` +
		`"Condition":{"StringEquals":{"sts:ExternalId":"ext"}}}]}`
	made, err := root.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("reader"), AssumeRolePolicyDocument: &trust})
	if err != nil {
		t.Fatal(err)
	}
	_, err = root.iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("reader"), PolicyName: aws.String("p"),
		PolicyDocument: aws.String(statement("Allow", "lambda:*", "*"))})
	if err != nil {
		t.Fatal(err)
	}
	alice, _ := h.user("alice", statement("Allow", "sts:AssumeRole", "*"))
	in := &sts.AssumeRoleInput{RoleArn: made.Role.Arn, RoleSessionName: aws.String("s1")}
	_, err = root.sts.AssumeRole(ctx, in)
	h.denied("the root user", err, "AccessDenied", "Roles may not be assumed by root accounts.", "no role trust policy")
	_, err = alice.sts.AssumeRole(ctx, in)
	h.denied("no external id", err, "AccessDenied", "", "no role trust policy")
	in.ExternalId = aws.String("ext")
	in.Policy = aws.String(statement("Allow", "lambda:ListFunctions", "*"))
	out, err := alice.sts.AssumeRole(ctx, in)
	if err != nil {
		t.Fatal(err)
	}
	c := out.Credentials
	session := h.as(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken)
	who, err := session.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil || *who.Arn != "arn:aws:sts::000000000000:assumed-role/reader/s1" || *who.UserId != *made.Role.RoleId+":s1" {
		t.Errorf("who: %+v, %v", who, err)
	}
	if err := list(session); err != nil {
		t.Errorf("what role and session policy allow: %v", err)
	}
	_, err = session.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("hi")})
	h.denied("the session policy", err, "AccessDeniedException", "", "no session policy")
	h.denied("no token", list(h.as(*c.AccessKeyId, *c.SecretAccessKey, "")), "UnrecognizedClientException", "", "UnrecognizedClientException")
	h.denied("another's token", list(h.as("ASIAAAAAAAAAAAAAAAAA", *c.SecretAccessKey, *c.SessionToken)), "UnrecognizedClientException", "", "UnrecognizedClientException")
	h.denied("a cut token", list(h.as(*c.AccessKeyId, *c.SecretAccessKey, (*c.SessionToken)[:len(*c.SessionToken)-3])), "UnrecognizedClientException", "", "UnrecognizedClientException")

	h.sessions.Add(int64(61 * time.Minute))
	h.denied("an expired session", list(session), "ExpiredTokenException", "The security token included in the request is expired", "ExpiredTokenException")
	h.sessions.Add(-int64(61 * time.Minute))

	if _, err := root.iam.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: aws.String("reader"), PolicyName: aws.String("p")}); err != nil {
		t.Fatal(err)
	}
	h.denied("the role's policy is gone", list(session), "AccessDeniedException", "", "no identity-based policy")
	if _, err := root.iam.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: aws.String("reader")}); err != nil {
		t.Fatal(err)
	}
	if _, err := root.iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("reader"), AssumeRolePolicyDocument: &trust}); err != nil {
		t.Fatal(err)
	}
	h.denied("the role was made again", list(session), "UnrecognizedClientException", "", "UnrecognizedClientException")
}

// TestLinksAreForWhoMayHaveThem signs links to code with keys that the server
// never made one for.
func TestLinksAreForWhoMayHaveThem(t *testing.T) {
	h, ctx := startHearth(t), t.Context()
	h.create("hi")
	status := func(link string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := h.http.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	out, err := h.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("hi")})
	if err != nil {
		t.Fatal(err)
	}
	link, err := url.Parse(*out.Code.Location)
	if err != nil {
		t.Fatal(err)
	}
	name := aws.String("bob")
	if _, err := h.root().iam.CreateUser(ctx, &iam.CreateUserInput{UserName: name}); err != nil {
		t.Fatal(err)
	}
	h.allow("bob", statement("Allow", "lambda:ListFunctions", "*"))
	k, err := h.root().iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: name})
	if err != nil {
		t.Fatal(err)
	}
	forge := func() string {
		t.Helper()
		link.RawQuery = ""
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, link.String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now().UTC()
		scope := sigv4.Scope{Date: now.Format("20060102"), Region: region, Service: "hearth-code"}
		keys := aws.Credentials{AccessKeyID: *k.AccessKey.AccessKeyId, SecretAccessKey: *k.AccessKey.SecretAccessKey}
		signed, err := sigv4.Presign(ctx, req, keys, scope, now, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	if got := status(forge()); got != http.StatusForbidden {
		t.Errorf("who may not GetFunction signed a link of his own: %d", got)
	}
	h.allow("bob", statement("Allow", "lambda:GetFunction", hiARN))
	if got := status(forge()); got != http.StatusOK {
		t.Errorf("who may GetFunction: %d", got)
	}
	// A session's link carries its token.
	trust := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::000000000000:user/bob"},"Action":"sts:AssumeRole"}]}`
	role, err := h.root().iam.CreateRole(ctx, &iam.CreateRoleInput{RoleName: aws.String("reader"), AssumeRolePolicyDocument: &trust})
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.root().iam.PutRolePolicy(ctx, &iam.PutRolePolicyInput{RoleName: aws.String("reader"), PolicyName: aws.String("p"),
		PolicyDocument: aws.String(statement("Allow", "lambda:GetFunction", "*"))})
	if err != nil {
		t.Fatal(err)
	}
	bob := h.as(*k.AccessKey.AccessKeyId, *k.AccessKey.SecretAccessKey, "")
	assumed, err := bob.sts.AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: role.Role.Arn, RoleSessionName: aws.String("s1")})
	if err != nil {
		t.Fatal(err)
	}
	c := assumed.Credentials
	got, err := h.as(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken).GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("hi")})
	if err != nil {
		t.Fatal(err)
	}
	if got := status(*got.Code.Location); got != http.StatusOK {
		t.Errorf("the link of a session: %d", got)
	}
}
