package layer

import (
	"encoding/json"
	"fmt"
	"slices"
)

// UseAction is the one action that a layer version's policy can allow.
const UseAction = "lambda:GetLayerVersion"

// MaxPolicy is the most bytes of a version's policy, AWS's limit of resource
// policies.
const MaxPolicy = 20 << 10

// Statement is a statement of a version's policy. All of them allow.
type Statement struct {
	Sid       string     `json:"Sid"`
	Effect    string     `json:"Effect"`
	Principal Principal  `json:"Principal"`
	Action    string     `json:"Action"`
	Resource  string     `json:"Resource"`
	Condition *Condition `json:"Condition,omitempty"`
}

// Principal is "*" or the ARN of an account's root.
type Principal string

// MarshalJSON writes the principal as AWS does: "*" or {"AWS": ARN}.
func (p Principal) MarshalJSON() ([]byte, error) {
	if p == "*" {
		return []byte(`"*"`), nil
	}
	return json.Marshal(map[string]string{"AWS": string(p)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (p *Principal) UnmarshalJSON(b []byte) error {
	var everyone string
	if err := json.Unmarshal(b, &everyone); err == nil {
		if everyone != "*" {
			return fmt.Errorf("principal %.100q", everyone)
		}
		*p = "*"
		return nil
	}
	var aws struct{ AWS *string }
	if err := json.Unmarshal(b, &aws); err != nil {
		return err
	}
	if aws.AWS == nil {
		return fmt.Errorf("a principal that is no account: %.100s", b)
	}
	*p = Principal(*aws.AWS)
	return nil
}

// Condition restricts a statement to the accounts of an organization.
type Condition struct {
	StringEquals struct {
		Organization string `json:"aws:PrincipalOrgID"`
	} `json:"StringEquals"`
}

// document is a policy as AWS shows it.
type document struct {
	Version   string      `json:"Version"`
	ID        string      `json:"Id"`
	Statement []Statement `json:"Statement"`
}

// NewStatement makes a statement for a version. The principal is "*", an
// account's number or the ARN of its root.
func NewStatement(v *Version, sid, principal, organization string) Statement {
	if len(principal) == 12 {
		principal = "arn:aws:iam::" + principal + ":root"
	}
	s := Statement{Sid: sid, Effect: "Allow", Principal: Principal(principal), Action: UseAction, Resource: v.ARN()}
	if organization != "" {
		s.Condition = &Condition{}
		s.Condition.StringEquals.Organization = organization
	}
	return s
}

// Statements reads a version's policy.
func (v *Version) Statements() ([]Statement, error) {
	if v.Policy == nil {
		return nil, nil
	}
	var d document
	if err := json.Unmarshal([]byte(v.Policy.Document), &d); err != nil {
		return nil, fmt.Errorf("policy of %s: %w", v.ARN(), err)
	}
	return d.Statement, nil
}

// Document writes statements as a policy.
func Document(statements []Statement) (string, error) {
	b, err := json.Marshal(document{Version: "2012-10-17", ID: "default", Statement: append([]Statement{}, statements...)})
	return string(b), err
}

// Allows says whether the caller's account may use the version: get it and
// attach it to functions. It is the one place where a version's policy is
// evaluated; what the caller's own policies say is not its business.
func (v *Version) Allows(c Caller) bool {
	if c.Account == v.Account {
		return true
	}
	statements, err := v.Statements()
	if err != nil {
		return false // what cannot be read allows nothing
	}
	return slices.ContainsFunc(statements, func(s Statement) bool {
		if s.Effect != "Allow" || s.Action != UseAction || s.Resource != v.ARN() {
			return false
		}
		if s.Condition != nil && (c.Organization == "" || s.Condition.StringEquals.Organization != c.Organization) {
			return false
		}
		return s.Principal == "*" || s.Principal == Principal("arn:aws:iam::"+c.Account+":root")
	})
}
