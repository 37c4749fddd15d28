package policy

import (
	"fmt"
	"net/netip"
	"time"

	"pgregory.net/rapid"
)

// Generators draw from few words, so that what is drawn meets: most requests
// are about something that some statement mentions.
var (
	actions   = []string{"lambda:InvokeFunction", "lambda:GetFunction", "sqs:SendMessage", "sts:AssumeRole"}
	resources = []string{
		"arn:aws:lambda:us-east-1:" + here + ":function:hello", "arn:aws:lambda:us-east-1:" + here + ":function:hello:7",
		"arn:aws:sqs:eu-west-1:" + there + ":queue", "arn:aws:iam::" + here + ":role/service/examplerole", "*",
	}
	people = []string{
		"root", "alice", "carlos", "session", "federated-user", "bob", "bob-root", "bob-session", "web", "anonymous", "s3.amazonaws.com",
	}
	actionPatterns   = []string{"*", "lambda:*", "lambda:Invoke*", "LAMBDA:get?unction", "sqs:SendMessage", "sts:*", "lambda:InvokeFunction"}
	resourcePatterns = []string{
		"*", "arn:aws:lambda:*", "arn:aws:lambda:us-*-1:" + here + ":function:hello", "arn:aws:lambda:*:" + here + ":function:h*",
		"arn:aws:lambda:us-east-1:" + here + ":function:${aws:PrincipalTag/team, 'hello'}", "arn:aws:sqs:*:*:${aws:username}",
		"arn:aws:sqs:eu-west-1:" + there + ":qu?ue", "arn:aws:iam::" + here + ":role/*",
	}
	conditions = []Condition{
		{"StringEquals", "aws:SourceAccount", []string{here}},
		{"StringNotEquals", "aws:SourceAccount", []string{there, "x"}},
		{"StringLikeIfExists", "aws:SourceArn", []string{"arn:aws:s3:::*"}},
		{"ArnLike", "aws:SourceArn", []string{"arn:aws:s3:::b*"}},
		{"ArnNotEquals", "aws:PrincipalArn", []string{"arn:aws:iam::" + here + ":user/alice"}},
		{"StringEquals", "aws:PrincipalTag/team", []string{"hello", "red"}},
		{"StringNotEquals", "aws:username", []string{"${aws:PrincipalTag/team}"}},
		{"Bool", "aws:SecureTransport", []string{"true"}},
		{"Null", "aws:TokenIssueTime", []string{"true"}},
		{"IpAddress", "aws:SourceIp", []string{"10.0.0.0/8", "2001:db8::/32"}},
		{"NotIpAddress", "aws:SourceIp", []string{"10.0.0.0/8"}},
		{"DateLessThan", "aws:CurrentTime", []string{"2026-06-01"}},
		{"NumericGreaterThan", "aws:EpochTime", []string{"1750000000"}},
		{"ForAllValues:StringEquals", "aws:TagKeys", []string{"team", "cost"}},
		{"ForAnyValue:StringNotLike", "aws:TagKeys", []string{"te*"}},
		{"ForAnyValue:StringEqualsIfExists", "aws:TagKeys", []string{"team"}},
	}
	principalElements = []*Principals{
		{},
		{AWS: []string{"*"}},
		{AWS: []string{here}},
		{AWS: []string{"arn:aws:iam::" + there + ":root"}},
		{AWS: []string{"arn:aws:iam::" + here + ":user/alice", "arn:aws:iam::" + here + ":root"}},
		{AWS: []string{"arn:aws:iam::" + here + ":role/service/examplerole"}},
		{AWS: []string{"arn:aws:sts::" + here + ":assumed-role/examplerole/one"}},
		{AWS: []string{"AIDABOB0123456789ABCD", "AROACROSS01234567890"}},
		{Service: []string{"s3.amazonaws.com", "lambda.amazonaws.com"}},
		{Federated: []string{"arn:aws:iam::" + here + ":oidc-provider/token.actions.githubusercontent.com"}, AWS: []string{there}},
	}
)

func someOf(t *rapid.T, from []string, name string) []string {
	return rapid.SliceOfNDistinct(rapid.SampledFrom(from), 1, 3, rapid.ID[string]).Draw(t, name)
}

