package policy

import (
	"bytes"
	"encoding/base64"
	"net/netip"
	"strings"
	"time"
)

// operator is what a condition does with two values, without its negation.
type operator uint8

const (
	opNull operator = iota
	opString
	opStringFold
	opLike
	opNumberEqual // the order of these is that of compares
	opNumberLess
	opNumberLessEqual
	opNumberGreater
	opNumberGreaterEqual
	opDateEqual
	opDateLess
	opDateLessEqual
	opDateGreater
	opDateGreaterEqual
	opBool
	opBinary
	opIP
	opARN
)

// operators are those of
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_condition_operators.html
var operators = map[string]struct {
	op      operator
	negated bool
}{
	"Null":                      {opNull, false},
	"StringEquals":              {opString, false},
	"StringNotEquals":           {opString, true},
	"StringEqualsIgnoreCase":    {opStringFold, false},
	"StringNotEqualsIgnoreCase": {opStringFold, true},
	"StringLike":                {opLike, false},
	"StringNotLike":             {opLike, true},
	"NumericEquals":             {opNumberEqual, false},
	"NumericNotEquals":          {opNumberEqual, true},
	"NumericLessThan":           {opNumberLess, false},
	"NumericLessThanEquals":     {opNumberLessEqual, false},
	"NumericGreaterThan":        {opNumberGreater, false},
	"NumericGreaterThanEquals":  {opNumberGreaterEqual, false},
	"DateEquals":                {opDateEqual, false},
	"DateNotEquals":             {opDateEqual, true},
	"DateLessThan":              {opDateLess, false},
	"DateLessThanEquals":        {opDateLessEqual, false},
	"DateGreaterThan":           {opDateGreater, false},
	"DateGreaterThanEquals":     {opDateGreaterEqual, false},
	"Bool":                      {opBool, false},
	"BinaryEquals":              {opBinary, false},
	"IpAddress":                 {opIP, false},
	"NotIpAddress":              {opIP, true},
	"ArnEquals":                 {opARN, false},
	"ArnLike":                   {opARN, false},
	"ArnNotEquals":              {opARN, true},
	"ArnNotLike":                {opARN, true},
}

// quantifier says how an operator treats a key of several values.
type quantifier uint8

const (
	plain quantifier = iota
	forAllValues
	forAnyValue
)

// A test is a compiled condition.
type test struct {
	op         operator
	negated    bool
	ifExists   bool
	quantifier quantifier
	key        key
	operands   []operand
}

// An operand is a value in a policy, as what its operator compares.
type operand struct {
	pattern pattern // of strings and ARNs
	exact   bool    // the pattern is just text
	text    string
	number  number
	time    time.Time
	prefix  netip.Prefix
	raw     []byte
}

// holds reports whether the condition holds. In a statement that allows, what
// the documentation leaves open counts against it: a variable that stands for
// nothing, and several values under an operator for one.
func (t *test) holds(r *Request, effect Effect) bool {
	value := r.lookup(&t.key)
	count := value.len()
	if t.op == opNull {
		return t.isNull(count == 0)
	}
	if t.quantifier != plain && count == 1 && value.at(0) == "" {
		count = 0 // AWS calls an empty string an empty set here
	}
	if count == 0 {
		switch {
		case t.ifExists || t.quantifier == forAllValues:
			return true
		case t.quantifier == forAnyValue:
			return false
		}
		return t.negated && (effect == Deny || t.resolved(r))
	}
	all := t.quantifier == forAllValues || t.quantifier == plain && effect == Allow
	for i := range count {
		matches, resolved := t.any(r, &value, i)
		ok := matches != t.negated
		if !resolved && t.negated && effect == Allow {
			return false
		}
		if ok != all {
			return ok
		}
	}
	return all
}

func (t *test) isNull(absent bool) bool {
	for i := range t.operands {
		if (t.operands[i].text == "true") == absent {
			return true
		}
	}
	return false
}

// any reports whether a value of the request matches any of the policy's.
func (t *test) any(r *Request, value *found, i int) (matches, resolved bool) {
	resolved = true
	for j := range t.operands {
		matches, ok := t.operands[j].matches(t.op, r, value, i)
		if matches {
			return true, true
		}
		resolved = resolved && ok
	}
	return false, resolved
}

// resolved reports whether all variables stand for something.
func (t *test) resolved(r *Request) bool {
	for i := range t.operands {
		for _, token := range t.operands[i].pattern.tokens {
			if token.kind != substitute {
				continue
			}
			if _, ok := token.variable.value(r); !ok {
				return false
			}
		}
	}
	return true
}

