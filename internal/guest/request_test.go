package guest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

// FuzzRequest compares what this server reads from a request with what
// net/http does. Whatever we take, net/http must take, with the same body.
func FuzzRequest(f *testing.F) {
	for _, s := range []string{
		"GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n",
		"POST /2018-06-01/runtime/invocation/id/response HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
		"POST /2018-06-01/runtime/invocation/id/error HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" +
			"Trailer: Lambda-Runtime-Function-Error-Type\r\n\r\n3;x=y\r\nabc\r\n0\r\nLambda-Runtime-Function-Error-Type: T\r\n\r\n",
		"POST /2018-06-01/runtime/init/error HTTP/1.0\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		const limit = 1 << 16
		var q request
		r := bufio.NewReaderSize(bytes.NewReader(data), connBuffer)
		if readRequest(r, &q) != nil {
			return
		}
		b := newBodyReader(r, &q)
		b.wantTrail = true
		body, err := b.readInto(nil, limit)
		if len(body) > limit {
			t.Fatalf("body of %d bytes, limit %d", len(body), limit)
		}
		if some := bySome(data); err == nil && !bytes.Equal(some, body) {
			t.Fatalf("body %q, piece by piece %q", body, some)
		}
		if err != nil {
			return
		}
		want, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(data)))
		if err != nil {
			return // it checks names, hosts and URLs, which we pass over
		}
		wantBody, err := io.ReadAll(want.Body)
		if err != nil {
			return // a bare CR, say
		}
		if !bytes.Equal(body, wantBody) {
			t.Fatalf("body %q, net/http has %q", body, wantBody)
		}
		if got := q.method == methodPost; got != (want.Method == http.MethodPost) {
			t.Fatalf("method: POST is %v, net/http has %q", got, want.Method)
		}
	})
}

// bySome reads a request's body as a streamed one is read.
func bySome(data []byte) (body []byte) {
	var q request
	r := bufio.NewReaderSize(bytes.NewReader(data), connBuffer)
	if readRequest(r, &q) != nil {
		return nil
	}
	b := newBodyReader(r, &q)
	buf := make([]byte, 100)
	for !b.ended {
		n, err := b.readSome(buf)
		if body = append(body, buf[:n]...); err != nil {
			return nil
		}
	}
	return body
}

