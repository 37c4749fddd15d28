package policy

import (
	"errors"
	"fmt"
	"strings"
)

// A variable stands for the value of a key of the request:
//
//	${KEY}  ${KEY, 'default'}
//
// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html)
type variable struct {
	key      key
	fallback string
	hasDef   bool
}

// value is what the variable stands for. A key that is absent or has several
// values stands for nothing.
func (v *variable) value(r *Request) (string, bool) {
	if found := r.lookup(&v.key); found.len() == 1 {
		return found.at(0), true
	}
	return v.fallback, v.hasDef
}

// variable reads the variable that the text begins with and returns its length.
// ${*}, ${?} and ${$} are the characters themselves.
func (p *pattern) variable(text string) (int, error) {
	inner, _, closed := strings.Cut(text[len("${"):], "}")
	if !closed {
		return 0, errors.New("a ${ has no }")
	}
	length := len("${}") + len(inner)
	switch inner {
	case "*", "?", "$":
		p.literal(inner)
		return length, nil
	}
	name, rest, hasDefault := strings.Cut(inner, ",")
	name = strings.TrimSpace(name)
	if !isKeyName(name) {
		return 0, fmt.Errorf("${%s} names no condition key", brief(inner))
	}
	v := &variable{key: keyNamed(name), hasDef: hasDefault}
	if hasDefault {
		rest = strings.TrimSpace(rest)
		if len(rest) < 2 || rest[0] != '\'' || rest[len(rest)-1] != '\'' {
			return 0, fmt.Errorf("the default in ${%s} is not in single quotes", brief(inner))
		}
		v.fallback = rest[1 : len(rest)-1]
	}
	p.tokens = append(p.tokens, token{kind: substitute, variable: v})
	p.variables = true
	return length, nil
}