// matches compares one value with one operand.
func (o *operand) matches(op operator, r *Request, value *found, i int) (matches, resolved bool) {
	switch op {
	case opString:
		if o.exact {
			return value.at(i) == o.text, true
		}
		return o.pattern.match(r, value.at(i))
	case opStringFold:
		text, ok := o.resolve(r)
		return ok && strings.EqualFold(text, value.at(i)), ok
	case opLike, opARN:
		return o.pattern.match(r, value.at(i))
	case opBool:
		text, ok := o.resolve(r)
		return ok && strings.EqualFold(text, value.at(i)), ok
	case opBinary:
		return bytes.Equal([]byte(value.at(i)), o.raw), true
	case opIP:
		addr, ok := value.addr, value.addr.IsValid()
		if !ok {
			addr, ok = parseAddr(value.at(i))
		}
		return ok && o.prefix.Contains(addr), true
	case opDateEqual, opDateLess, opDateLessEqual, opDateGreater, opDateGreaterEqual:
		when, ok := value.time, !value.time.IsZero()
		if !ok {
			when, ok = parseTime(value.at(i))
		}
		return ok && compares(op-opDateEqual+opNumberEqual, when.Compare(o.time)), true
	default:
		n, ok := parseNumber(value.at(i))
		return ok && compares(op, n.compare(o.number)), true
	}
}

// compares applies a relation, which is an operator of numbers.
func compares(relation operator, order int) bool {
	switch relation {
	case opNumberEqual:
		return order == 0
	case opNumberLess:
		return order < 0
	case opNumberLessEqual:
		return order <= 0
	case opNumberGreater:
		return order > 0
	default:
		return order >= 0
	}
}

// resolve is the operand's text with its variables replaced.
func (o *operand) resolve(r *Request) (string, bool) {
	if o.exact {
		return o.text, true
	}
	var b strings.Builder
	for _, t := range o.pattern.tokens {
		text := t.text
		if t.kind == substitute {
			var ok bool
			if text, ok = t.variable.value(r); !ok {
				return "", false
			}
		}
		b.WriteString(text)
	}
	return b.String(), true
}

// compileCondition takes an operator's name and its values apart. The string
// is a detail for a reader, empty if there is nothing wrong.
func compileCondition(c *Condition, variables bool) (test, string) {
	t := test{key: keyNamed(c.Key)}
	name := c.Operator
	if rest, ok := strings.CutPrefix(name, "ForAllValues:"); ok {
		t.quantifier, name = forAllValues, rest
	} else if rest, ok := strings.CutPrefix(name, "ForAnyValue:"); ok {
		t.quantifier, name = forAnyValue, rest
	}
	name, t.ifExists = strings.CutSuffix(name, "IfExists")
	known, ok := operators[name]
	if !ok || known.op == opNull && (t.ifExists || t.quantifier != plain) {
		return t, "no condition operator is called this"
	}
	t.op, t.negated = known.op, known.negated
	for _, value := range c.Values {
		o, wrong := compileOperand(t.op, value, variables)
		if wrong != "" {
			return t, wrong
		}
		t.operands = append(t.operands, o)
	}
	return t, ""
}

func compileOperand(op operator, value string, variables bool) (o operand, wrong string) {
	var ok bool
	switch op {
	case opString, opStringFold:
		return compileText(value, style{variables: variables})
	case opLike:
		return compileText(value, style{variables: variables, wildcards: true})
	case opARN:
		return compileText(value, style{variables: variables, wildcards: true, colons: uncrossed})
	case opBool:
		if o, wrong = compileText(strings.ToLower(value), style{variables: variables}); wrong != "" {
			return o, wrong
		}
		return o, orWrong(!o.exact || o.text == "true" || o.text == "false", `want "true" or "false"`)
	case opNull:
		o.text = strings.ToLower(value)
		return o, orWrong(o.text == "true" || o.text == "false", `want "true" or "false"`)
	case opBinary:
		raw, err := base64.StdEncoding.DecodeString(value)
		o.raw = raw
		return o, orWrong(err == nil, "want base64")
	case opIP:
		o.prefix, ok = parsePrefix(value)
		return o, orWrong(ok, "want an IP address or a range such as 203.0.113.0/24")
	case opDateEqual, opDateLess, opDateLessEqual, opDateGreater, opDateGreaterEqual:
		o.time, ok = parseTime(value)
		return o, orWrong(ok, "want a time such as 2026-01-31T12:00:00Z, or seconds since 1970")
	default:
		o.number, ok = parseNumber(value)
		return o, orWrong(ok, "want a number")
	}
}

func compileText(value string, s style) (o operand, wrong string) {
	p, err := compilePattern(value, s)
	if err != nil {
		return o, err.Error()
	}
	o.pattern = p
	o.text, o.exact = p.exact()
	return o, ""
}

func orWrong(ok bool, wrong string) string {
	if ok {
		return ""
	}
	return wrong
}
