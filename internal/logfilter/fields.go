package logfilter

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// maxFields bounds the fields that an event is taken apart into.
const maxFields = 4096

// fields is a pattern of fields between spaces: one test for each, nil if it
// may be anything.
type fields struct {
	before, after []test
	// open says that an ellipsis is between before and after.
	open bool
}

func (f *fields) match(event string) bool {
	got := split(event)
	if len(got) < len(f.before)+len(f.after) || !f.open && len(got) > len(f.before) {
		return false
	}
	return matchFields(f.before, got) && matchFields(f.after, got[len(got)-len(f.after):])
}

func matchFields(tests []test, got []string) bool {
	for i, t := range tests {
		if t != nil && !t.holds(fieldValue(got[i])) {
			return false
		}
	}
	return true
}

// fieldValue is a field as a number if it is one.
func fieldValue(field string) any {
	if n, err := strconv.ParseFloat(field, 64); err == nil && !math.IsInf(n, 0) && !math.IsNaN(n) {
		return json.Number(field)
	}
	return field
}

// split takes an event apart at its spaces. What is within double quotes or
// square brackets is one field, without these.
func split(event string) []string {
	var got []string
	for len(got) < maxFields {
		event = strings.TrimLeft(event, " \t\r\n")
		if event == "" {
			break
		}
		closing := byte(0)
		switch event[0] {
		case '"':
			closing = '"'
		case '[':
			closing = ']'
		}
		if closing != 0 {
			if end := strings.IndexByte(event[1:], closing); end >= 0 {
				got = append(got, event[1:1+end])
				event = event[end+2:]
				continue
			}
		}
		end := strings.IndexAny(event, " \t\r\n")
		if end < 0 {
			end = len(event)
		}
		got = append(got, event[:end])
		event = event[end:]
	}
	return got
}

func (s *scanner) fields() (matcher, error) {
	s.at++
	f := new(fields)
	for {
		if s.take("...") {
			if f.open {
				return nil, s.errorf("there may be one ellipsis")
			}
			f.open = true
		} else {
			t, err := s.field()
			if err != nil {
				return nil, err
			}
			if f.open {
				f.after = append(f.after, t)
			} else {
				f.before = append(f.before, t)
			}
		}
		if s.take(",") {
			continue
		}
		if !s.take("]") {
			return nil, s.errorf("a closing bracket is missing")
		}
		if s.space(); !s.done() {
			return nil, s.errorf("nothing may follow the closing bracket")
		}
		return f, nil
	}
}

// field takes the name of a field with the conditions on it, if there are any.
// A field may be without a name, as in AWS's example [..., status_code=4*,].
func (s *scanner) field() (test, error) {
	s.space()
	start := s.at
	name := s.until(func(c byte) bool { return !isName(c) && c != '.' })
	s.space()
	switch c := s.peek(); {
	case c == ',' || c == ']':
		return nil, nil
	case name == "" && c != '(':
		return nil, s.errorf("the name of a field is missing")
	}
	s.at = start
	named := ""
	return s.expression(func() (test, error) {
		s.space()
		name := s.until(func(c byte) bool { return !isName(c) && c != '.' })
		if named == "" {
			named = name
		}
		if name == "" || name != named {
			return nil, s.errorf("the conditions of a field must repeat its name")
		}
		return s.comparison(endsFieldValue)
	})
}

// endsFieldValue ends a value without quotes in a pattern of fields.
func endsFieldValue(c byte) bool { return isSpace(c) || strings.IndexByte("(),]&|\"", c) >= 0 }
