package api

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/aws/smithy-go"

	"hearth/internal/awserr"
)

// constraint is what the API model says about a shape beyond its type.
type constraint struct {
	members   []string // of a structure, in the model's order
	required  []string
	min, max  *float64 // of a number's value, or of a length
	pattern   string
	enum      []string
	sensitive bool // the value is not repeated in messages

	compile sync.Once
	accept  *regexp.Regexp
	reject  *regexp.Regexp
}

func bound(v float64) *float64 { return new(v) }

// skipped are shapes whose enum the service checks itself, in other words
// than the model's.
var skipped = map[string]bool{"Runtime": true}

// validate checks an input against the model's constraints and answers all
// that is wrong in one ValidationException, in AWS's words.
func validate(op *operation, in any) error {
	v := validator{}
	v.structure(op.schema.Input, op.schema.Input.ID().Name, reflect.ValueOf(in).Elem(), "")
	if len(v.problems) == 0 {
		return nil
	}
	return validationError("ValidationException", v.problems...)
}

// validationError words problems as AWS does.
func validationError(code string, problems ...string) *awserr.Error {
	noun := "error"
	if len(problems) > 1 {
		noun = "errors"
	}
	e := awserr.New(code, "")
	e.Message = fmt.Sprintf("%d validation %s detected: %s", len(problems), noun, strings.Join(problems, "; "))
	return e
}

// problem words one failed constraint.
func problem(value, path, constraint string) string {
	if value != "" {
		value += " "
	}
	return "Value " + value + "at '" + path + "' failed to satisfy constraint: " + constraint
}

type validator struct{ problems []string }

func (v *validator) structure(s *smithy.Schema, shape string, value reflect.Value, path string) {
	c := constraints[shape]
	if c == nil {
		return // newer than the model the constraints come from
	}
	for _, name := range c.members {
		member := s.Member(name)
		if member == nil {
			continue
		}
		field := value.FieldByName(name)
		at := lowerFirst(name)
		if path != "" {
			at = path + "." + at
		}
		if absent(field) {
			if slices.Contains(c.required, name) {
				v.problems = append(v.problems, problem("null", at, "Member must not be null"))
			}
			continue
		}
		v.member(member, field, at)
	}
}

// lowerFirst writes a member's name as AWS does in messages: 'functionName'
// for FunctionName, 'uUID' for UUID.
func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }

// absent says that a member was not in the request. Plain numbers and
// booleans have no absence: zero is taken for it, as the SDK does.
func absent(v reflect.Value) bool { return v.IsZero() }

func (v *validator) member(s *smithy.Schema, value reflect.Value, path string) {
	if value.Kind() == reflect.Pointer {
		value = value.Elem()
	}
	shape := s.TargetID().Name
	c := constraints[shape]
	if c != nil {
		for _, text := range c.check(shape, s.Type(), value) {
			v.problems = append(v.problems, problem(c.show(value), path, text))
		}
	}
	switch s.Type() {
	case smithy.ShapeTypeStructure:
		v.structure(s, shape, value, path)
	case smithy.ShapeTypeList:
		v.list(s, value, path)
	case smithy.ShapeTypeMap:
		v.mapping(s, shape, value, path)
	default: // simple
	}
}

func (v *validator) list(s *smithy.Schema, value reflect.Value, path string) {
	item := s.ListMember()
	shape := item.TargetID().Name
	if item.Type() == smithy.ShapeTypeStructure {
		for i := range value.Len() {
			v.structure(item, shape, value.Index(i), path+"."+strconv.Itoa(i+1)+".member")
		}
		return
	}
	c := constraints[shape]
	if c == nil {
		return
	}
	for i := range value.Len() {
		if len(c.check(shape, item.Type(), value.Index(i))) > 0 {
			v.problems = append(v.problems, problem(c.show(value), path,
				"Member must satisfy constraint: ["+strings.Join(append(c.all(item.Type()), "Member must not be null"), ", ")+"]"))
			return
		}
	}
}

func (v *validator) mapping(s *smithy.Schema, shape string, value reflect.Value, path string) {
	show := constraints[shape].show(value)
	parts := []struct {
		schema *smithy.Schema
		words  string
		values []reflect.Value
	}{
		{s.MapKey(), "Map keys", value.MapKeys()},
		{s.MapValue(), "Map value", mapValues(value)},
	}
	for _, p := range parts {
		name := p.schema.TargetID().Name
		c := constraints[name]
		if c == nil {
			continue
		}
		bad := func(item reflect.Value) bool { return len(c.check(name, p.schema.Type(), item)) > 0 }
		if slices.ContainsFunc(p.values, bad) {
			v.problems = append(v.problems, problem(show, path,
				p.words+" must satisfy constraint: ["+strings.Join(c.all(p.schema.Type()), ", ")+"]"))
		}
	}
}

func mapValues(m reflect.Value) []reflect.Value {
	var values []reflect.Value
	for it := m.MapRange(); it.Next(); {
		values = append(values, it.Value())
	}
	return values
}

