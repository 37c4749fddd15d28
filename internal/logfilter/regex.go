package logfilter

import (
	"regexp"
	"regexp/syntax"
	"strings"
)

const (
	// maxRegexes is AWS's bound for JSON patterns and patterns of fields.
	maxRegexes = 2
	// maxProgram bounds the compiled regular expressions of one pattern: the
	// time to match is the product of it and the length of the event.
	maxProgram = 1000
)

// AWS's page lists what a regular expression may hold.
const (
	regexSymbols   = ":_#=@/;,-"
	regexOperators = "^$?[]{}|*+."
	regexClasses   = "dDsSwW"
)

type regex struct{ *regexp.Regexp }

func (r regex) match(event string) bool { return r.MatchString(event) }

// regex takes a regular expression between percent signs.
func (s *scanner) regex() (regex, error) {
	start := s.at
	s.at++
	for {
		switch c := s.peek(); {
		case s.done():
			s.at = start
			return regex{}, s.errorf("a percent sign is not closed")
		case c == '%':
			text := s.text[start+1 : s.at]
			s.at++
			return s.compile(text)
		case c == '\\':
			if err := s.escape(); err != nil {
				return regex{}, err
			}
		case isAlphanumeric(c) || strings.IndexByte(regexSymbols+regexOperators, c) >= 0:
			s.at++
		default:
			return regex{}, s.errorf("a regular expression must not hold %q", string(rune(c)))
		}
	}
}

// escape takes a backslash and what it escapes.
func (s *scanner) escape() error {
	s.at++
	c := s.peek()
	switch {
	case c == 'x' && s.at+2 < len(s.text) && isHex(s.text[s.at+1]) && isHex(s.text[s.at+2]):
		s.at += 3
	case strings.IndexByte(regexClasses, c) >= 0 && c != 0, c > ' ' && c < 0x7f && !isAlphanumeric(c):
		s.at++
	default:
		return s.errorf("this cannot follow a backslash in a regular expression")
	}
	return nil
}

func isAlphanumeric(c byte) bool { return c < 0x80 && isName(c) && c != '_' && c != '-' }

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func (s *scanner) compile(text string) (regex, error) {
	if text == "" {
		return regex{}, s.errorf("a regular expression is empty")
	}
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return regex{}, s.errorf("regular expression: %v", err)
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return regex{}, s.errorf("regular expression: %v", err)
	}
	s.regexes++
	if s.instructions += len(program.Inst); s.instructions > maxProgram {
		return regex{}, s.errorf("the regular expressions are too large; repeat less in them")
	}
	compiled, err := regexp.Compile(text)
	if err != nil {
		return regex{}, s.errorf("regular expression: %v", err)
	}
	return regex{compiled}, nil
}

// fewRegexes refuses what AWS refuses in patterns other than terms.
func (s *scanner) fewRegexes() error {
	if s.regexes > maxRegexes {
		return s.errorf("%d regular expressions, at most %d are allowed", s.regexes, maxRegexes)
	}
	return nil
}
