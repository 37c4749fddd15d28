package logfilter

import (
	"fmt"
	"strings"
)

const (
	// MaxPattern is the longest pattern in bytes, as AWS has it.
	MaxPattern = 1024
	// maxDepth bounds parentheses within parentheses.
	maxDepth = 32
)

// Pattern is a filter pattern that has been understood.
type Pattern struct{ matcher matcher }

// matcher says whether an event has what it wants.
type matcher interface{ match(event string) bool }

// Parse reads a filter pattern. An empty one matches every event.
func Parse(text string) (*Pattern, error) {
	if len(text) > MaxPattern {
		return nil, fmt.Errorf("filter pattern: it has %d bytes, at most %d are allowed", len(text), MaxPattern)
	}
	s := &scanner{text: text}
	s.space()
	var m matcher
	var err error
	switch s.peek() {
	case '{':
		m, err = s.document()
	case '[':
		m, err = s.fields()
	default:
		m, err = s.terms()
	}
	if err != nil {
		return nil, fmt.Errorf("filter pattern: %w", err)
	}
	return &Pattern{m}, nil
}

// Match says whether the pattern selects an event with this message.
func (p *Pattern) Match(event string) bool { return p.matcher.match(event) }

// terms is a pattern of words: all of some, none of others; or one of some.
type terms struct {
	all, none, any []matcher
}

func (t *terms) match(event string) bool {
	for _, m := range t.none {
		if m.match(event) {
			return false
		}
	}
	for _, m := range t.all {
		if !m.match(event) {
			return false
		}
	}
	if len(t.any) == 0 {
		return true
	}
	for _, m := range t.any {
		if m.match(event) {
			return true
		}
	}
	return false
}

// word is a term that an event contains, anywhere.
type word string

func (w word) match(event string) bool { return strings.Contains(event, string(w)) }

func (s *scanner) terms() (matcher, error) {
	t := new(terms)
	for s.space(); !s.done(); s.space() {
		to := &t.all
		switch s.peek() {
		case '-':
			to = &t.none
			s.at++
		case '?':
			to = &t.any
			s.at++
		}
		m, err := s.term()
		if err != nil {
			return nil, err
		}
		*to = append(*to, m)
	}
	if len(t.all)+len(t.none) > 0 {
		// As AWS documents: question marks are ignored beside other terms.
		t.any = nil
	}
	return t, nil
}

func (s *scanner) term() (matcher, error) {
	switch s.peek() {
	case '"':
		text, err := s.quoted()
		return word(text), err
	case '%':
		return s.regex()
	}
	text := s.until(isSpace)
	if text == "" {
		return nil, s.errorf("a term is missing")
	}
	return word(text), nil
}
