package policy

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// oracle is a pattern as a regular expression, which is slower and plainer.
func oracle(pattern string, s style) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?s)^`)
	if s.fold {
		b.WriteString(`(?i)`)
	}
	colons := 0
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		last := i
		for c == '*' && last+1 < len(pattern) && pattern[last+1] == '*' {
			last++
		}
		ends := last+1 == len(pattern) || pattern[last+1] == ':'
		bound := pattern != "*" && colons < arnColons && (s.colons == uncrossed || s.colons == crossedAtEnd && (c == '?' || !ends))
		switch {
		case c == '*' && bound:
			b.WriteString(`[^:]*`)
		case c == '*':
			b.WriteString(`.*`)
		case c == '?' && bound:
			b.WriteString(`[^:]`)
		case c == '?':
			b.WriteString(`.`)
		default:
			b.WriteString(regexp.QuoteMeta(string(c)))
		}
		if c == ':' {
			colons++
		}
		i = last
	}
	return regexp.MustCompile(b.String() + `$`)
}

func TestPatternAgainstRegexp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := style{wildcards: true, fold: rapid.Bool().Draw(t, "fold"), colons: rapid.SampledFrom([]colons{crossed, crossedAtEnd, uncrossed}).Draw(t, "colons")}
		if s.fold {
			s.colons = crossed // actions are not ARNs
		}
		text := rapid.StringMatching(`[abA:]{0,14}`).Draw(t, "text")
		pattern := rapid.StringMatching(`[abA:*?]{0,10}`).Draw(t, "pattern")
		if rapid.Bool().Draw(t, "derived") { // from the text, so that it may match
			pattern = mutate(t, text)
		}
		p, err := compilePattern(pattern, s)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := p.match(nil, text); got != oracle(pattern, s).MatchString(text) {
			t.Fatalf("%q against %q, %+v: %v", pattern, text, s, got)
		}
	})
}

// mutate makes wildcards of parts of a text.
func mutate(t *rapid.T, text string) string {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch rapid.IntRange(0, 4).Draw(t, "what") {
		case 0:
			b.WriteByte('?')
		case 1:
			b.WriteByte('*')
			i += rapid.IntRange(-1, 3).Draw(t, "skip")
		default:
			b.WriteByte(text[i])
		}
	}
	return b.String()
}

func TestPatternOneCharacter(t *testing.T) {
	p, err := compilePattern("a?c", style{wildcards: true})
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{"abc": true, "aéc": true, "a\U0001f600c": true, "ac": false, "abbc": false} {
		if got, _ := p.match(nil, text); got != want {
			t.Errorf("a?c against %q: %v", text, got)
		}
	}
}

// TestPatternPathological matches patterns that make a backtracking matcher
// take longer than the universe has. Ours are at most (pattern × text) steps.
func TestPatternPathological(t *testing.T) {
	for _, s := range []style{{wildcards: true}, {wildcards: true, fold: true}, {wildcards: true, colons: uncrossed}, {wildcards: true, colons: crossedAtEnd}} {
		for _, pattern := range []string{
			strings.Repeat("*a", 1000) + "b", strings.Repeat("a*", 1000) + "b", strings.Repeat("*?", 500) + "b",
			"*" + strings.Repeat("?", 1000) + "b", strings.Repeat("*a:", 300) + "b", strings.Repeat("**a*:*", 300) + "b",
		} {
			p, err := compilePattern(pattern, s)
			if err != nil {
				t.Fatal(err)
			}
			if ok, _ := p.match(nil, strings.Repeat("a", 4000)); ok {
				t.Errorf("%.20s… matches", pattern)
			}
			if ok, _ := p.match(nil, strings.Repeat("aa:", 1300)); ok {
				t.Errorf("%.20s… matches", pattern)
			}
		}
	}
}
