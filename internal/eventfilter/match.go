package eventfilter

import (
	"encoding/json"
	"slices"
	"strings"
)

// Match says whether an event matches. The event is what encoding/json makes
// of JSON, with numbers as json.Number or float64.
func (p *Pattern) Match(event any) bool { return p.root.matches(event) }

// MatchJSON is Match for an event as JSON; the error says that it is none.
func (p *Pattern) MatchJSON(event []byte) (bool, error) {
	value, err := decode(event)
	if err != nil {
		return false, err
	}
	return p.Match(value), nil
}

// node is a part of a pattern that an object matches or not.
type node interface{ matches(value any) bool }

// all matches what all its nodes match. Of an array it matches one element,
// so that what belongs together is found together.
type all []node

func (a all) matches(value any) bool {
	if elements, ok := value.([]any); ok {
		return slices.ContainsFunc(elements, a.matches)
	}
	for _, n := range a {
		if !n.matches(value) {
			return false
		}
	}
	return true
}

// anyOf is $or.
type anyOf []node

func (a anyOf) matches(value any) bool {
	return slices.ContainsFunc(a, func(n node) bool { return n.matches(value) })
}

// member looks into an object below. One that is not there is as if it were
// empty, since exists can ask for what is not there.
type member struct {
	name  string
	below all
}

func (m member) matches(value any) bool {
	object, _ := value.(map[string]any)
	return m.below.matches(object[m.name])
}

// leaf tests a value. An array is tested element by element; objects and
// empty arrays have no value to test.
type leaf struct {
	name  string
	tests []test
}

func (l leaf) matches(value any) bool {
	object, _ := value.(map[string]any)
	v, present := object[l.name]
	var values []any
	if present {
		values = flatten(nil, v)
	}
	for _, t := range l.tests {
		if e, ok := t.(exists); ok {
			if bool(e) == (len(values) > 0) {
				return true
			}
			continue
		}
		if slices.ContainsFunc(values, t.accepts) {
			return true
		}
	}
	return false
}

// flatten appends the scalars of a value that are in no object.
func flatten(values []any, v any) []any {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			values = flatten(values, e)
		}
		return values
	case map[string]any:
		return values
	}
	return append(values, v)
}

// test is an element of a leaf.
type test interface{ accepts(scalar any) bool }

type equals struct{ value any }

func (e equals) accepts(v any) bool {
	want, ok := e.value.(json.Number)
	if !ok {
		return v == e.value
	}
	switch v := v.(type) {
	case json.Number:
		if plain(string(v)) && plain(string(want)) {
			return v == want
		}
		got, err := v.Float64()
		expected, _ := want.Float64()
		return err == nil && got == expected
	case float64:
		expected, _ := want.Float64()
		return v == expected
	}
	return false
}

// plain says whether a number is written as an integer.
func plain(n string) bool { return !strings.ContainsAny(n, ".eE") && n != "-0" }

type text func(string) bool

func (t text) accepts(v any) bool {
	s, ok := v.(string)
	return ok && t(s)
}

// not accepts what none of its tests accepts.
type not []test

func (n not) accepts(v any) bool {
	return !slices.ContainsFunc(n, func(t test) bool { return t.accepts(v) })
}

// exists is looked at by leaf: it is about a value being there.
type exists bool

func (e exists) accepts(any) bool { return bool(e) }

type comparison struct {
	op    string
	value float64
}

type numeric []comparison

func (n numeric) accepts(v any) bool {
	var got float64
	switch v := v.(type) {
	case json.Number:
		f, err := v.Float64()
		if err != nil {
			return false
		}
		got = f
	case float64:
		got = v
	default:
		return false
	}
	for _, c := range n {
		if !compare(c.op)(got, c.value) {
			return false
		}
	}
	return true
}

// compare returns a comparison by its name, or nil.
func compare(op string) func(a, b float64) bool {
	switch op {
	case "=":
		return func(a, b float64) bool { return a == b }
	case "<":
		return func(a, b float64) bool { return a < b }
	case "<=":
		return func(a, b float64) bool { return a <= b }
	case ">":
		return func(a, b float64) bool { return a > b }
	case ">=":
		return func(a, b float64) bool { return a >= b }
	}
	return nil
}
