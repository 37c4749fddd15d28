package functionurl

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func (a *Answer) String() string {
	if a == nil {
		return "none"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d", a.Status)
	for _, name := range slices.Sorted(maps.Keys(a.Header)) {
		fmt.Fprintf(&b, " %s=%q", name, a.Header[name])
	}
	return b.String() + fmt.Sprintf(" %q", a.Body)
}

const jsonHead = "application/json"

// TestDecode holds what AWS's documentation says of answers, and what was
// recorded from AWS where it says something else (by localstack:
// TestLambdaURL).
func TestDecode(t *testing.T) {
	for _, tt := range []struct {
		name, payload string
		want          Answer
	}{
		// Inferred.
		{"recorded dict", `{"hello": "world"}`, Answer{200, header("Content-Type", jsonHead), []byte(`{"hello":"world"}`)}},
		{"recorded list", `["hello", 3, true]`, Answer{200, header("Content-Type", jsonHead), []byte(`["hello",3,true]`)}},
		{"recorded string", `"hello"`, Answer{200, header("Content-Type", jsonHead), []byte(`hello`)}},
		{"recorded integer", `3`, Answer{200, header("Content-Type", jsonHead), []byte(`3`)}},
		{"recorded float", `3.1`, Answer{200, header("Content-Type", jsonHead), []byte(`3.1`)}},
		{"recorded boolean", ` true `, Answer{200, header("Content-Type", jsonHead), []byte(`true`)}},
		{"null", `null`, Answer{200, header("Content-Type", jsonHead), []byte(`null`)}},
		{"no statusCode", `{"headers": {"a": "b"}, "body": "x"}`, Answer{200, header("Content-Type", jsonHead), []byte(`{"headers":{"a":"b"},"body":"x"}`)}},
		{"another case", `{"StatusCode": 404}`, Answer{200, header("Content-Type", jsonHead), []byte(`{"StatusCode":404}`)}},
		{"numbers stay as they are", `{"a": 12345678901234567890.10, "b": 1}`, Answer{200, header("Content-Type", jsonHead), []byte(`{"a":12345678901234567890.10,"b":1}`)}},
		// Structured.
		{"documented", `{"statusCode": 201, "headers": {"Content-Type": "application/json", "My-Custom-Header": "Custom Value"},
			"body": "{ \"message\": \"Hello, world!\" }", "cookies": ["Cookie_1=Value1; Expires=21 Oct 2021 07:48 GMT", "Cookie_2=Value2; Max-Age=78000"], "isBase64Encoded": false}`,
			Answer{201, header("Content-Type", jsonHead, "My-Custom-Header", "Custom Value",
				"Set-Cookie", "Cookie_1=Value1; Expires=21 Oct 2021 07:48 GMT", "Set-Cookie", "Cookie_2=Value2; Max-Age=78000"), []byte(`{ "message": "Hello, world!" }`)}},
		{"recorded status as text", `{"statusCode": "418", "body": "i'm a teapot", "isBase64Encoded": false}`, Answer{418, header("Content-Type", jsonHead), []byte("i'm a teapot")}},
		{"recorded body only", `{"statusCode": 200, "body": "body123"}`, Answer{200, header("Content-Type", jsonHead), []byte("body123")}},
		{"status only", `{"statusCode": 204}`, Answer{204, header("Content-Type", jsonHead), nil}},
		{"status as a float", `{"statusCode": 2e2}`, Answer{200, header("Content-Type", jsonHead), nil}},
		{"nulls", `{"statusCode": null, "headers": null, "cookies": null, "body": null, "isBase64Encoded": null}`, Answer{200, header("Content-Type", jsonHead), nil}},
		{"object as body", `{"statusCode": 200, "body": {"a": [1, 2]}}`, Answer{200, header("Content-Type", jsonHead), []byte(`{"a":[1,2]}`)}},
		{"base64", `{"statusCode": 200, "headers": {"content-type": "image/png"}, "body": "AP8=", "isBase64Encoded": true}`, Answer{200, header("Content-Type", "image/png"), []byte{0, 255}}},
		{"base64 of nothing", `{"statusCode": 200, "isBase64Encoded": true}`, Answer{200, header("Content-Type", jsonHead), nil}},
		{"headers that are no text", `{"statusCode": 200, "headers": {"a": 1, "b": true, "c": null, "d": 1.50}}`, Answer{200, header("A", "1", "B", "true", "Content-Type", jsonHead, "D", "1.50"), nil}},
		{"two spellings", `{"statusCode": 200, "headers": {"content-type": "b", "Content-Type": "a"}}`, Answer{200, header("Content-Type", "b"), nil}},
		{"framing", `{"statusCode": 200, "headers": {"content-LENGTH": 1, "Connection": "close", "transfer-encoding": "chunked", "Upgrade": "x", "X-Amzn-RequestId": "x",
			"x-amzn-trace-id": "x", "Keep-Alive": "1", "te": "x", "trailer": "x"}, "body": "body"}`, Answer{200, header("Content-Type", jsonHead), []byte("body")}},
		{"set-cookie as a header", `{"statusCode": 200, "headers": {"Set-Cookie": "a"}, "cookies": ["b"]}`, Answer{200, header("Content-Type", jsonHead, "Set-Cookie", "a", "Set-Cookie", "b"), nil}},
		{"multi-value headers are of format 1.0", `{"statusCode": 200, "multiValueHeaders": {"a": ["b"]}}`, Answer{200, header("Content-Type", jsonHead), nil}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Decode([]byte(tt.payload))
			if err != nil || got.String() != tt.want.String() {
				t.Errorf("got  %v, %v\nwant %v", got, err, &tt.want)
			}
		})
	}
}