func drawStatement(t *rapid.T, kind Kind) Statement {
	s := Statement{Effect: rapid.SampledFrom([]Effect{Allow, Allow, Allow, Deny}).Draw(t, "effect")}
	patterns := actionPatterns
	if kind == KindTrust {
		patterns = []string{"sts:AssumeRole", "sts:*"}
	}
	if rapid.IntRange(0, 5).Draw(t, "notAction") == 0 {
		s.NotAction = someOf(t, patterns, "actions")
	} else {
		s.Action = someOf(t, patterns, "actions")
	}
	switch {
	case kind == KindTrust:
	case rapid.IntRange(0, 5).Draw(t, "notResource") == 0:
		s.NotResource = someOf(t, resourcePatterns, "resources")
	default:
		s.Resource = someOf(t, resourcePatterns, "resources")
	}
	if kind.namesPrincipals() {
		named := rapid.SampledFrom(principalElements).Draw(t, "principal")
		if kind == KindResource && s.Effect == Deny && rapid.Bool().Draw(t, "notPrincipal") {
			s.NotPrincipal = named
		} else {
			s.Principal = named
		}
	}
	// Conditions are grouped by operator, so no operator may come twice.
	s.Condition = rapid.SliceOfNDistinct(rapid.SampledFrom(conditions), 0, 2, func(c Condition) string { return c.Operator }).Draw(t, "conditions")
	return s
}

func drawStatements(t *rapid.T, kind Kind, least int) []Statement {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Statement { return drawStatement(t, kind) }), least, 4).Draw(t, "statements")
}

// build parses the statements, so that what is tested is what parsing makes.
func build(t *rapid.T, kind Kind, statements []Statement) *Document {
	d := &Document{Kind: kind, Version: Version2012, Statements: statements}
	raw, err := d.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := Parse(kind, "", raw)
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return parsed
}

func drawRequest(t *rapid.T) *Request {
	p := cast(rapid.SampledFrom(people).Draw(t, "principal"))
	if team := rapid.SampledFrom([]string{"", "hello", "red", "alice"}).Draw(t, "team"); team != "" {
		p.Tags = []Tag{{"Team", team}}
	}
	r := &Request{
		Principal: p, Action: rapid.SampledFrom(actions).Draw(t, "action"),
		Resource:        rapid.SampledFrom(resources).Draw(t, "resource"),
		ResourceAccount: rapid.SampledFrom([]string{here, here, there, ""}).Draw(t, "account"),
		MustGrant:       rapid.IntRange(0, 4).Draw(t, "must") == 0,
	}
	maybe := func(name string, values ...string) {
		if v := rapid.SampledFrom(append(values, "absent")).Draw(t, name); v != "absent" {
			r.Keys.Set(name, v)
		}
	}
	maybe("aws:SourceAccount", here, there)
	maybe("aws:SourceArn", "arn:aws:s3:::bucket", "arn:aws:sns:us-east-1:"+here+":t")
	maybe("aws:SecureTransport", "true", "false")
	maybe("aws:TokenIssueTime", "2026-01-01T00:00:00Z")
	if rapid.Bool().Draw(t, "tagged") {
		r.Keys.SetList(KeyTagKeys, rapid.SliceOfN(rapid.SampledFrom([]string{"team", "cost", "other", ""}), 0, 3).Draw(t, "tagKeys"))
	}
	if ip := rapid.SampledFrom([]string{"", "10.1.1.1", "192.0.2.1", "2001:db8::1"}).Draw(t, "ip"); ip != "" {
		r.Keys.SourceIP = netip.MustParseAddr(ip)
	}
	if month := rapid.IntRange(0, 12).Draw(t, "month"); month > 0 {
		r.Keys.Time = time.Date(2026, time.Month(month), 1, 0, 0, 0, 0, time.UTC)
	}
	return r
}

// world is the policies around a request.
type world struct {
	identity, session []Statement
	boundary          []Statement // no boundary if empty
	own               []Statement // no policy of the resource if empty
	ownKind           Kind
}

func drawWorld(t *rapid.T) world {
	w := world{
		identity: drawStatements(t, KindIdentity, 0), session: drawStatements(t, KindSession, 0),
		boundary: drawStatements(t, KindBoundary, 0), ownKind: rapid.SampledFrom([]Kind{KindResource, KindTrust}).Draw(t, "kind"),
	}
	w.own = drawStatements(t, w.ownKind, 0)
	return w
}

func (w *world) policies(t *rapid.T) (*Set, *Document) {
	one := func(kind Kind, statements []Statement) *Document {
		if len(statements) == 0 {
			return nil
		}
		return build(t, kind, statements)
	}
	list := func(d *Document) []*Document {
		if d == nil {
			return nil
		}
		return []*Document{d}
	}
	set := NewSet(list(one(KindIdentity, w.identity)), one(KindBoundary, w.boundary), list(one(KindSession, w.session)))
	return set, one(w.ownKind, w.own)
}

func (w *world) decide(t *rapid.T, r *Request) Decision {
	set, own := w.policies(t)
	return Evaluate(r, set, own)
}

func (w *world) String() string { return fmt.Sprintf("%+v", *w) }
