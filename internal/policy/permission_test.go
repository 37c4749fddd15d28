package policy

import (
	"encoding/json"
	"errors"
	"testing"
)

const function = "arn:aws:lambda:us-east-1:" + here + ":function:hello"

// TestPermission holds the statements against those that AWS shows: the first
// was recorded (facts-open policy-057), the second and those of function URLs
// are in AWS's documentation of AddPermission and of function URLs.
func TestPermission(t *testing.T) {
	const head, resource = `{"Sid":"s","Effect":"Allow","Principal":`, `"Resource":"` + function + `"`
	for name, tt := range map[string]struct {
		in   Permission
		want string
	}{
		"bucket": {
			Permission{Principal: "s3.amazonaws.com", SourceARN: "arn:aws:s3:::b"},
			head + `{"Service":"s3.amazonaws.com"},"Action":"lambda:InvokeFunction",` + resource + `,"Condition":{"ArnLike":{"AWS:SourceArn":"arn:aws:s3:::b"}}}`,
		},
		"bucket of an account": {
			Permission{Principal: "s3.amazonaws.com", SourceARN: "arn:aws:s3:::b", SourceAccount: here},
			head + `{"Service":"s3.amazonaws.com"},"Action":"lambda:InvokeFunction",` + resource +
				`,"Condition":{"StringEquals":{"AWS:SourceAccount":"111122223333"},"ArnLike":{"AWS:SourceArn":"arn:aws:s3:::b"}}}`,
		},
		"service": {
			Permission{Principal: "sns.amazonaws.com"},
			head + `{"Service":"sns.amazonaws.com"},"Action":"lambda:InvokeFunction",` + resource + `}`,
		},
		"account": {
			Permission{Principal: there},
			head + `{"AWS":"arn:aws:iam::444455556666:root"},"Action":"lambda:InvokeFunction",` + resource + `}`,
		},
		"role": {
			Permission{Principal: "arn:aws:iam::444455556666:role/r"},
			head + `{"AWS":"arn:aws:iam::444455556666:role/r"},"Action":"lambda:InvokeFunction",` + resource + `}`,
		},
		"organization": {
			Permission{Principal: "*", PrincipalOrgID: "o-a1b2c3d4e5"},
			head + `"*","Action":"lambda:InvokeFunction",` + resource + `,"Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-a1b2c3d4e5"}}}`,
		},
		"skill": {
			Permission{Principal: "alexa-appkit.amazon.com", EventSourceToken: "amzn1.ask.skill.1"},
			head + `{"Service":"alexa-appkit.amazon.com"},"Action":"lambda:InvokeFunction",` + resource +
				`,"Condition":{"StringEquals":{"lambda:EventSourceToken":"amzn1.ask.skill.1"}}}`,
		},
		"function URL": {
			Permission{Principal: "*", Action: "lambda:InvokeFunctionUrl", FunctionURLAuthType: "NONE"},
			head + `"*","Action":"lambda:InvokeFunctionUrl",` + resource + `,"Condition":{"StringEquals":{"lambda:FunctionUrlAuthType":"NONE"}}}`,
		},
		"invoke through a function URL": {
			Permission{Principal: "*", InvokedViaFunctionURL: true},
			head + `"*","Action":"lambda:InvokeFunction",` + resource + `,"Condition":{"Bool":{"lambda:InvokedViaFunctionUrl":"true"}}}`,
		},
	} {
		tt.in.StatementID, tt.in.Resource = "s", function
		if tt.in.Action == "" {
			tt.in.Action = "lambda:InvokeFunction"
		}
		s, err := tt.in.Statement()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, err := json.Marshal(&s)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s:\ngot  %s, %v\nwant %s", name, got, err, tt.want)
		}
		d, err := newResourceDocument("", "default", []Statement{s})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, want := string(must(d.MarshalJSON())), `{"Version":"2012-10-17","Id":"default","Statement":[`+tt.want+`]}`; got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
		}
	}
}

func must(raw []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return raw
}

func TestPermissionPartition(t *testing.T) {
	p := Permission{StatementID: "s", Action: "lambda:*", Principal: here, Resource: "arn:aws-cn:lambda:cn-north-1:" + here + ":function:f"}
	s, err := p.Statement()
	if err != nil || s.Principal.AWS[0] != "arn:aws-cn:iam::"+here+":root" {
		t.Errorf("%+v, %v", s.Principal, err)
	}
}

func TestPermissionPrincipalInvalid(t *testing.T) {
	for _, principal := range []string{
		"", "me", "12345", "arn:aws:iam::1:root", "arn:aws:iam::" + here + ":user/*", "*.amazonaws.com", "s3.example.com",
		".amazonaws.com", "a b.amazonaws.com", "\x00",
	} {
		p := Permission{StatementID: "s", Action: "lambda:*", Principal: principal, Resource: function}
		if s, err := p.Statement(); !errors.Is(err, ErrPrincipal) {
			t.Errorf("%q: %+v, %v", principal, s.Principal, err)
		}
	}
}

// TestPermissionGrants: what is written lets in whom it should.
func TestPermissionGrants(t *testing.T) {
	p := Permission{StatementID: "s", Action: "lambda:InvokeFunction", Principal: "s3.amazonaws.com", Resource: function, SourceARN: "arn:aws:s3:::b", SourceAccount: here}
	s, err := p.Statement()
	if err != nil {
		t.Fatal(err)
	}
	d, err := newResourceDocument(function, "default", []Statement{s})
	if err != nil {
		t.Fatal(err)
	}
	r := &Request{Principal: cast("s3.amazonaws.com"), Action: "lambda:InvokeFunction", Resource: function, ResourceAccount: here}
	r.Keys.Set(KeySourceARN, "arn:aws:s3:::b")
	r.Keys.Set(KeySourceAccount, here)
	want := Decision{Allowed: true, By: Match{Kind: KindResource, Policy: function, Sid: "s"}}
	if got := Evaluate(r, nil, d); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := want.By.String(), "resource-based policy "+function+", statement 0 (s)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	r.Keys.Set(KeySourceAccount, there)
	if got := Evaluate(r, nil, d); got.Allowed {
		t.Errorf("another account's bucket: %+v", got)
	}
}

// newResourceDocument makes a resource's policy of statements, as AddPermission
// and RemovePermission leave it.
func newResourceDocument(name, id string, statements []Statement) (*Document, error) {
	d := &Document{Name: name, Kind: KindResource, Version: Version2012, ID: id, Statements: statements}
	raw, err := d.MarshalJSON()
	if err != nil {
		return nil, err
	}
	return Parse(KindResource, name, raw)
}