func TestDecodeMalformed(t *testing.T) {
	for _, payload := range []string{
		"", " ", "hello", "{", "\"\xff\"", `{"statusCode": 200} {}`,
		`{"statusCode": 0}`, `{"statusCode": 100}`, `{"statusCode": 199}`, `{"statusCode": 600}`, `{"statusCode": 200.5}`, `{"statusCode": -200}`,
		`{"statusCode": "OK"}`, `{"statusCode": ""}`, `{"statusCode": "NaN"}`, `{"statusCode": [200]}`, `{"statusCode": true}`, `{"statusCode": 1e999}`,
		`{"statusCode": 200, "headers": "x"}`, `{"statusCode": 200, "headers": [1]}`, `{"statusCode": 200, "headers": {"a": ["b"]}}`, `{"statusCode": 200, "headers": {"a": {}}}`,
		`{"statusCode": 200, "headers": {"a b": "c"}}`, `{"statusCode": 200, "headers": {"": "c"}}`, `{"statusCode": 200, "headers": {"a\r\nb": "c"}}`,
		`{"statusCode": 200, "headers": {"a": "b\r\nSet-Cookie: c"}}`, `{"statusCode": 200, "headers": {"a": "\u0000"}}`, `{"statusCode": 200, "headers": {"ü": "c"}}`,
		`{"statusCode": 200, "cookies": "a"}`, `{"statusCode": 200, "cookies": [1]}`, `{"statusCode": 200, "cookies": ["a\nb"]}`,
		`{"statusCode": 200, "isBase64Encoded": "true", "body": "AA=="}`, `{"statusCode": 200, "isBase64Encoded": true, "body": "!"}`, `{"statusCode": 200, "isBase64Encoded": true, "body": "AA"}`,
	} {
		if a, err := Decode([]byte(payload)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: got %v, %v, want ErrMalformed", payload, a, err)
		}
	}
}

