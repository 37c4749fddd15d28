package policy

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// tableFile is a file of testdata: cases that come from one page, or a few.
type tableFile struct {
	// Page is the page of AWS's documentation that the cases come from.
	Page string
	// Policies are those that several cases share.
	Policies map[string]json.RawMessage
	Cases    []tableCase
}

// tableCase is a request and what AWS's documentation says of it. Policies are
// documents, or names of those that the file shares.
type tableCase struct {
	Name string
	Page string // where it is not the file's
	Why  string

	As       string // whose request; see cast
	Tags     map[string]string
	Action   string
	Resource string
	Account  string // of the resource
	Must     bool   // the resource's policy must allow
	Keys     map[string]json.RawMessage

	// Condition and Effect make an identity policy of one statement, to which
	// another that allows everything is added if Effect is Deny.
	Condition json.RawMessage
	Effect    string
	Version   string

	Identity []json.RawMessage
	Boundary json.RawMessage
	Session  []json.RawMessage
	Policy   json.RawMessage // the resource's own
	Trust    json.RawMessage

	Want   string // allow, deny (implicitly), explicit
	By     string // the Sid that decides
	Reason string
}

const (
	here  = "111122223333"
	there = "444455556666"
)

// cast are the principals of the cases.
func cast(name string) *Principal {
	switch name {
	case "root":
		return &Principal{Kind: RootUser, Account: here, ARN: "arn:aws:iam::" + here + ":root", ID: here}
	case "", "alice":
		return &Principal{Kind: User, Account: here, ARN: "arn:aws:iam::" + here + ":user/alice", ID: "AIDAALICE0123456789AB", Name: "alice"}
	case "carlos":
		return &Principal{Kind: User, Account: here, ARN: "arn:aws:iam::" + here + ":user/team/carlos", ID: "AIDACARLOS0123456789", Name: "carlos"}
	case "session":
		return &Principal{
			Kind: RoleSession, Account: here, ARN: "arn:aws:sts::" + here + ":assumed-role/examplerole/one",
			Issuer: "arn:aws:iam::" + here + ":role/service/examplerole", ID: "AROAEXAMPLE012345678:one",
		}
	case "federated-user":
		return &Principal{
			Kind: FederatedUser, Account: here, ARN: "arn:aws:sts::" + here + ":federated-user/alice",
			Issuer: "arn:aws:iam::" + here + ":user/alice", ID: here + ":alice",
		}
	case "bob":
		return &Principal{Kind: User, Account: there, ARN: "arn:aws:iam::" + there + ":user/Bob", ID: "AIDABOB0123456789ABCD", Name: "Bob"}
	case "bob-root":
		return &Principal{Kind: RootUser, Account: there, ARN: "arn:aws:iam::" + there + ":root", ID: there}
	case "bob-session":
		return &Principal{
			Kind: RoleSession, Account: there, ARN: "arn:aws:sts::" + there + ":assumed-role/cross-account-read-only-role/cross-account-audit-app",
			Issuer: "arn:aws:iam::" + there + ":role/cross-account-read-only-role", ID: "AROACROSS01234567890:cross-account-audit-app",
		}
	case "web":
		return &Principal{Kind: Federated, ARN: "arn:aws:iam::" + here + ":oidc-provider/token.actions.githubusercontent.com"}
	case "anonymous":
		return &Principal{Kind: Anonymous}
	default:
		return &Principal{Kind: Service, ARN: name}
	}
}

func loadTables(t testing.TB) []tableFile {
	t.Helper()
	names, err := filepath.Glob("testdata/decisions/*.json")
	if err != nil || len(names) == 0 {
		t.Fatalf("testdata: %v %v", names, err)
	}
	var files []tableFile
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var f tableFile
		d := json.NewDecoder(strings.NewReader(string(raw)))
		d.DisallowUnknownFields()
		if err := d.Decode(&f); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i := range f.Cases {
			c := &f.Cases[i]
			c.Name = strings.TrimSuffix(filepath.Base(name), ".json") + "/" + c.Name
			if c.Page == "" {
				c.Page = f.Page
			}
		}
		files = append(files, f)
	}
	return files
}

// question is a case made ready to be asked.
type question struct {
	request  *Request
	set      *Set
	resource *Document
}

