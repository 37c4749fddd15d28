package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"time"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/traits"

	"hearth/internal/awserr"
)

// maxDepth bounds how deep a request's members nest; Lambda's deepest is 6.
const maxDepth = 32

// decode fills a new input of the operation from a request. Unknown JSON
// members are ignored, as AWS does; wrong types are a SerializationException.
func (op *operation) decode(labels []label, query url.Values, header http.Header, body []byte) (any, error) {
	in := op.newInput()
	v := reflect.ValueOf(in).Elem()
	for i := range op.bindings {
		b := &op.bindings[i]
		var values []string
		switch b.place {
		case inLabel:
			for _, l := range labels {
				if l.name == b.name {
					values = []string{l.value}
				}
			}
		case inQuery:
			values = query[b.name]
		case inHeader:
			values = header.Values(b.name)
		}
		if len(values) == 0 {
			continue
		}
		if err := setText(v.FieldByIndex(b.field), b, values); err != nil {
			return nil, serialization("%s: %v", b.name, err)
		}
	}
	if op.payload != nil {
		return in, setPayload(op.payload.member, v.FieldByIndex(op.payload.field), body)
	}
	if !op.hasBody || len(body) == 0 {
		return in, nil
	}
	return in, readBodyInto(body, func(r *jsonReader) error { return readStruct(r, op.schema.Input, v, 0) })
}

func readBodyInto(body []byte, read func(*jsonReader) error) error {
	r, err := newJSONReader(body)
	if err != nil {
		return serialization("%v", err)
	}
	return read(r)
}

func serialization(format string, args ...any) error {
	return awserr.New("SerializationException", format, args...)
}

// setPayload hands the whole body to a member: raw bytes, a stream, or a
// structure in JSON.
func setPayload(member *smithy.Schema, v reflect.Value, body []byte) error {
	switch {
	case v.Type() == reflect.TypeFor[[]byte]():
		v.SetBytes(body)
	case v.Type() == reflect.TypeFor[io.Reader]():
		v.Set(reflect.ValueOf(bytes.NewReader(body)))
	case len(body) > 0:
		return readBodyInto(body, func(r *jsonReader) error { return readValue(r, member, v, 0) })
	}
	return nil
}

// setText sets a member from its text form in a path, query or header.
func setText(v reflect.Value, b *binding, values []string) error {
	if v.Kind() == reflect.Slice {
		list := reflect.MakeSlice(v.Type(), len(values), len(values))
		for i, s := range values {
			list.Index(i).SetString(s)
		}
		v.Set(list)
		return nil
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	s := values[0]
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Bool:
		if s != "true" && s != "false" {
			return fmt.Errorf("%q is not true or false", clip(s))
		}
		v.SetBool(s == "true")
	case reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(s, 10, v.Type().Bits())
		if err != nil {
			return fmt.Errorf("%q is not an integer of %d bits", clip(s), v.Type().Bits())
		}
		v.SetInt(n)
	default:
		if v.Type() != reflect.TypeFor[time.Time]() {
			panic("api: a bound member of unknown type: " + b.name)
		}
		t, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			return fmt.Errorf("%q is not a time of RFC 3339", clip(s))
		}
		v.Set(reflect.ValueOf(t))
	}
	return nil
}

// clip shortens a caller's text for a message.
func clip(s string) string { return shorten(s, 64) }

func readStruct(r *jsonReader, s *smithy.Schema, v reflect.Value, depth int) error {
	if depth > maxDepth {
		return serialization("structures nest deeper than %d", maxDepth)
	}
	if r.peek() != '{' {
		return unexpected(r, "Structure")
	}
	return r.object(func(key string) error {
		member := s.Member(key)
		if member == nil || isBound(member) {
			r.raw()
			return nil
		}
		return readValue(r, member, v.FieldByName(key), depth+1)
	})
}

// isBound says that a member of an input travels outside the JSON body.
func isBound(member *smithy.Schema) bool {
	_, label := smithy.SchemaDirectTrait[*traits.HTTPLabel](member)
	_, query := smithy.SchemaDirectTrait[*traits.HTTPQuery](member)
	_, header := smithy.SchemaDirectTrait[*traits.HTTPHeader](member)
	return label || query || header
}