func TestPrelude(t *testing.T) {
	end := strings.Repeat("\x00", 8)
	for _, tt := range []struct {
		name, stream string
		head, body   string
	}{
		{"documented", `{"statusCode":201,"headers":{"Content-Type":"text/html","X":"y"},"cookies":["a=b"]}` + end + "<p>", `201 Content-Type=["text/html"] Set-Cookie=["a=b"] X=["y"] ""`, "<p>"},
		{"nothing said", "{}" + end, `200 Content-Type=["application/octet-stream"] ""`, ""},
		{"zeros in the body", "{}" + end + "\x00\x00a" + end, `200 Content-Type=["application/octet-stream"] ""`, "\x00\x00a" + end},
		{"seven zeros", "{}" + end[1:] + "x", "none", ""},
		{"no end", `{"statusCode":200}`, "none", ""},
		{"empty", "", "none", ""},
		{"not JSON", "hello" + end, "malformed", ""},
		{"no object", "[]" + end, "malformed", ""},
		{"nothing", end, "malformed", ""},
		{"bad status", `{"statusCode":99}` + end, "malformed", ""},
		{"bad header", `{"headers":{"a":"\r\n"}}` + end, "malformed", ""},
		{"endless", strings.Repeat(" ", maxPrelude+1), "malformed", ""},
		{"too long", "{}" + strings.Repeat(" ", maxPrelude) + end, "malformed", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, piece := range []int{1, 3, len(tt.stream) + 1} {
				head, body := take([]byte(tt.stream), piece)
				if head != tt.head || body != tt.body {
					t.Errorf("in pieces of %d:\ngot  %s, %q\nwant %s, %q", piece, head, body, tt.head, tt.body)
				}
			}
		})
	}
}

// take reads a stream in pieces: what it begins with, and its body.
func take(stream []byte, piece int) (head, body string) {
	var p Prelude
	var rest strings.Builder
	for b := range slices.Chunk(stream, piece) {
		if head != "" {
			rest.Write(b)
			continue
		}
		a, err := p.Take(b)
		if err != nil {
			return "malformed", ""
		}
		if a != nil {
			rest.Write(a.Body)
			a.Body = nil
			head = a.String()
		}
	}
	if head == "" {
		return "none", ""
	}
	return head, rest.String()
}

func TestPlain(t *testing.T) {
	for given, want := range map[string]string{"": "application/octet-stream", "text/html": "text/html", "a\r\nb": "application/octet-stream"} {
		if got := Plain(given); got.Status != 200 || !reflect.DeepEqual(got.Header, header("Content-Type", want)) {
			t.Errorf("%q: got %v, want %s", given, got, want)
		}
	}
}

// check is what holds for every answer, whatever a function says.
func check(t *testing.T, a *Answer) {
	t.Helper()
	if a.Status < 200 || a.Status > 599 {
		t.Errorf("status %d", a.Status)
	}
	for name, values := range a.Header {
		if name != http.CanonicalHeaderKey(name) || !isToken(name) || slices.Contains(framing, name) {
			t.Errorf("header %q", name)
		}
		for _, v := range values {
			if strings.ContainsAny(v, "\r\n\x00") {
				t.Errorf("header %q: %q", name, v)
			}
		}
	}
	if a.Header.Get("Content-Type") == "" {
		t.Errorf("content type %q", a.Header["Content-Type"])
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"statusCode": 201, "headers": {"Content-Type": "a", "b": 1}, "body": "x", "cookies": ["a"], "isBase64Encoded": false}`))
	f.Add([]byte(`{"statusCode": "200", "body": "AP8=", "isBase64Encoded": true}`))
	f.Add([]byte(`"hello"`))
	f.Add([]byte(` [1, 2]`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		a, err := Decode(payload)
		if err == nil {
			check(t, a)
		} else if !errors.Is(err, ErrMalformed) {
			t.Error(err)
		}
	})
}

func FuzzPrelude(f *testing.F) {
	f.Add([]byte("{\"statusCode\":200,\"headers\":{\"a\":\"b\"}}\x00\x00\x00\x00\x00\x00\x00\x00body"), uint8(3))
	f.Add([]byte("{}\x00\x00\x00\x00\x00\x00\x00\x00"), uint8(1))
	f.Fuzz(func(t *testing.T, stream []byte, size uint8) {
		whole, wholeBody := take(stream, len(stream)+1)
		pieces, body := take(stream, int(size)+1)
		if whole != pieces || wholeBody != body {
			t.Errorf("in one piece %s %q, in pieces %s %q", whole, wholeBody, pieces, body)
		}
		var p Prelude
		if a, err := p.Take(stream); err == nil && a != nil {
			check(t, a)
		}
	})
}
