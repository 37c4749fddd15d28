package iam

import (
	"crypto/rand"
	"net/netip"
	"net/url"
	"testing"

	"hearth/internal/awserr"
	"hearth/internal/awsquery"
	"hearth/internal/policy"
	"hearth/internal/sigv4"
)

// FuzzServe sends forms as the root user, a user and nobody. Whatever is in
// them is answered, or refused in AWS's words.
func FuzzServe(f *testing.F) {
	b := start(f, func(c *Config) { c.Tokens = &tokens{claims: map[string]any{"sub": "me", "aud": "app"}} })
	callers := []*caller{b.root(), b.user("bob", statement("Allow", "sts:*", "*"))}
	role := b.makeRole("r", trustingARN("arn:aws:iam::000000000000:user/bob"), "")
	for _, form := range []string{
		"Action=CreateRole&RoleName=x&AssumeRolePolicyDocument=" + url.QueryEscape(lambdaTrust) + "&Tags.member.1.Key=a&Tags.member.1.Value=b",
		"Action=AssumeRole&RoleArn=" + url.QueryEscape(role) + "&RoleSessionName=s1&DurationSeconds=900&PolicyArns.member.1.arn=x",
		"Action=AssumeRoleWithWebIdentity&RoleArn=" + url.QueryEscape(role) + "&RoleSessionName=s1&WebIdentityToken=e30.e30.x",
		"Action=ListRoles&MaxItems=1&Marker=a&PathPrefix=/", "Action=UpdateUser&UserName=bob&NewUserName=BOB&NewPath=/x/",
		"Action=CreateOpenIDConnectProvider&Url=https://x&ClientIDList.member.1=a", "Action=ListPolicies&Marker=3&Scope=All",
		"Action=GetPolicy&PolicyArn=arn:aws:iam::aws:policy/AdministratorAccess", "Action=GetSessionToken",
	} {
		for who := range byte(6) {
			f.Add(form, who)
		}
	}
	f.Fuzz(func(t *testing.T, text string, who byte) {
		form, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		c := &awsquery.Call{Service: "iam", Form: form, RequestID: "id", SourceIP: netip.IPv4Unspecified(), JSON: who >= 128}
		if who%2 == 1 {
			c.Service = "sts"
		}
		if i := int(who / 2 % 3); i < len(callers) {
			credential, err := b.Secret(t.Context(), callers[i].keys.AccessKeyID, "")
			if err != nil {
				return // the key was deleted by an input
			}
			c.Caller = &sigv4.Identity{Credential: credential, AccessKeyID: callers[i].keys.AccessKeyID}
		}
		if _, err := b.Serve(t.Context(), c); err != nil {
			if _, ok := awserr.As(err); !ok {
				t.Fatalf("a fault: %v", err)
			}
		}
	})
}

// FuzzToken opens session tokens. Each process that fuzzes has a key of its
// own, as it gets the seeds of others.
func FuzzToken(f *testing.F) {
	b := start(f, func(c *Config) { c.Sealer = newSealer(rand.Text()) })
	keys, err := b.issue(f.Context(), session{Account: testAccount, Source: rootID}, minLife)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(keys.AccessKeyID, keys.SessionToken)
	f.Add(rootID, "h1.000000000000.")
	f.Fuzz(func(t *testing.T, id, token string) {
		_, err := b.Secret(t.Context(), id, token)
		if token != "" && err == nil && (id != keys.AccessKeyID || token != keys.SessionToken) {
			t.Fatalf("key %q with token %q was believed", id, token)
		}
	})
}

// BenchmarkAuthorize is what a warm request with a role's session costs:
// finding whose key it is, and deciding.
func BenchmarkAuthorize(b *testing.B) {
	t := start(b)
	bob := t.user("bob", statement("Allow", "sts:AssumeRole", "*"))
	role := t.makeRole("r", trustingARN("arn:aws:iam::000000000000:user/bob"), statement("Allow", "lambda:*", "*"))
	c, err := t.assume(bob, role)
	if err != nil {
		b.Fatal(err)
	}
	id := t.identity(c)
	b.ReportAllocs()
	for b.Loop() {
		credential, err := t.Secret(b.Context(), c.keys.AccessKeyID, c.keys.SessionToken)
		if err != nil {
			b.Fatal(err)
		}
		id.Credential = credential
		r := policy.Request{Action: "lambda:InvokeFunction", Resource: "arn:aws:lambda:us-east-1:000000000000:function:f", ResourceAccount: testAccount}
		r.Keys.Time = t.clock.now()
		if err := t.Authorize(b.Context(), id, &r, nil); err != nil {
			b.Fatal(err)
		}
	}
}
