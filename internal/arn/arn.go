// Package arn reads and writes the names that callers give Lambda functions:
// a plain name, a partial ARN or a full ARN, each with or without a
// qualifier. It is a leaf: no I/O, no AWS error shapes.
package arn

import (
	"errors"
	"strings"
)

// MaxName is the longest function name, in bytes. The API model allows 140
// (a full ARN fits); the name in it is bound by this.
const MaxName = 64

// ErrMalformed is returned for text that no form of a function name matches.
var ErrMalformed = errors.New("arn: not a function name or ARN")

// Function names a function. Every field but Name may be empty when the
// caller did not give it.
type Function struct {
	Partition string
	Region    string
	Account   string
	Name      string
	Qualifier string
}

// Parse reads a function name as AWS's API model defines it:
//
//	[arn:PARTITION:lambda:][REGION:][ACCOUNT:][function:]NAME[:QUALIFIER]
//
// It does not check the length of the name.
func Parse(s string) (Function, error) {
	if !strings.Contains(s, ":") { // the warm path
		if !isName(s) {
			return Function{}, ErrMalformed
		}
		return Function{Name: s}, nil
	}
	if f, ok := parse(s, 0); ok {
		return f, nil
	}
	return Function{}, ErrMalformed
}

// parse reads the optional parts from the given one on. A part that could be
// there, but leaves no name behind it, is the name itself: "function:$LATEST"
// is the unpublished version of a function called function.
func parse(s string, part int) (Function, bool) {
	if part == len(parts) {
		name, qualifier, qualified := strings.Cut(s, ":")
		return Function{Name: name, Qualifier: qualifier}, isName(name) && (!qualified || isQualifier(qualifier))
	}
	if text, rest, ok := parts[part].cut(s); ok {
		if f, ok := parse(rest, part+1); ok {
			*parts[part].field(&f) = text
			return f, true
		}
	}
	return parse(s, part+1)
}

// parts are the optional parts before the name, in order.
var parts = []struct {
	cut   func(string) (text, rest string, ok bool)
	field func(*Function) *string
}{
	{cutPartition, func(f *Function) *string { return &f.Partition }},
	{cutIf(isRegion), func(f *Function) *string { return &f.Region }},
	{cutIf(isAccount), func(f *Function) *string { return &f.Account }},
	{cutIf(func(s string) bool { return s == "function" }), func(*Function) *string { return new(string) }},
}

func cutPartition(s string) (text, rest string, ok bool) {
	rest, ok = strings.CutPrefix(s, "arn:")
	if !ok {
		return "", "", false
	}
	text, rest, _ = strings.Cut(rest, ":")
	rest, ok = strings.CutPrefix(rest, "lambda:")
	return text, rest, ok && isPartition(text)
}

func cutIf(is func(string) bool) func(string) (text, rest string, ok bool) {
	return func(s string) (text, rest string, ok bool) {
		text, rest, ok = strings.Cut(s, ":")
		return text, rest, ok && is(text)
	}
}

// String is the full ARN, in partition aws unless another is given.
func (f Function) String() string {
	partition := f.Partition
	if partition == "" {
		partition = "aws"
	}
	s := "arn:" + partition + ":lambda:" + f.Region + ":" + f.Account + ":function:" + f.Name
	if f.Qualifier != "" {
		s += ":" + f.Qualifier
	}
	return s
}

func isPartition(s string) bool {
	rest, ok := strings.CutPrefix(s, "aws")
	return ok && all(rest, func(c byte) bool { return isLetter(c) || c == '-' })
}

// isRegion matches us-east-1, us-gov-west-1, us-isob-east-1: lower-case words
// and one digit.
func isRegion(s string) bool {
	words := strings.Split(s, "-")
	if len(words) < 3 || len(words) > 4 || len(words[0]) != 2 {
		return false
	}
	last := words[len(words)-1]
	if len(last) != 1 || !isDigit(last[0]) {
		return false
	}
	for _, w := range words[:len(words)-1] {
		if w == "" || !all(w, func(c byte) bool { return 'a' <= c && c <= 'z' }) {
			return false
		}
	}
	if len(words) == 4 {
		w := words[1]
		return w == "gov" || strings.HasPrefix(w, "iso") && len(w) <= 4
	}
	return true
}

func isAccount(s string) bool { return len(s) == 12 && all(s, isDigit) }

func isName(s string) bool {
	return s != "" && all(s, func(c byte) bool { return isWord(c) || c == '.' })
}

func isQualifier(s string) bool {
	return s == "$LATEST" || s == "$LATEST.PUBLISHED" || s != "" && all(s, isWord)
}

func isWord(c byte) bool { return isLetter(c) || isDigit(c) || c == '-' || c == '_' }

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func all(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}
