package functionurl

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ErrMalformed is a function's answer that is no HTTP answer.
var ErrMalformed = errors.New("function url: malformed answer")

// Answer is an HTTP answer.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// The content types of answers that give none.
const (
	jsonType   = "application/json"
	streamType = "application/octet-stream"
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// Decode turns a function's payload into an HTTP answer. An object with a
// statusCode says what the answer is; everything else is the body of one, as
// AWS infers it: a string's content, all other JSON as it is, without spaces.
func Decode(payload []byte) (*Answer, error) {
	if !utf8.Valid(payload) || !json.Valid(payload) {
		return nil, malformed("it is not JSON")
	}
	switch bytes.TrimLeft(payload, " \t\r\n")[0] {
	case '{':
		var members map[string]json.RawMessage
		if err := json.Unmarshal(payload, &members); err != nil {
			return nil, malformed("%v", err)
		}
		if _, ok := members["statusCode"]; ok {
			return decodeStructured(members)
		}
	case '"':
		return inferred(textOf(payload)), nil
	}
	return inferred(compact(payload)), nil
}

func inferred(body []byte) *Answer {
	return &Answer{Status: http.StatusOK, Header: http.Header{"Content-Type": {jsonType}}, Body: body}
}

// textOf is the content of a string in valid JSON.
func textOf(raw []byte) []byte {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		panic(err) // the caller knows that it is a string
	}
	return []byte(s)
}

func compact(raw []byte) []byte {
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		panic(err) // the caller knows that it is valid
	}
	return b.Bytes()
}

// decodeStructured reads an object with a statusCode.
func decodeStructured(members map[string]json.RawMessage) (*Answer, error) {
	a, err := decodeHead(members, jsonType)
	if err != nil {
		return nil, err
	}
	body := members["body"]
	switch {
	case isNull(body):
	case body[0] == '"':
		a.Body = textOf(body)
	default:
		a.Body = compact(body)
	}
	var encoded bool
	if raw := members["isBase64Encoded"]; !isNull(raw) && json.Unmarshal(raw, &encoded) != nil {
		return nil, malformed("isBase64Encoded is neither true nor false")
	}
	if encoded {
		if a.Body, err = base64.StdEncoding.AppendDecode(nil, a.Body); err != nil {
			return nil, malformed("the body is not Base64: %v", err)
		}
	}
	return a, nil
}

// isNull says that a member is absent or null.
func isNull(raw json.RawMessage) bool { return len(raw) == 0 || raw[0] == 'n' }

// decodeHead reads what comes before a body: statusCode, headers and cookies.
func decodeHead(members map[string]json.RawMessage, contentType string) (*Answer, error) {
	a := &Answer{Status: http.StatusOK, Header: http.Header{}}
	if raw := members["statusCode"]; !isNull(raw) {
		var err error
		if a.Status, err = decodeStatus(raw); err != nil {
			return nil, err
		}
	}
	if err := decodeHeaders(a.Header, members["headers"]); err != nil {
		return nil, err
	}
	if a.Header.Get("Content-Type") == "" {
		a.Header.Set("Content-Type", contentType)
	}
	var cookies []string
	if raw := members["cookies"]; !isNull(raw) && json.Unmarshal(raw, &cookies) != nil {
		return nil, malformed("cookies is no list of strings")
	}
	for _, c := range cookies {
		if !isFieldValue(c) {
			return nil, malformed("a cookie has characters that no header may have")
		}
		a.Header.Add("Set-Cookie", c)
	}
	return a, nil
}

// decodeStatus reads a status code: a whole number, or its text, as AWS does.
func decodeStatus(raw json.RawMessage) (int, error) {
	text := string(raw)
	if text[0] == '"' {
		text = string(textOf(raw))
	}
	f, err := strconv.ParseFloat(text, 64)
	// Below 200 an answer is not the last one, from 600 on it is none. NaN is
	// not its own truncation.
	if err != nil || f != math.Trunc(f) || f < 200 || f > 599 {
		return 0, malformed("statusCode %.20q is not from 200 to 599", text)
	}
	return int(f), nil
}

// framing are the headers that only the server sets.
var framing = append(slices.Clone(hop), "Content-Length", "X-Amzn-Requestid", "X-Amzn-Trace-Id")

func decodeHeaders(h http.Header, raw json.RawMessage) error {
	if isNull(raw) {
		return nil
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return malformed("headers is no object")
	}
	// In order, so that of two spellings of a name always the same one counts.
	for _, name := range slices.Sorted(maps.Keys(members)) {
		raw := members[name]
		value := string(raw) // of numbers and booleans
		switch raw[0] {
		case 'n':
			continue
		case '"':
			value = string(textOf(raw))
		case '{', '[':
			return malformed("the header %.40q is neither text nor a number", name)
		}
		if !isToken(name) || !isFieldValue(value) {
			return malformed("the header %.40q has characters that no header may have", name)
		}
		if name = http.CanonicalHeaderKey(name); !slices.Contains(framing, name) {
			h[name] = []string{value}
		}
	}
	return nil
}

// isToken says whether a header may have this name (RFC 9110, 5.6.2).
func isToken(s string) bool {
	const others = "!#$%&'*+-.^_`|~"
	for i := range len(s) {
		c := s[i]
		alphanumeric := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alphanumeric && strings.IndexByte(others, c) < 0 {
			return false
		}
	}
	return s != ""
}

// isFieldValue says whether a header may have this value: no control
// characters, so no line ends either (RFC 9110, 5.5).
func isFieldValue(s string) bool {
	const del = 0x7f
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == del {
			return false
		}
	}
	return true
}