// readValue reads the next JSON value into v, whose shape is s. A null leaves
// v as it is: absent.
func readValue(r *jsonReader, s *smithy.Schema, v reflect.Value, depth int) error {
	if r.peek() == 'n' {
		r.raw()
		return nil
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch s.Type() {
	case smithy.ShapeTypeStructure:
		return readStruct(r, s, v, depth)
	case smithy.ShapeTypeList:
		return readList(r, s, v, depth)
	case smithy.ShapeTypeMap:
		return readMap(r, s, v, depth)
	case smithy.ShapeTypeString, smithy.ShapeTypeEnum:
		if r.peek() != '"' {
			return unexpected(r, "String")
		}
		v.SetString(string(r.text()))
		return nil
	case smithy.ShapeTypeBlob:
		return readBlob(r, v)
	case smithy.ShapeTypeBoolean:
		c := r.peek()
		if c != 't' && c != 'f' {
			return unexpected(r, "Boolean")
		}
		r.raw()
		v.SetBool(c == 't')
		return nil
	case smithy.ShapeTypeTimestamp:
		return readTime(r, v)
	default:
		return readNumber(r, v)
	}
}

func readList(r *jsonReader, s *smithy.Schema, v reflect.Value, depth int) error {
	if r.peek() != '[' {
		return unexpected(r, "List")
	}
	list := reflect.MakeSlice(v.Type(), 0, 0)
	err := r.array(func() error {
		item := reflect.New(v.Type().Elem()).Elem()
		if err := readValue(r, s.ListMember(), item, depth+1); err != nil {
			return err
		}
		list = reflect.Append(list, item)
		return nil
	})
	v.Set(list)
	return err
}

func readMap(r *jsonReader, s *smithy.Schema, v reflect.Value, depth int) error {
	if r.peek() != '{' {
		return unexpected(r, "Map")
	}
	m := reflect.MakeMap(v.Type())
	err := r.object(func(key string) error {
		null := r.peek() == 'n'
		item := reflect.New(v.Type().Elem()).Elem()
		if err := readValue(r, s.MapValue(), item, depth+1); err != nil || null {
			return err
		}
		m.SetMapIndex(reflect.ValueOf(key).Convert(v.Type().Key()), item)
		return nil
	})
	v.Set(m)
	return err
}

func readBlob(r *jsonReader, v reflect.Value) error {
	if r.peek() != '"' {
		return unexpected(r, "Blob")
	}
	text := r.text()
	blob := make([]byte, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(blob, text)
	if err != nil {
		return serialization("a blob is not base64: %v", err)
	}
	v.SetBytes(blob[:n])
	return nil
}

func readNumber(r *jsonReader, v reflect.Value) error {
	c := r.peek()
	if c != '-' && (c < '0' || c > '9') {
		return unexpected(r, map[bool]string{true: "Double", false: "Integer"}[v.CanFloat()])
	}
	text := string(r.raw())
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return serialization("%s is out of range", clip(text))
	}
	switch v.Kind() {
	case reflect.Float64, reflect.Float32:
		v.SetFloat(f)
	case reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, v.Type().Bits())
		if err != nil {
			// 3.0 and 3e0 are integers too, however they are written.
			if f != math.Trunc(f) || math.Abs(f) > 1<<53 || v.OverflowInt(int64(f)) {
				return serialization("%s cannot be converted to Integer", clip(text))
			}
			n = int64(f)
		}
		v.SetInt(n)
	default:
		return serialization("a value of type %s is not served", v.Type())
	}
	return nil
}

// readTime reads epoch seconds, the form of the restJson1 protocol.
func readTime(r *jsonReader, v reflect.Value) error {
	c := r.peek()
	if c != '-' && (c < '0' || c > '9') {
		return unexpected(r, "Timestamp")
	}
	var f float64
	if err := json.Unmarshal(r.raw(), &f); err != nil || math.Abs(f) > 1<<40 {
		return serialization("a timestamp is out of range")
	}
	seconds, fraction := math.Modf(f)
	v.Set(reflect.ValueOf(time.Unix(int64(seconds), int64(math.Round(fraction*1e3))*1e6).UTC()))
	return nil
}

// unexpected words a type error as AWS does.
func unexpected(r *jsonReader, want string) error {
	switch r.peek() {
	case '{':
		return serialization("Start of structure or map found where not expected.")
	case '[':
		return serialization("Start of list found where not expected")
	case '"':
		return serialization("STRING_VALUE cannot be converted to %s", want)
	case 't':
		return serialization("TRUE_VALUE cannot be converted to %s", want)
	case 'f':
		return serialization("FALSE_VALUE cannot be converted to %s", want)
	}
	return serialization("NUMBER_VALUE cannot be converted to %s", want)
}
