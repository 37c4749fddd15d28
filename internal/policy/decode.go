package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// decoder reads the tokens of a document. The grammar has no element that
// nests freely, so its depth is that of the functions below.
type decoder struct {
	tokens *json.Decoder
}

// decode fills the document's elements from JSON.
func (d *Document) decode(raw []byte) error {
	r := decoder{tokens: json.NewDecoder(bytes.NewReader(raw))}
	r.tokens.UseNumber()
	seen := false
	err := r.object("", func(element string) (err error) {
		switch element {
		case "Version":
			d.Version, err = r.text(element)
		case "Id":
			d.ID, err = r.text(element)
		case "Statement":
			seen = true
			err = d.decodeStatements(&r)
		default:
			err = syntax(element, "no element of a policy is called this")
		}
		return err
	})
	if err != nil {
		return err
	}
	if _, err := r.tokens.Token(); !errors.Is(err, io.EOF) {
		return syntax("", "something follows the policy")
	}
	if !seen {
		return syntax("", "the element Statement is missing")
	}
	return nil
}

func (d *Document) decodeStatements(r *decoder) error {
	const name = "Statement"
	t, err := r.token(name)
	if err != nil {
		return err
	}
	switch t {
	case json.Delim('{'):
		var s Statement
		err := r.members(name, s.decode(r, name))
		d.Statements = append(d.Statements, s)
		return err
	case json.Delim('['):
	default:
		return syntax(name, "want an object or a list of objects")
	}
	for r.tokens.More() {
		where := fmt.Sprintf("%s[%d]", name, len(d.Statements))
		var s Statement
		if err := r.object(where, s.decode(r, where)); err != nil {
			return err
		}
		d.Statements = append(d.Statements, s)
	}
	_, err = r.token(name)
	return err
}

// decode returns what reads one element of the statement.
func (s *Statement) decode(r *decoder, where string) func(string) error {
	return func(element string) (err error) {
		at := where + "." + element
		switch element {
		case "Sid":
			s.Sid, err = r.text(at)
		case "Effect":
			s.Effect, err = r.effect(at)
		case "Principal":
			s.Principal, err = r.principals(at)
		case "NotPrincipal":
			s.NotPrincipal, err = r.principals(at)
		case "Action":
			s.Action, err = r.strings(at, reasonNoAction)
		case "NotAction":
			s.NotAction, err = r.strings(at, reasonNoAction)
		case "Resource":
			s.Resource, err = r.strings(at, reasonNoResource)
		case "NotResource":
			s.NotResource, err = r.strings(at, reasonNoResource)
		case "Condition":
			s.Condition, err = r.conditions(at)
		default:
			err = syntax(at, "no element of a statement is called this")
		}
		return err
	}
}

func (r *decoder) effect(where string) (Effect, error) {
	text, err := r.text(where)
	switch {
	case err != nil:
		return 0, err
	case text == "Allow":
		return Allow, nil
	case text == "Deny":
		return Deny, nil
	}
	return 0, syntax(where, `%q is neither "Allow" nor "Deny"`, text)
}

func (r *decoder) principals(where string) (*Principals, error) {
	t, err := r.token(where)
	if err != nil {
		return nil, err
	}
	if t == "*" {
		return &Principals{}, nil
	}
	if t != json.Delim('{') {
		return nil, syntax(where, `want "*" or an object of AWS, Service or Federated`)
	}
	p := &Principals{}
	err = r.members(where, func(member string) (err error) {
		at := where + "." + member
		switch member {
		case "AWS":
			p.AWS, err = r.strings(at, reasonNoPrincipal)
		case "Service":
			p.Service, err = r.strings(at, reasonNoPrincipal)
		case "Federated":
			p.Federated, err = r.strings(at, reasonNoPrincipal)
		default:
			err = syntax(at, "principals are AWS, Service or Federated here")
		}
		return err
	})
	if err == nil && p.everyone() {
		return nil, malformed(where, reasonNoPrincipal) // {} is nobody, the zero value everybody
	}
	return p, err
}

func (r *decoder) conditions(where string) ([]Condition, error) {
	var all []Condition
	err := r.object(where, func(operator string) error {
		at := where + "." + operator
		return r.object(at, func(name string) error {
			values, err := r.scalars(at + "." + name)
			all = append(all, Condition{Operator: operator, Key: name, Values: values})
			return err
		})
	})
	return all, err
}

// object reads an object, of which member reads one value after its name.
func (r *decoder) object(where string, member func(string) error) error {
	t, err := r.token(where)
	if err != nil {
		return err
	}
	if t != json.Delim('{') {
		return syntax(where, "want an object")
	}
	return r.members(where, member)
}

// members reads an object whose bracket has been read.
func (r *decoder) members(where string, member func(string) error) error {
	seen := map[string]bool{}
	for r.tokens.More() {
		t, err := r.token(where)
		if err != nil {
			return err
		}
		name, ok := t.(string)
		if !ok {
			return syntax(where, "want a name")
		}
		if seen[name] {
			return syntax(where, "%q is there twice", name)
		}
		seen[name] = true
		if err := member(name); err != nil {
			return err
		}
	}
	_, err := r.token(where)
	return err
}

// strings reads a string or a list of them. An empty list is AWS's reason.
func (r *decoder) strings(where, empty string) ([]string, error) {
	return r.list(where, empty, func(t json.Token) (string, error) {
		s, ok := t.(string)
		if !ok {
			return "", syntax(where, "want a string or a list of strings")
		}
		return s, nil
	})
}

// scalars reads the values of a condition.
func (r *decoder) scalars(where string) ([]string, error) {
	return r.list(where, reasonSyntax, func(t json.Token) (string, error) {
		switch v := t.(type) {
		case string:
			return v, nil
		case json.Number:
			return v.String(), nil
		case bool:
			return fmt.Sprint(v), nil
		}
		return "", syntax(where, "want a string, a number, a boolean, or a list of these")
	})
}

func (r *decoder) list(where, empty string, one func(json.Token) (string, error)) ([]string, error) {
	t, err := r.token(where)
	if err != nil {
		return nil, err
	}
	if t != json.Delim('[') {
		s, err := one(t)
		return []string{s}, err
	}
	var all []string
	for r.tokens.More() {
		t, err := r.token(where)
		if err != nil {
			return nil, err
		}
		s, err := one(t)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		return nil, &MalformedError{Reason: empty, Where: where, Detail: "the list is empty"}
	}
	_, err = r.token(where)
	return all, err
}

func (r *decoder) text(where string) (string, error) {
	t, err := r.token(where)
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", syntax(where, "want a string")
	}
	return s, nil
}

func (r *decoder) token(where string) (json.Token, error) {
	t, err := r.tokens.Token()
	if errors.Is(err, io.EOF) {
		return nil, syntax(where, "the document ends too early")
	}
	if err != nil {
		return nil, syntax(where, "not JSON at byte %d: %v", r.tokens.InputOffset(), err)
	}
	return t, nil
}