// check returns the constraints that a value fails, worded.
func (c *constraint) check(shape string, t smithy.ShapeType, value reflect.Value) []string {
	var failed []string
	quantity, what := measure(t, value)
	if c.max != nil && quantity > *c.max {
		failed = append(failed, "Member must have "+what+" less than or equal to "+number(*c.max))
	}
	if c.min != nil && quantity < *c.min {
		failed = append(failed, "Member must have "+what+" greater than or equal to "+number(*c.min))
	}
	if value.Kind() != reflect.String {
		return failed
	}
	if c.pattern != "" && !c.matches(value.String()) {
		failed = append(failed, "Member must satisfy regular expression pattern: "+c.pattern)
	}
	if len(c.enum) > 0 && !skipped[shape] && !slices.Contains(c.enum, value.String()) {
		failed = append(failed, "Member must satisfy enum value set: ["+strings.Join(c.enum, ", ")+"]")
	}
	return failed
}

// all words every constraint of a shape: what AWS shows for an item of a list
// or map.
func (c *constraint) all(t smithy.ShapeType) []string {
	var words []string
	what, show := "length", number
	if t == smithy.ShapeTypeDouble {
		what, show = "value", double
	}
	if c.max != nil {
		words = append(words, "Member must have "+what+" less than or equal to "+show(*c.max))
	}
	if c.min != nil {
		words = append(words, "Member must have "+what+" greater than or equal to "+show(*c.min))
	}
	if t == smithy.ShapeTypeDouble {
		words = append(words, "Member must not be null")
	}
	if c.pattern != "" {
		words = append(words, "Member must satisfy regular expression pattern: "+c.pattern)
	}
	if len(c.enum) > 0 {
		words = append(words, "Member must satisfy enum value set: ["+strings.Join(c.enum, ", ")+"]")
	}
	return words
}

func measure(t smithy.ShapeType, value reflect.Value) (quantity float64, what string) {
	switch {
	case t == smithy.ShapeTypeString || t == smithy.ShapeTypeEnum:
		return float64(utf8.RuneCountInString(value.String())), "length"
	case value.CanInt():
		return float64(value.Int()), "value"
	case value.CanFloat():
		return value.Float(), "value"
	case value.Kind() == reflect.Slice || value.Kind() == reflect.Map:
		return float64(value.Len()), "length"
	}
	return 0, "value"
}

func number(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// double writes a number as Java does a double.
func double(f float64) string {
	if s := number(f); strings.Contains(s, ".") {
		return s
	}
	return number(f) + ".0"
}

// lookarounds are the patterns of the model that RE2 does not know, as a pair:
// what must match, and what must not.
var lookarounds = map[string][2]string{
	`(?!^[0-9]+$)([a-zA-Z0-9-_]+)`:              {`[a-zA-Z0-9-_]+`, `^[0-9]+$`},
	`((?!^\d+$)^[0-9a-zA-Z-_]+$)`:               {`[0-9a-zA-Z-_]+`, `^\d+$`},
	`(^(?!(system\x2e)))(^[_a-zA-Z0-9])([^$]*)`: {`[_a-zA-Z0-9][^$]*`, `^system\x2e`},
	`[0-9A-Za-z\.\-_]*(?<!\.)`:                  {`[0-9A-Za-z\.\-_]*`, `\.$`},
}

// matches checks the whole of a string against the pattern.
func (c *constraint) matches(s string) bool {
	c.compile.Do(func() {
		accept := c.pattern
		if pair, ok := lookarounds[c.pattern]; ok {
			accept, c.reject = pair[0], regexp.MustCompile(pair[1])
		}
		c.accept = regexp.MustCompile("^(?:" + accept + ")$")
	})
	return c.accept.MatchString(s) && (c.reject == nil || !c.reject.MatchString(s))
}

// maxShown bounds how much of a value a message repeats, in bytes.
const maxShown = 2048

// show writes a value as AWS's messages do, or nothing if it is sensitive. A
// shape without constraints is not.
func (c *constraint) show(value reflect.Value) string {
	if c != nil && c.sensitive {
		return ""
	}
	return "'" + shorten(text(value), maxShown) + "'"
}

func text(value reflect.Value) string {
	switch {
	case value.Kind() == reflect.Slice && value.Type() != reflect.TypeFor[[]byte]():
		items := make([]string, value.Len())
		for i := range items {
			items[i] = text(value.Index(i))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case value.Kind() == reflect.Map:
		var items []string
		for _, k := range value.MapKeys() {
			items = append(items, text(k)+"="+text(value.MapIndex(k)))
		}
		slices.Sort(items)
		return "{" + strings.Join(items, ", ") + "}"
	case value.CanFloat():
		return double(value.Float())
	}
	return fmt.Sprint(value)
}

// shorten cuts a text for a message, between characters.
func shorten(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + "…"
}
