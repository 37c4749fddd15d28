package logfilter

import (
	"fmt"
	"strings"
)

// scanner walks over the text of a pattern.
type scanner struct {
	text  string
	at    int
	depth int
	// regexes and instructions count what the pattern's regular expressions
	// have cost so far.
	regexes, instructions int
}

func (s *scanner) done() bool { return s.at >= len(s.text) }

// peek is the next byte, 0 at the end.
func (s *scanner) peek() byte {
	if s.done() {
		return 0
	}
	return s.text[s.at]
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\n' || c == '\r' }

func (s *scanner) space() { s.until(func(c byte) bool { return !isSpace(c) }) }

// until takes the bytes before the first that ends them.
func (s *scanner) until(ends func(byte) bool) string {
	start := s.at
	for !s.done() && !ends(s.text[s.at]) {
		s.at++
	}
	return s.text[start:s.at]
}

// take takes a piece of text if it is next, and the space before it.
func (s *scanner) take(piece string) bool {
	s.space()
	if !strings.HasPrefix(s.text[s.at:], piece) {
		return false
	}
	s.at += len(piece)
	return true
}

// keyword takes a word, in whatever case.
func (s *scanner) keyword(word string) bool {
	s.space()
	end := s.at + len(word)
	if end > len(s.text) || !strings.EqualFold(s.text[s.at:end], word) {
		return false
	}
	if end < len(s.text) && isName(s.text[end]) {
		return false
	}
	s.at = end
	return true
}

// isName says that a byte can be in the name of a property or field.
func isName(c byte) bool {
	return c == '_' || c == '-' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c >= 0x80
}

// quoted takes a text in double quotes. A backslash before a quote or a
// backslash stands for these.
func (s *scanner) quoted() (string, error) {
	start := s.at
	s.at++
	var b strings.Builder
	for ; !s.done(); s.at++ {
		switch c := s.peek(); c {
		case '"':
			s.at++
			return b.String(), nil
		case '\\':
			if next := s.at + 1; next < len(s.text) && (s.text[next] == '"' || s.text[next] == '\\') {
				s.at = next
			}
			b.WriteByte(s.peek())
		default:
			b.WriteByte(c)
		}
	}
	s.at = start
	return "", s.errorf("a quotation mark is not closed")
}

func (s *scanner) errorf(format string, args ...any) error {
	return fmt.Errorf("at character %d: %s", s.at+1, fmt.Sprintf(format, args...))
}

// expression is conditions with && and ||; && binds tighter.
func (s *scanner) expression(condition func() (test, error)) (test, error) {
	first, err := s.conjunction(condition)
	if err != nil || !s.take("||") {
		return first, err
	}
	either := disjunction{first}
	for {
		next, err := s.conjunction(condition)
		if err != nil {
			return nil, err
		}
		if either = append(either, next); !s.take("||") {
			return either, nil
		}
	}
}

func (s *scanner) conjunction(condition func() (test, error)) (test, error) {
	var all conjunction
	for {
		next, err := s.operand(condition)
		if err != nil {
			return nil, err
		}
		if all = append(all, next); !s.take("&&") {
			break
		}
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return all, nil
}

func (s *scanner) operand(condition func() (test, error)) (test, error) {
	if !s.take("(") {
		return condition()
	}
	if s.depth++; s.depth > maxDepth {
		return nil, s.errorf("more than %d parentheses are open", maxDepth)
	}
	t, err := s.expression(condition)
	if err != nil {
		return nil, err
	}
	if s.depth--; !s.take(")") {
		return nil, s.errorf("a closing parenthesis is missing")
	}
	return t, nil
}

// test is a condition on what an event was taken apart into: a JSON value or
// the text of a field.
type test interface{ holds(value any) bool }

type (
	conjunction []test
	disjunction []test
)

func (c conjunction) holds(value any) bool {
	for _, t := range c {
		if !t.holds(value) {
			return false
		}
	}
	return true
}

func (d disjunction) holds(value any) bool {
	for _, t := range d {
		if t.holds(value) {
			return true
		}
	}
	return false
}