func (f *tableFile) question(t testing.TB, c *tableCase) question {
	t.Helper()
	r := &Request{Principal: cast(c.As), Action: c.Action, Resource: c.Resource, ResourceAccount: c.Account, MustGrant: c.Must}
	if r.Action == "" {
		r.Action = "lambda:InvokeFunction"
	}
	if r.Resource == "" {
		r.Resource = "arn:aws:lambda:us-east-1:" + here + ":function:hello"
	}
	if r.ResourceAccount == "" {
		r.ResourceAccount = here
	}
	for k, v := range c.Tags {
		r.Principal.Tags = append(r.Principal.Tags, Tag{k, v})
	}
	c.setKeys(t, &r.Keys)

	var identity, session []*Document
	for _, raw := range c.Identity {
		identity = append(identity, f.parse(t, c, KindIdentity, raw))
	}
	if c.Condition != nil {
		identity = append(identity, f.parse(t, c, KindIdentity, c.conditionPolicy()))
	}
	for _, raw := range c.Session {
		session = append(session, f.parse(t, c, KindSession, raw))
	}
	q := question{request: r, resource: f.parse(t, c, KindResource, c.Policy)}
	if c.Trust != nil {
		q.resource = f.parse(t, c, KindTrust, c.Trust)
	}
	q.set = NewSet(identity, f.parse(t, c, KindBoundary, c.Boundary), session)
	return q
}

func (c *tableCase) conditionPolicy() json.RawMessage {
	version := c.Version
	if version == "" {
		version = Version2012
	}
	body := `"Action":"*","Resource":"*","Condition":` + string(c.Condition) + `}`
	if c.Effect == "Deny" {
		return json.RawMessage(`{"Version":"` + version + `","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny",` + body + `]}`)
	}
	return json.RawMessage(`{"Version":"` + version + `","Statement":{"Effect":"Allow",` + body + `}`)
}

func (f *tableFile) parse(t testing.TB, c *tableCase, kind Kind, raw json.RawMessage) *Document {
	t.Helper()
	if raw == nil {
		return nil
	}
	var name string
	if json.Unmarshal(raw, &name) == nil {
		if raw = f.Policies[name]; raw == nil {
			t.Fatalf("%s: no policy is called %s", c.Name, name)
		}
	}
	d, err := Parse(kind, name, raw)
	if err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
	return d
}

func (c *tableCase) setKeys(t testing.TB, keys *Keys) {
	t.Helper()
	for name, raw := range c.Keys {
		var list []string
		if json.Unmarshal(raw, &list) == nil {
			keys.SetList(name, list)
			continue
		}
		var one string
		if err := json.Unmarshal(raw, &one); err != nil {
			t.Fatalf("%s: key %s: %v", c.Name, name, err)
		}
		switch strings.ToLower(name) {
		case "aws:currenttime":
			when, err := time.Parse(time.RFC3339, one)
			if err != nil {
				t.Fatalf("%s: %v", c.Name, err)
			}
			keys.Time = when
		case "aws:sourceip":
			keys.SourceIP = netip.MustParseAddr(one)
		default:
			keys.Set(name, one)
		}
	}
}

// TestDecisions asks what AWS's documentation answers. Each decision is asked
// of a cache too, twice.
func TestDecisions(t *testing.T) {
	seen, cache := map[string]bool{}, NewCache(1024)
	for _, f := range loadTables(t) {
		for i := range f.Cases {
			c := &f.Cases[i]
			if seen[c.Name] {
				t.Errorf("two cases are called %s", c.Name)
			}
			seen[c.Name] = true
			if !strings.HasPrefix(c.Page, "https://docs.aws.amazon.com/") {
				t.Errorf("%s cites no page", c.Name)
			}
			t.Run(c.Name, func(t *testing.T) {
				q := f.question(t, c)
				got := Evaluate(q.request, q.set, q.resource)
				c.check(t, got)
				for range 2 {
					if cached := cache.Evaluate(q.request, q.set, q.resource); cached != got {
						t.Errorf("cached: %+v, want %+v", cached, got)
					}
				}
			})
		}
	}
	const least = 150 // acceptance line 4 of the plan
	if len(seen) < least {
		t.Errorf("%d cases, want at least %d", len(seen), least)
	}
}

func (c *tableCase) check(t *testing.T, got Decision) {
	t.Helper()
	want := map[string]Decision{"allow": {Allowed: true}, "deny": {}, "explicit": {Explicit: true}}
	w, ok := want[c.Want]
	if !ok {
		t.Fatalf("want %q is none of allow, deny, explicit", c.Want)
	}
	if got.Allowed != w.Allowed || got.Explicit != w.Explicit {
		t.Errorf("got %+v, want %s; %s (%s)", got, c.Want, c.Why, c.Page)
	}
	if c.By != "" && got.By.Sid != c.By {
		t.Errorf("decided by %+v, want %s", got.By, c.By)
	}
	if c.Reason != "" && got.Reason != c.Reason {
		t.Errorf("reason\n%s\nwant\n%s", got.Reason, c.Reason)
	}
	if got.Allowed != (got.Reason == "") {
		t.Errorf("allowed %v with the reason %q", got.Allowed, got.Reason)
	}
}
