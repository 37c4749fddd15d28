// Package eventfilter reads the filter patterns of event source mappings and
// matches events against them: the forms that Lambda's developer guide
// documents, as Amazon EventBridge defines them.
//
// A pattern is a JSON object. Its members must all match (AND); a member's
// value is a pattern for an object below, or an array of which one element
// must match (OR). The elements are JSON's scalars, or an object of one
// operator: prefix, suffix, equals-ignore-case, anything-but, numeric, exists.
// The member $or holds two or more patterns, one of which must match.
//
// Invariants:
//
//  1. A pattern that Parse accepted matches or does not; matching cannot fail.
//  2. Matching takes at most the pattern's size times the event's.
//
// Numbers are compared by value, so 300 is 3.0e2; integers are compared
// exactly, other numbers as float64.
package eventfilter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// MaxPattern is the most characters of a pattern, as AWS has it.
const MaxPattern = 4096

// ErrInvalid says that a pattern is none.
var ErrInvalid = errors.New("invalid filter pattern")

// Pattern is a pattern that can be matched. It is never changed.
type Pattern struct{ root all }

// Parse reads a pattern.
func Parse(text string) (*Pattern, error) {
	if n := utf8.RuneCountInString(text); n > MaxPattern {
		return nil, invalid("%d characters, at most %d are allowed", n, MaxPattern)
	}
	value, err := decode([]byte(text))
	if err != nil {
		return nil, invalid("%v", err)
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, invalid("not a JSON object")
	}
	root, err := parseObject(object)
	if err != nil {
		return nil, err
	}
	return &Pattern{root}, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// decode reads one JSON value, numbers as they are written.
func decode(text []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	return value, nil
}

func parseObject(object map[string]any) (all, error) {
	if len(object) == 0 {
		return nil, invalid("an object is empty")
	}
	var nodes all
	for name, value := range object {
		n, err := parseMember(name, value)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

func parseMember(name string, value any) (node, error) {
	switch v := value.(type) {
	case map[string]any:
		below, err := parseObject(v)
		return member{name, below}, err
	case []any:
		if name == "$or" {
			return parseOr(v)
		}
		l, err := parseLeaf(name, v)
		return leaf{name, l}, err
	}
	return nil, invalid("%.100q must be an object or an array", name)
}

func parseOr(alternatives []any) (node, error) {
	if len(alternatives) < 2 {
		return nil, invalid("$or needs two patterns or more")
	}
	var nodes anyOf
	for _, a := range alternatives {
		object, ok := a.(map[string]any)
		if !ok {
			return nil, invalid("$or holds something else than an object")
		}
		n, err := parseObject(object)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

func parseLeaf(name string, elements []any) ([]test, error) {
	if len(elements) == 0 {
		return nil, invalid("the array of %.100q is empty", name)
	}
	var tests []test
	for _, e := range elements {
		t, err := parseElement(e)
		if err != nil {
			return nil, err
		}
		tests = append(tests, t)
	}
	return tests, nil
}

func parseElement(element any) (test, error) {
	switch e := element.(type) {
	case nil, bool, string:
		return equals{e}, nil
	case json.Number:
		if _, err := e.Float64(); err != nil {
			return nil, invalid("number %.40s is too large", e)
		}
		return equals{e}, nil
	case map[string]any:
		if len(e) != 1 {
			return nil, invalid("an object in an array must have one operator")
		}
		for operator, operand := range e {
			return parseOperator(operator, operand)
		}
	}
	return nil, invalid("an array in an array")
}

func parseOperator(operator string, operand any) (test, error) {
	switch operator {
	case "prefix", "suffix", "equals-ignore-case":
		s, ok := operand.(string)
		if !ok {
			return nil, invalid("%s needs a string", operator)
		}
		return textTest(operator, s), nil
	case "anything-but":
		return parseAnythingBut(operand)
	case "numeric":
		return parseNumeric(operand)
	case "exists":
		b, ok := operand.(bool)
		if !ok {
			return nil, invalid("exists needs true or false")
		}
		return exists(b), nil
	}
	return nil, invalid("operator %.100q is not known", operator)
}

func textTest(operator, s string) test {
	switch operator {
	case "prefix":
		return text(func(v string) bool { return strings.HasPrefix(v, s) })
	case "suffix":
		return text(func(v string) bool { return strings.HasSuffix(v, s) })
	}
	return text(func(v string) bool { return strings.EqualFold(v, s) })
}

// parseAnythingBut reads a string, a number, an array of only strings or only
// numbers, or a prefix.
func parseAnythingBut(operand any) (test, error) {
	if o, ok := operand.(map[string]any); ok {
		prefix, ok := o["prefix"].(string)
		if !ok || len(o) != 1 || prefix == "" {
			return nil, invalid("an object of anything-but must have a prefix and nothing else")
		}
		return not{textTest("prefix", prefix)}, nil
	}
	values, ok := operand.([]any)
	if !ok {
		values = []any{operand}
	}
	if len(values) == 0 {
		return nil, invalid("the array of anything-but is empty")
	}
	_, strs := values[0].(string)
	but := not{}
	for _, v := range values {
		_, isString := v.(string)
		_, isNumber := v.(json.Number)
		if isString != strs || isNumber == strs {
			return nil, invalid("anything-but needs strings only or numbers only")
		}
		t, err := parseElement(v)
		if err != nil {
			return nil, err
		}
		but = append(but, t)
	}
	return but, nil
}

// maxNumeric bounds the operands of numeric, as EventBridge does.
const maxNumeric = 5e9

// parseNumeric reads one comparison, or a lower bound followed by an upper one.
func parseNumeric(operand any) (test, error) {
	parts, ok := operand.([]any)
	if !ok || len(parts) != 2 && len(parts) != 4 {
		return nil, invalid("numeric needs one comparison or two")
	}
	var n numeric
	for i := 0; i < len(parts); i += 2 {
		op, _ := parts[i].(string)
		number, ok := parts[i+1].(json.Number)
		value, err := number.Float64()
		if !ok || err != nil || value < -maxNumeric || value > maxNumeric {
			return nil, invalid("numeric needs numbers from -5e9 to 5e9")
		}
		if compare(op) == nil {
			return nil, invalid("numeric has no comparison %.20q", op)
		}
		n = append(n, comparison{op, value})
	}
	if len(n) == 2 && (n[0].op[0] != '>' || n[1].op[0] != '<' || n[0].value >= n[1].value) {
		return nil, invalid("a range must be a lower bound followed by a higher upper one")
	}
	return n, nil
}
