package layer

import (
	"testing"

	"hearth/internal/function"
)

func version() *Version {
	return &Version{Account: "111111111111", Region: "us-east-1", Name: "tools", Number: 3}
}

func TestAllows(t *testing.T) {
	everyone := func(v *Version) []Statement { return []Statement{NewStatement(v, "a", "*", "")} }
	for _, tt := range []struct {
		name   string
		policy func(v *Version) []Statement
		caller Caller
		want   bool
	}{
		{"the owner", nil, Caller{Account: "111111111111"}, true},
		{"another, without a policy", nil, Caller{Account: "222222222222"}, false},
		{"everyone", everyone, Caller{Account: "222222222222"}, true},
		{"the account", func(v *Version) []Statement { return []Statement{NewStatement(v, "a", "222222222222", "")} }, Caller{Account: "222222222222"}, true},
		{"the account's root", func(v *Version) []Statement {
			return []Statement{NewStatement(v, "a", "arn:aws:iam::222222222222:root", "")}
		}, Caller{Account: "222222222222"}, true},
		{"another account", func(v *Version) []Statement { return []Statement{NewStatement(v, "a", "333333333333", "")} }, Caller{Account: "222222222222"}, false},
		{"the organization", func(v *Version) []Statement { return []Statement{NewStatement(v, "a", "*", "o-1234567890")} },
			Caller{Account: "222222222222", Organization: "o-1234567890"}, true},
		{"another organization", func(v *Version) []Statement { return []Statement{NewStatement(v, "a", "*", "o-1234567890")} },
			Caller{Account: "222222222222", Organization: "o-0987654321"}, false},
		{"no organization", func(v *Version) []Statement { return []Statement{NewStatement(v, "a", "*", "o-1234567890")} }, Caller{Account: "222222222222"}, false},
		{"a condition on nothing", func(v *Version) []Statement {
			s := NewStatement(v, "a", "*", "")
			s.Condition = &Condition{}
			return []Statement{s}
		}, Caller{Account: "222222222222"}, false},
		{"the second statement", func(v *Version) []Statement {
			return []Statement{NewStatement(v, "a", "333333333333", ""), NewStatement(v, "b", "222222222222", "")}
		}, Caller{Account: "222222222222"}, true},
		{"a statement about another version", func(v *Version) []Statement {
			s := NewStatement(v, "a", "*", "")
			s.Resource += "1"
			return []Statement{s}
		}, Caller{Account: "222222222222"}, false},
	} {
		v := version()
		if tt.policy != nil {
			d, err := Document(tt.policy(v))
			if err != nil {
				t.Fatal(err)
			}
			v.Policy = &function.Policy{Document: d}
		}
		if got := v.Allows(tt.caller); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestDamagedPolicyAllowsNothing makes sure that what is not understood is
// not taken for a permission.
func TestDamagedPolicyAllowsNothing(t *testing.T) {
	for _, doc := range []string{
		"", "{", `{"Statement": "*"}`,
		`{"Statement": [{"Effect": "Allow", "Principal": "222222222222", "Action": "lambda:GetLayerVersion", "Resource": "arn:aws:lambda:us-east-1:111111111111:layer:tools:3"}]}`,
		`{"Statement": [{"Effect": "Deny", "Principal": "*", "Action": "lambda:GetLayerVersion", "Resource": "arn:aws:lambda:us-east-1:111111111111:layer:tools:3"}]}`,
		`{"Statement": [{"Effect": "Allow", "Principal": {"Service": "x"}, "Action": "lambda:GetLayerVersion", "Resource": "arn:aws:lambda:us-east-1:111111111111:layer:tools:3"}]}`,
	} {
		v := version()
		v.Policy = &function.Policy{Document: doc}
		if v.Allows(Caller{Account: "222222222222"}) {
			t.Errorf("allowed by %q", doc)
		}
	}
}

func TestDocument(t *testing.T) {
	v := version()
	got, err := Document([]Statement{NewStatement(v, "x", "222222222222", ""), NewStatement(v, "y", "*", "o-1234567890")})
	const want = `{"Version":"2012-10-17","Id":"default","Statement":[` +
		`{"Sid":"x","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::222222222222:root"},"Action":"lambda:GetLayerVersion","Resource":"arn:aws:lambda:us-east-1:111111111111:layer:tools:3"},` +
		`{"Sid":"y","Effect":"Allow","Principal":"*","Action":"lambda:GetLayerVersion","Resource":"arn:aws:lambda:us-east-1:111111111111:layer:tools:3","Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-1234567890"}}}]}`
	if err != nil || got != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
	if empty, err := Document(nil); err != nil || empty != `{"Version":"2012-10-17","Id":"default","Statement":[]}` {
		t.Errorf("without statements: %s, %v", empty, err)
	}
}

func TestFilter(t *testing.T) {
	v := version()
	v.Runtimes, v.Architectures = []string{"python3.11", "python3.12"}, []string{"x86_64"}
	for _, tt := range []struct {
		filter Filter
		want   bool
	}{
		{Filter{}, true},
		{Filter{Runtime: "python3.12"}, true},
		{Filter{Runtime: "nodejs20.x"}, false},
		{Filter{Architecture: "x86_64"}, true},
		{Filter{Architecture: "arm64"}, false},
		{Filter{Runtime: "python3.11", Architecture: "arm64"}, false},
	} {
		if got := tt.filter.Matches(v); got != tt.want {
			t.Errorf("%+v: %v, want %v", tt.filter, got, tt.want)
		}
	}
	if (Filter{Runtime: "python3.11"}).Matches(version()) {
		t.Error("a version that names no runtime was picked by one")
	}
}
