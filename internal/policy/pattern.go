package policy

import (
	"strings"
	"unicode/utf8"
)

// A pattern is a text with wildcards and variables, taken apart. What a
// variable stands for is taken as it is: a user called "*" is not everybody.
type pattern struct {
	tokens    []token
	variables bool
	segments  bool // it has a wildcard that stops at colons
	fold      bool // letters match in either case; ASCII only
}

type token struct {
	kind     tokenKind
	text     string // of a literal
	variable *variable
}

type tokenKind uint8

const (
	literal    tokenKind = iota
	anyRun               // any characters, or none
	segmentRun           // any characters but a colon, or none
	anyOne               // one character
	segmentOne           // one character, not a colon
	substitute           // what a variable stands for
)

// A style says which characters of a pattern are special.
type style struct {
	wildcards bool
	variables bool
	fold      bool
	colons    colons
}

// colons says what wildcards before the fifth colon of an ARN do at colons.
type colons uint8

const (
	// crossed: a colon is a character like any other.
	crossed colons = iota
	// crossedAtEnd: a * that ends a segment goes on beyond it, others stop
	// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_resource.html).
	crossedAtEnd
	// uncrossed: each of the six components is matched by itself
	// (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html#Conditions_ARN).
	uncrossed
)

// stop reports whether a wildcard before the fifth colon stops at colons; it
// may be the end of its segment.
func (c colons) stop(wildcard byte, ends bool) bool {
	return c == uncrossed || c == crossedAtEnd && (wildcard == '?' || !ends)
}

// arnColons is how many colons an ARN has before its resource, in which
// colons are characters like any other.
const arnColons = 5

// compilePattern takes a text apart. The error is a detail for a reader.
func compilePattern(text string, s style) (pattern, error) {
	p := pattern{fold: s.fold}
	all := s.wildcards && text == "*"
	seen, start := 0, 0 // colons so far, where the literal begins
	for i := 0; i < len(text); {
		c := text[i]
		isVariable := s.variables && c == '$' && strings.HasPrefix(text[i:], "${")
		if !isVariable && !(s.wildcards && (c == '*' || c == '?')) {
			if c == ':' {
				seen++
			}
			i++
			continue
		}
		p.literal(text[start:i])
		if isVariable {
			length, err := p.variable(text[i:])
			if err != nil {
				return pattern{}, err
			}
			i += length
		} else {
			i++
			if c == '*' { // several are one
				i = len(text) - len(strings.TrimLeft(text[i:], "*"))
			}
			ends := i == len(text) || text[i] == ':'
			p.wildcard(c, !all && seen < arnColons && s.colons.stop(c, ends))
		}
		start = i
	}
	p.literal(text[start:])
	return p, nil
}

func (p *pattern) literal(text string) {
	if text == "" {
		return
	}
	if p.fold {
		text = strings.ToLower(text)
	}
	if last := len(p.tokens) - 1; last >= 0 && p.tokens[last].kind == literal {
		p.tokens[last].text += text
		return
	}
	p.tokens = append(p.tokens, token{kind: literal, text: text})
}

func (p *pattern) wildcard(c byte, bound bool) {
	kind := anyRun
	switch {
	case c == '*' && bound:
		kind = segmentRun
	case c == '?' && bound:
		kind = segmentOne
	case c == '?':
		kind = anyOne
	}
	p.segments = p.segments || bound
	p.tokens = append(p.tokens, token{kind: kind})
}

// exact returns the text that the pattern is, if it is nothing else.
func (p *pattern) exact() (string, bool) {
	switch {
	case len(p.tokens) == 0:
		return "", true
	case len(p.tokens) == 1 && p.tokens[0].kind == literal && !p.fold:
		return p.tokens[0].text, true
	}
	return "", false
}

// match reports whether the text matches. It is not resolved if a variable
// stands for nothing, and then it does not match.
func (p *pattern) match(r *Request, text string) (ok, resolved bool) {
	tokens := p.tokens
	if p.variables {
		var room [16]token
		tokens = room[:0]
		for _, t := range p.tokens {
			if t.kind == substitute {
				value, ok := t.variable.value(r)
				if !ok {
					return false, false
				}
				t = token{kind: literal, text: value}
			}
			tokens = append(tokens, t)
		}
	}
	if p.segments {
		return matchSegments(tokens, text), true
	}
	return matchTokens(tokens, text, p.fold), true
}

// matchTokens matches without bounded wildcards. After a mismatch only the
// last run is made longer: if an earlier one could be, so could the last.
func matchTokens(tokens []token, text string, fold bool) bool {
	next, at := 0, 0
	run, from := -1, 0 // the last run and where what follows it was tried
	for {
		if next < len(tokens) {
			t := &tokens[next]
			if t.kind == anyRun {
				if next == len(tokens)-1 {
					return true
				}
				run, from = next, at
				next++
				continue
			}
			if n := t.length(text[at:], fold); n >= 0 {
				next, at = next+1, at+n
				continue
			}
		} else if at == len(text) {
			return true
		}
		if run < 0 || from >= len(text) {
			return false
		}
		from++
		next, at = run+1, from
	}
}

// length is how much of the text's beginning the token takes; negative if
// the text does not begin so.
func (t *token) length(text string, fold bool) int {
	switch t.kind {
	case anyOne:
		if text == "" {
			return -1
		}
		_, n := utf8.DecodeRuneInString(text)
		return n
	case segmentOne:
		if text == "" || text[0] == ':' {
			return -1
		}
		_, n := utf8.DecodeRuneInString(text)
		return n
	default:
		if len(text) < len(t.text) || !fold && text[:len(t.text)] != t.text {
			return -1
		}
		if fold && !equalFold(text[:len(t.text)], t.text) {
			return -1
		}
		return len(t.text)
	}
}

// equalFold compares with a text in lower case.
func equalFold(text, lower string) bool {
	for i := range len(text) {
		c := text[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// matchSegments matches with all wildcards. It follows, token by token, all
// the places in the text that the pattern so far can have reached.
func matchSegments(tokens []token, text string) bool {
	var room [2][256]bool
	here, next := room[0][:], room[1][:]
	if len(text)+1 > len(here) {
		here, next = make([]bool, len(text)+1), make([]bool, len(text)+1)
	}
	here, next = here[:len(text)+1], next[:len(text)+1]
	here[0] = true
	for i := range tokens {
		clear(next)
		if !tokens[i].step(here, next, text) {
			return false
		}
		here, next = next, here
	}
	return here[len(text)]
}

// step marks in next what the token reaches from here, and reports whether
// that is anything.
func (t *token) step(here, next []bool, text string) bool {
	reached, running := false, false
	for at, on := range here {
		switch t.kind {
		case anyRun:
			running = running || on
		case segmentRun:
			running = on || running && text[at-1] != ':'
		default:
			if !on {
				continue
			}
			if n := t.length(text[at:], false); n >= 0 {
				next[at+n], reached = true, true
			}
			continue
		}
		next[at] = running
		reached = reached || running
	}
	return reached
}
