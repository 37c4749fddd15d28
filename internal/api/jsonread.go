package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// jsonReader walks a JSON document without copying it: a CreateFunction body
// is up to 70 MB, nearly all of it one string. The document must have been
// checked with newJSONReader, which is what makes the short steps safe.
type jsonReader struct {
	b []byte
	i int
}

func newJSONReader(b []byte) (*jsonReader, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("the body is not UTF-8")
	}
	if !json.Valid(b) {
		return nil, fmt.Errorf("the body is not JSON: %w", syntaxError(b))
	}
	return &jsonReader{b: b}, nil
}

// syntaxError says where a document stops being JSON.
func syntaxError(b []byte) error {
	var v json.RawMessage
	return json.Unmarshal(b, &v)
}

// peek returns the first byte of the next value.
func (r *jsonReader) peek() byte {
	for {
		switch c := r.b[r.i]; c {
		case ' ', '\t', '\r', '\n', ',', ':':
			r.i++
		default:
			return c
		}
	}
}

// raw consumes the next value and returns its bytes.
func (r *jsonReader) raw() []byte {
	c := r.peek()
	start := r.i
	switch c {
	case '"':
		r.skipString()
	case '{', '[':
		depth := 0
		for {
			switch r.b[r.i] {
			case '"':
				r.skipString()
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
			}
			r.i++
			if depth == 0 {
				break
			}
		}
	default:
		for r.i < len(r.b) && strings.IndexByte(" \t\r\n,:]}", r.b[r.i]) < 0 {
			r.i++
		}
	}
	return r.b[start:r.i]
}

func (r *jsonReader) skipString() {
	r.i++
	for {
		end := bytes.IndexByte(r.b[r.i:], '"')
		escape := bytes.IndexByte(r.b[r.i:r.i+end], '\\')
		if escape < 0 {
			r.i += end + 1
			return
		}
		r.i += escape + 2
	}
}

// text consumes a string and returns its contents; the bytes are the
// document's own when nothing in it is escaped.
func (r *jsonReader) text() []byte {
	quoted := r.raw()
	if inner := quoted[1 : len(quoted)-1]; bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	var s string
	if err := json.Unmarshal(quoted, &s); err != nil {
		panic("api: a checked JSON string does not parse: " + err.Error())
	}
	return []byte(s)
}

// object consumes an object; each is called before each value and must
// consume it.
func (r *jsonReader) object(each func(key string) error) error {
	r.peek()
	r.i++
	for r.peek() != '}' {
		if err := each(string(r.text())); err != nil {
			return err
		}
	}
	r.i++
	return nil
}

// array consumes an array; each must consume one value.
func (r *jsonReader) array(each func() error) error {
	r.peek()
	r.i++
	for r.peek() != ']' {
		if err := each(); err != nil {
			return err
		}
	}
	r.i++
	return nil
}