// TestReadRequest: heads as runtimes send them.
func TestReadRequest(t *testing.T) {
	for _, c := range []struct {
		name, head string
		want       request
	}{
		{"go next", "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: 127.0.0.1:9001\r\nUser-Agent: aws-lambda-go/go1.26\r\nAccept-Encoding: gzip\r\n\r\n",
			request{route: routeNext, method: methodGet}},
		{"curl", "POST /2018-06-01/runtime/invocation/8476a536/response HTTP/1.1\r\nhost: h\r\naccept: */*\r\ncontent-type: text/html\r\ncontent-length: 5\r\nexpect: 100-Continue\r\n\r\n",
			request{route: routeResponse, method: methodPost, id: []byte("8476a536"), length: 5, expect: true, contentType: "text/html"}},
		{"streaming", "POST /2018-06-01/runtime/invocation/8476a536/response HTTP/1.1\r\nLambda-Runtime-Function-Response-Mode: streaming\r\nTransfer-Encoding: Chunked\r\nTrailer: Lambda-Runtime-Function-Error-Type\r\n\r\n",
			request{route: routeResponse, method: methodPost, id: []byte("8476a536"), length: -1, mode: "streaming"}},
		{"error", "POST /2018-06-01/runtime/invocation/8476a536/error HTTP/1.1\r\nLambda-Runtime-Function-Error-Type:Function.E \r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
			request{route: routeError, method: methodPost, id: []byte("8476a536"), errorType: "Function.E", close: true}},
		{"query", "GET /2018-06-01/ping?x=/y HTTP/1.1\n\n", request{route: routePing, method: methodGet}},
		{"extensions", "GET /2020-01-01/extension/event/next HTTP/1.1\r\n\r\n", request{route: routeOtherAPI, method: methodGet}},
		{"other", "DELETE /x HTTP/1.1\r\n\r\n", request{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got request
			// A byte at a time: no line comes whole.
			r := bufio.NewReaderSize(iotest.OneByteReader(strings.NewReader(c.head)), connBuffer)
			if err := readRequest(r, &got); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}

// TestReadRequestAllocates nothing for what each invoke sends.
func TestReadRequestAllocates(t *testing.T) {
	head := "POST /2018-06-01/runtime/invocation/8476a536-e9f4-11e8-9739-2dfe598c3fcd/response HTTP/1.1\r\n" +
		"Content-Type: application/json\r\nContent-Length: 4\r\n\r\nbody"
	in := strings.NewReader(head)
	r := bufio.NewReaderSize(in, connBuffer)
	var q request
	buf := make([]byte, 0, 64)
	n := testing.AllocsPerRun(100, func() {
		in.Reset(head)
		r.Reset(in)
		if err := readRequest(r, &q); err != nil {
			t.Fatal(err)
		}
		b := newBodyReader(r, &q)
		if _, err := b.readInto(buf, 64); err != nil {
			t.Fatal(err)
		}
	})
	if n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestBodyLimits: the limit holds for both framings, to the byte.
func TestBodyLimits(t *testing.T) {
	chunked := func(s string) string {
		var b strings.Builder
		for piece := range strings.SplitSeq(s, "") {
			fmt.Fprintf(&b, "1\r\n%s\r\n", piece)
		}
		return b.String() + "0\r\n\r\n"
	}
	for _, c := range []struct {
		name string
		q    request
		in   string
		want error
	}{
		{"at the limit", request{length: 4}, "abcd", nil},
		{"over", request{length: 5}, "abcde", errTooLarge},
		{"chunked at the limit", request{length: -1}, chunked("abcd"), nil},
		{"chunked over", request{length: -1}, chunked("abcde"), errTooLarge},
		{"cut off", request{length: 4}, "abc", errTruncated},
		{"chunked without end", request{length: -1}, "1\r\na\r\n", errTruncated},
		{"huge chunk", request{length: -1}, "3fffffffffffffff\r\n", errTooLarge},
		{"more than fits", request{length: -1}, "ffffffffffffffff\r\n", errBadRequest},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBodyReader(bufio.NewReader(strings.NewReader(c.in)), &c.q)
			if _, err := b.readInto(nil, 4); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// TestReadSome: what has come is passed on without a wait for the rest, even
// in the middle of a chunk, and many small chunks at once.
func TestReadSome(t *testing.T) {
	many := strings.Repeat("1\r\nx\r\n", 100)
	for _, c := range []struct {
		name string
		q    request
		in   []string // as it comes
		want []string // "" is the end
	}{
		{"one chunk", request{length: -1}, []string{"3\r\nabc\r\n", "0\r\n\r\n"}, []string{"abc", ""}},
		{"half a chunk", request{length: -1}, []string{"6\r\nabc", "def\r\n0\r\n\r\n"}, []string{"abc", "def", ""}},
		{"half a line", request{length: -1}, []string{"3\r\nabc\r\n3", "\r\ndef\r\n0\r\n\r\n"}, []string{"abc", "def", ""}},
		{"half an end", request{length: -1}, []string{"3\r\nabc\r\n0\r\n", "\r\n"}, []string{"abc", ""}},
		{"many chunks", request{length: -1}, []string{many, many + "0\r\n\r\n"}, []string{strings.Repeat("x", 100), strings.Repeat("x", 100), ""}},
		{"more than fits", request{length: -1}, []string{"c8\r\n" + strings.Repeat("y", 200) + "\r\n0\r\n\r\n"}, []string{strings.Repeat("y", 128), strings.Repeat("y", 72), ""}},
		{"known length", request{length: 6}, []string{"abc", "def"}, []string{"abc", "def", ""}},
		{"empty", request{length: -1}, []string{"0\r\n\r\n"}, []string{""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var from []io.Reader
			for _, s := range c.in {
				from = append(from, strings.NewReader(s))
			}
			b := newBodyReader(bufio.NewReaderSize(io.MultiReader(from...), connBuffer), &c.q)
			buf := make([]byte, 128)
			for _, want := range c.want {
				n, err := b.readSome(buf)
				if err != nil || string(buf[:n]) != want {
					t.Fatalf("got %q, %v, want %q", buf[:n], err, want)
				}
			}
			if !b.ended {
				t.Error("no end")
			}
		})
	}
}
