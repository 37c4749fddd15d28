package logfilter

import (
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// document is a JSON pattern.
type document struct{ test test }

func (d document) match(event string) bool {
	event = strings.TrimLeft(event, " \t\r\n")
	if event == "" || event[0] != '{' && event[0] != '[' {
		return false
	}
	decoder := json.NewDecoder(strings.NewReader(event))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil {
		return false
	}
	if decoder.More() { // text behind the value: this is no JSON event
		return false
	}
	return d.test.holds(value)
}

func (s *scanner) document() (matcher, error) {
	s.at++
	t, err := s.expression(s.property)
	if err != nil {
		return nil, err
	}
	if !s.take("}") {
		return nil, s.errorf("a closing brace is missing")
	}
	if s.space(); !s.done() {
		return nil, s.errorf("nothing may follow the closing brace")
	}
	return document{t}, nil
}

// property is a condition on the values that a selector finds.
type property struct {
	path []step
	// absent wants none; otherwise one of them satisfies is.
	absent bool
	is     func(value any) bool
}

func (p *property) holds(value any) bool {
	found := false
	if p.absent {
		walk(value, p.path, func(any) bool { found = true; return true })
		return !found
	}
	walk(value, p.path, func(v any) bool { found = p.is(v); return found })
	return found
}

func (s *scanner) property() (test, error) {
	path, err := s.selector()
	if err != nil {
		return nil, err
	}
	p := &property{path: path}
	switch {
	case s.keyword("IS"):
		switch {
		case s.keyword("NULL"):
			p.is = func(v any) bool { return v == nil }
		case s.keyword("TRUE"):
			p.is = func(v any) bool { return v == true }
		case s.keyword("FALSE"):
			p.is = func(v any) bool { return v == false }
		default:
			return nil, s.errorf("NULL, TRUE or FALSE must follow IS")
		}
		return p, nil
	case s.keyword("NOT"):
		if !s.keyword("EXISTS") {
			return nil, s.errorf("EXISTS must follow NOT")
		}
		p.absent = true
		return p, nil
	case s.keyword("EXISTS"):
		p.is = func(any) bool { return true }
		return p, nil
	}
	c, err := s.comparison(endsValue)
	if err != nil {
		return nil, err
	}
	p.is = c.holds
	if c.regex == nil && c.text == "*" && c.op == "=" {
		p.is = func(any) bool { return true } // any value at all
	}
	return p, nil
}

// endsValue ends a value without quotes in a JSON pattern.
func endsValue(c byte) bool { return isSpace(c) || strings.IndexByte("(){}&|=<>!\"%", c) >= 0 }

// step is one part of a selector: a property by its name, or an element by its
// place, or all of them.
type step struct {
	name  string
	index int
	kind  stepKind
}

type stepKind uint8

const (
	byName stepKind = iota
	byIndex
	everything
)

// selector takes a selector, such as $.a.b[0].c.
func (s *scanner) selector() ([]step, error) {
	if !s.take("$") {
		return nil, s.errorf("a selector is missing; it begins with $.")
	}
	var path []step
	for {
		switch s.peek() {
		case '.':
			s.at++
			if s.peek() == '*' {
				s.at++
				path = append(path, step{kind: everything})
				continue
			}
			name := s.until(func(c byte) bool { return !isName(c) })
			if name == "" {
				return nil, s.errorf("the name of a property is missing")
			}
			path = append(path, step{name: name})
		case '[':
			next, err := s.bracket()
			if err != nil {
				return nil, err
			}
			path = append(path, next)
		default:
			if len(path) == 0 {
				return nil, s.errorf("the name of a property is missing")
			}
			return path, nil
		}
	}
}

// bracket takes [0], [*] or ['name'].
func (s *scanner) bracket() (step, error) {
	s.at++
	var next step
	s.space()
	switch s.peek() {
	case '*':
		s.at++
		next.kind = everything
	case '\'':
		s.at++
		next.name = s.until(func(c byte) bool { return c == '\'' })
		if s.peek() != '\'' {
			return next, s.errorf("a quotation mark is not closed")
		}
		s.at++
	case '"':
		name, err := s.quoted()
		if err != nil {
			return next, err
		}
		next.name = name
	default:
		digits := s.until(func(c byte) bool { return c < '0' || c > '9' })
		index, err := strconv.Atoi(digits)
		if err != nil {
			return next, s.errorf("the index of an element is missing")
		}
		next.kind, next.index = byIndex, index
	}
	if !s.take("]") {
		return next, s.errorf("a closing bracket is missing")
	}
	return next, nil
}

// walk calls fn with every value that a path finds until one returns true. It
// visits each part of the value at most once a step.
func walk(value any, path []step, fn func(any) bool) bool {
	if len(path) == 0 {
		return fn(value)
	}
	for inner := range path[0].of(value) {
		if walk(inner, path[1:], fn) {
			return true
		}
	}
	return false
}

// of yields what a step leads to in a value.
func (st step) of(value any) iter.Seq[any] {
	return func(yield func(any) bool) {
		switch v := value.(type) {
		case map[string]any:
			if st.kind == everything {
				maps.Values(v)(yield)
			} else if inner, ok := v[st.name]; ok && st.kind == byName {
				yield(inner)
			}
		case []any:
			if st.kind == everything {
				slices.Values(v)(yield)
			} else if st.kind == byIndex && st.index < len(v) {
				yield(v[st.index])
			}
		}
	}
}
