package policy

import (
	"fmt"
	"slices"
	"strings"
)

// statement is a compiled statement.
type statement struct {
	effect       Effect
	actions      []pattern
	notAction    bool
	principals   *principals // nil in policies of identities
	notPrincipal bool
	resources    []pattern // nil in trust policies
	notResource  bool
	tests        []test
}

func (d *Document) compile() error {
	variables := d.Version == Version2012
	for i := range d.Statements {
		where := d.place(i)
		s, err := compileStatement(&d.Statements[i], where, variables)
		if err != nil {
			return err
		}
		d.compiled = append(d.compiled, s)
		s.eachKey(func(k key) { d.keys = addKey(d.keys, k) })
	}
	d.volatile = isVolatile(d.keys)
	return nil
}

// place is how errors call a statement.
func (d *Document) place(i int) string { return fmt.Sprintf("Statement[%d]", i) }

func compileStatement(in *Statement, where string, variables bool) (s statement, err error) {
	s = statement{effect: in.Effect, notAction: in.NotAction != nil, notResource: in.NotResource != nil, notPrincipal: in.NotPrincipal != nil}
	if s.actions, err = compileAll(slices.Concat(in.Action, in.NotAction), where+".Action", style{wildcards: true, fold: true}); err != nil {
		return s, err
	}
	resources := style{wildcards: true, variables: variables, colons: crossedAtEnd}
	if s.resources, err = compileAll(slices.Concat(in.Resource, in.NotResource), where+".Resource", resources); err != nil {
		return s, err
	}
	named := in.Principal
	if s.notPrincipal {
		named = in.NotPrincipal
	}
	if named != nil {
		var wrong string
		if s.principals, wrong = compilePrincipals(named); wrong != "" {
			return s, malformed(where, "Invalid principal in policy: "+wrong)
		}
	}
	for i := range in.Condition {
		c := &in.Condition[i]
		t, wrong := compileCondition(c, variables)
		if wrong != "" {
			return s, syntax(fmt.Sprintf("%s.Condition.%s.%s", where, c.Operator, c.Key), "%s", wrong)
		}
		s.tests = append(s.tests, t)
	}
	return s, nil
}

func compileAll(texts []string, where string, s style) ([]pattern, error) {
	var all []pattern
	for _, text := range texts {
		p, err := compilePattern(text, s)
		if err != nil {
			return nil, syntax(where, "%v", err)
		}
		all = append(all, p)
	}
	return all, nil
}

// eachKey calls f with every key that the statement looks at.
func (s *statement) eachKey(f func(key)) {
	variables := func(p *pattern) {
		for _, t := range p.tokens {
			if t.kind == substitute {
				f(t.variable.key)
			}
		}
	}
	for i := range s.resources {
		variables(&s.resources[i])
	}
	for i := range s.tests {
		f(s.tests[i].key)
		for j := range s.tests[i].operands {
			variables(&s.tests[i].operands[j].pattern)
		}
	}
}

func addKey(keys []key, k key) []key {
	if slices.ContainsFunc(keys, func(have key) bool { return have.name == k.name }) {
		return keys
	}
	return append(keys, k)
}

// applies reports whether the statement is about the request, and how
// directly it names the principal.
func (s *statement) applies(r *Request, bounded bool) (grant, bool) {
	if !s.aboutAction(r) {
		return ungranted, false
	}
	g := direct
	switch {
	case s.principals == nil:
	case s.notPrincipal:
		if s.principals.exempts(r.Principal, bounded) {
			return ungranted, false
		}
	default:
		if g = s.principals.match(r.Principal); g == ungranted {
			return ungranted, false
		}
	}
	if !s.aboutResource(r) {
		return ungranted, false
	}
	for i := range s.tests {
		if !s.tests[i].holds(r, s.effect) {
			return ungranted, false
		}
	}
	return g, true
}

func (s *statement) aboutAction(r *Request) bool {
	for i := range s.actions {
		if ok, _ := s.actions[i].match(r, r.Action); ok {
			return !s.notAction
		}
	}
	return s.notAction
}

func (s *statement) aboutResource(r *Request) bool {
	if s.resources == nil {
		return true
	}
	resolved := true
	for i := range s.resources {
		matches, ok := s.resources[i].match(r, r.Resource)
		if matches {
			return !s.notResource
		}
		resolved = resolved && ok
	}
	// What a variable that stands for nothing would have excepted is not known.
	return s.notResource && (resolved || s.effect == Deny)
}

// isLetters reports whether a text has letters and digits only.
func isLetters(s string) bool {
	return s == "" || isVendor(s) && !strings.ContainsAny(s, "-.")
}
