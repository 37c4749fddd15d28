package logfilter

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
)

// comparison compares one value with a text, number or regular expression.
type comparison struct {
	op     string
	text   string
	number float64
	// numeric says that the text is a number.
	numeric bool
	regex   *regex
}

// operators in the order in which they must be tried.
var operators = []string{"!=", "<=", ">=", "=", "<", ">"}

// comparison takes an operator and the value on its right.
func (s *scanner) comparison(ends func(byte) bool) (*comparison, error) {
	c := new(comparison)
	for _, op := range operators {
		if s.take(op) {
			c.op = op
			break
		}
	}
	if c.op == "" {
		return nil, s.errorf("an operator is missing: one of %s", strings.Join(operators, " "))
	}
	s.space()
	var err error
	switch s.peek() {
	case '%':
		var r regex
		r, err = s.regex()
		c.regex = &r
	case '"':
		c.text, err = s.quoted()
	default:
		if c.text = s.until(ends); c.text == "" {
			return nil, s.errorf("a value is missing")
		}
		c.number, err = strconv.ParseFloat(c.text, 64)
		c.numeric = err == nil && !math.IsNaN(c.number) && !math.IsInf(c.number, 0)
		err = nil
	}
	if err != nil {
		return nil, err
	}
	if c.op != "=" && c.op != "!=" && !c.numeric {
		return nil, s.errorf("%s wants a number", c.op)
	}
	return c, s.fewRegexes()
}

// holds compares a string, json.Number or bool.
func (c *comparison) holds(value any) bool {
	switch v := value.(type) {
	case string:
		return c.compare(v, false)
	case json.Number:
		return c.compare(v.String(), true)
	case bool:
		return c.compare(strconv.FormatBool(v), false)
	}
	return false
}

func (c *comparison) compare(v string, isNumber bool) bool {
	switch c.op {
	case "=":
		return c.equal(v, isNumber)
	case "!=":
		return !c.equal(v, isNumber)
	}
	n, err := strconv.ParseFloat(v, 64)
	if !isNumber || err != nil {
		return false
	}
	switch c.op {
	case "<":
		return n < c.number
	case "<=":
		return n <= c.number
	case ">":
		return n > c.number
	}
	return n >= c.number
}

func (c *comparison) equal(v string, isNumber bool) bool {
	if c.regex != nil {
		return c.regex.match(v)
	}
	if c.numeric && isNumber {
		n, err := strconv.ParseFloat(v, 64)
		return err == nil && n == c.number
	}
	return glob(c.text, v)
}

// glob matches a text in which asterisks stand for anything.
func glob(pattern, text string) bool {
	first, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == text
	}
	if !strings.HasPrefix(text, first) {
		return false
	}
	text = text[len(first):]
	for {
		piece, after, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(text, piece)
		}
		i := strings.Index(text, piece)
		if i < 0 {
			return false
		}
		text, rest = text[i+len(piece):], after
	}
}
