package guest_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"hearth/internal/controlstream"
	"hearth/internal/invocation"
)

// manual is an environment whose runtime does nothing: the test itself calls
// the Runtime API, with Go's own HTTP client.
type manual struct {
	*env
	client *http.Client
}

func startManual(t *testing.T) *manual {
	t.Helper()
	e := start(t, shellFunction(t, "echo up; exec sleep 1000"))
	e.assign(assignment())
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &manual{env: e, client: &http.Client{Transport: transport, Timeout: time.Minute}}
}

func (m *manual) url(path string) string { return "http://" + m.API + "/2018-06-01/" + path }

// answer is what a call of the Runtime API returned.
type answer struct {
	code   int
	body   string
	header http.Header
	err    error
}

func (m *manual) do(req *http.Request, err error) answer {
	if err != nil {
		return answer{err: err}
	}
	resp, err := m.client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, string(body), resp.Header, err}
}

func (m *manual) get(path string) answer { return m.do(http.NewRequest("GET", m.url(path), nil)) }

func (m *manual) post(path, body string, header ...string) answer {
	req, err := http.NewRequest("POST", m.url(path), strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return m.do(req, err)
}

// next calls next in the background.
func (m *manual) next() <-chan answer {
	c := make(chan answer, 1)
	go func() { c <- m.get("runtime/invocation/next") }()
	return c
}

// launch begins an init phase, and returns once the runtime runs.
func (m *manual) launch() <-chan *controlstream.InitReport {
	m.t.Helper()
	c := make(chan *controlstream.InitReport, 1)
	go func() {
		r, err := m.Session.Init(m.t.Context())
		if err != nil {
			m.t.Error(err)
		}
		c <- r
	}()
	m.logs.await("up")
	return c
}

// ready runs init and returns the first, unanswered call of next.
func (m *manual) ready() <-chan answer {
	m.t.Helper()
	report := m.launch()
	next := m.next()
	if r := <-report; r.Status != controlstream.StatusSuccess {
		m.t.Fatalf("init: %+v", r)
	}
	return next
}

// begin sends an invoke and returns its id once the runtime has it, and what
// the worker gets.
func (m *manual) begin(next <-chan answer, payload string) (string, <-chan result) {
	m.t.Helper()
	c := make(chan result, 1)
	go func() { c <- m.invoke(payload) }()
	got := <-next
	if got.err != nil || got.code != 200 || got.body != payload {
		m.t.Fatalf("next: %+v", got)
	}
	return got.header.Get("Lambda-Runtime-Aws-Request-Id"), c
}

func (m *manual) want(got answer, code int, part string) {
	m.t.Helper()
	if got.err != nil || got.code != code || !strings.Contains(got.body, part) {
		m.t.Errorf("got %d %q (%v), want %d with %q", got.code, got.body, got.err, code, part)
	}
}

func TestEventHead(t *testing.T) {
	m := startManual(t)
	next := m.ready()
	done := make(chan result, 1)
	go func() { done <- m.invoke(`{}`) }()
	got := <-next
	for name, want := range map[string]string{
		"Lambda-Runtime-Aws-Request-Id":       "00000000-0000-0000-0000-000000000001",
		"Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:us-east-1:000000000000:function:f",
		"Lambda-Runtime-Client-Context":       `{"custom": {"a":"b"}}`, // one line now
		"Content-Type":                        "application/json",
	} {
		if got.header.Get(name) != want {
			t.Errorf("%s: got %q, want %q", name, got.header.Get(name), want)
		}
	}
	if _, ok := got.header["Lambda-Runtime-Trace-Id"]; ok {
		t.Error("an empty field was sent")
	}
	m.post("runtime/invocation/00000000-0000-0000-0000-000000000001/response", "")
	m.next()
	<-done
}

func TestRuntimeAPIRefusals(t *testing.T) {
	m := startManual(t)
	m.want(m.get("ping"), 200, "pong")
	next := m.ready()
	m.want(m.post("runtime/init/error", "{}"), 403, "InvalidStateTransition")
	m.want(m.post("runtime/invocation/none/response", "{}"), 400, "InvalidRequestID")
	id, got := m.begin(next, "1")
	m.want(m.get("runtime/invocation/next"), 403, "State transition from Running to Ready failed for runtime.")
	m.want(m.post("runtime/invocation/other/response", "{}"), 400, "InvalidRequestID")
	m.want(m.post("runtime/invocation/"+strings.Repeat("x", 2000)+"/error", "{}"), 400, "InvalidRequestID")
	m.want(m.post("runtime/init/error", "{}"), 403, "InvalidStateTransition")
	m.want(m.get("runtime/invocation/"+id+"/response"), 405, "MethodNotAllowed")
	m.want(m.post("runtime/nowhere", "{}"), 404, "NotFound")
	m.want(m.get("runtime/restore/next"), 404, "NotSupported")
	m.want(m.do(http.NewRequest("POST", "http://"+m.API+"/2020-01-01/extension/register", nil)), 404, "NotSupported")
	m.want(m.post("runtime/invocation/"+id+"/response", "2"), 202, `{"status":"OK"}`)
	m.want(m.post("runtime/invocation/"+id+"/response", "3"), 403, "from ResponseSent to InvocationResponse")
	m.want(m.post("runtime/invocation/"+id+"/error", "3"), 403, "from ResponseSent to InvocationErrorResponse")
	next = m.next()
	if r := <-got; r.body != "2" || !r.done.Alive {
		t.Errorf("got %q, %+v", r.body, r.done)
	}
	m.want(m.post("runtime/invocation/"+id+"/response", "4"), 400, "InvalidRequestID")
	id, got = m.begin(next, "5")
	m.want(m.post("runtime/invocation/"+id+"/error", `{"errorType":"E"}`,
		"Lambda-Runtime-Function-Error-Type", "Function.Bad"), 202, "OK")
	m.next()
	if r := <-got; r.body != `{"errorType":"E"}` || r.resp.Status != controlstream.StatusError || r.resp.ErrorType != "Function.Bad" {
		t.Errorf("got %q, %+v", r.body, r.resp)
	}
}

func TestResponses(t *testing.T) {
	large := strings.Repeat("x", invocation.MaxResponse)
	for _, c := range []struct {
		name   string
		verb   string
		body   string
		header []string
		code   int
		status controlstream.Status
		kind   string
		want   string
	}{
		{name: "empty", verb: "response", code: 202, status: controlstream.StatusSuccess},
		{name: "largest", verb: "response", body: large, code: 202, status: controlstream.StatusSuccess, want: large},
		{name: "one byte more", verb: "response", body: large + "x", code: 413, status: controlstream.StatusTooLarge,
			kind: "Function.ResponseSizeTooLarge",
			want: `{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes)."}`},
		{name: "one byte more, asked first", verb: "response", body: large + "x", header: []string{"Expect", "100-continue"},
			code: 413, status: controlstream.StatusTooLarge, kind: "Function.ResponseSizeTooLarge",
			want: `{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes)."}`},
		{name: "asked first", verb: "response", body: large, header: []string{"Expect", "100-continue"},
			code: 202, status: controlstream.StatusSuccess, want: large},
		{name: "too large an error", verb: "error", body: large + "x", code: 413, status: controlstream.StatusTooLarge,
			kind: "Function.ResponseSizeTooLarge",
			want: `{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"Response payload size exceeded maximum allowed payload size (6291556 bytes)."}`},
		{name: "unknown mode", verb: "response", body: "{}", header: []string{"Lambda-Runtime-Function-Response-Mode", "odd"},
			code: 400, status: controlstream.StatusError, kind: "Runtime.InvalidResponseModeHeader",
			want: `{"errorType":"Runtime.InvalidResponseModeHeader","errorMessage":"Invalid response mode header: use streaming, or leave it out"}`},
		{name: "streaming", verb: "response", body: "stream", header: []string{"Lambda-Runtime-Function-Response-Mode", "streaming"},
			code: 202, status: controlstream.StatusSuccess, want: "stream"},
		{name: "error without type", verb: "error", body: "{}", code: 202, status: controlstream.StatusError,
			kind: "Runtime.Unknown", want: "{}"},
		{name: "error with cause", verb: "error", body: `{"errorMessage":"m","errorType":"T","stackTrace":["s"],"errorCause":{"x":1}}`,
			header: []string{"Content-Type", "application/vnd.aws.lambda.error.cause+json"}, code: 202,
			status: controlstream.StatusError, kind: "Runtime.Unknown",
			want: `{"errorMessage":"m","errorType":"T","stackTrace":["s"]}`},
		{name: "long X-Ray cause", verb: "error", body: "{}", header: []string{"Lambda-Runtime-Function-XRay-Error-Cause",
			strings.Repeat("c", 1<<20)}, code: 202, status: controlstream.StatusError, kind: "Runtime.Unknown", want: "{}"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := startManual(t)
			id, got := m.begin(m.ready(), "{}")
			m.want(m.post("runtime/invocation/"+id+"/"+c.verb, c.body, c.header...), c.code, "")
			m.next()
			r := <-got
			if r.resp.Status != c.status || r.resp.ErrorType != c.kind || r.body != c.want {
				t.Errorf("got %s %q %.200q, want %s %q %.200q", r.resp.Status, r.resp.ErrorType, r.body, c.status, c.kind, c.want)
			}
			if !r.done.Alive {
				t.Error("the runtime did not live on")
			}
		})
	}
}

// TestTrailers: a failure in mid-answer is told in trailers, with or without
// the streaming mode.
func TestTrailers(t *testing.T) {
	for _, mode := range []string{"", "streaming"} {
		m := startManual(t)
		id, got := m.begin(m.ready(), "{}")
		// The first of two pieces makes the body chunked.
		req, err := http.NewRequest("POST", m.url("runtime/invocation/"+id+"/response"),
			io.MultiReader(strings.NewReader("half an ans"), bytes.NewReader(nil)))
		if err != nil {
			t.Fatal(err)
		}
		if mode != "" {
			req.Header.Set("Lambda-Runtime-Function-Response-Mode", mode)
		}
		req.Trailer = http.Header{
			"Lambda-Runtime-Function-Error-Type": {"Runtime.Broke"},
			"Lambda-Runtime-Function-Error-Body": {"eyJlcnJvclR5cGUiOiJYIn0="},
		}
		m.want(m.do(req, nil), 202, "OK")
		m.next()
		r := <-got
		if r.resp.Status != controlstream.StatusError || r.resp.ErrorType != "Runtime.Broke" || r.body != `{"errorType":"X"}` {
			t.Errorf("mode %q: got %+v %q", mode, r.resp, r.body)
		}
	}
}

// TestRawRequests sends what an HTTP client would not.
func TestRawRequests(t *testing.T) {
	m := startManual(t)
	id, got := m.begin(m.ready(), "{}")
	path := "POST /2018-06-01/runtime/invocation/" + id + "/response HTTP/1.1\r\n"
	for _, c := range []struct{ name, send, want string }{
		{"cut off", path + "Content-Length: 10\r\n\r\nabc", "HTTP/1.1 400 Bad Request\r\n"},
		{"cut off in a chunk", path + "Transfer-Encoding: chunked\r\n\r\n5\r\nabc", "TruncatedHTTPRequest"},
		{"bad chunk", path + "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc", "InvalidRequest"},
		{"long chunk", path + "Transfer-Encoding: chunked\r\n\r\n2\r\nabcdef\r\n", "InvalidRequest"},
		{"two lengths", path + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", "InvalidRequest"},
		{"length and chunks", path + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "InvalidRequest"},
		{"negative length", path + "Content-Length: -1\r\n\r\n", "InvalidRequest"},
		{"signed length", path + "Content-Length: +1\r\n\r\na", "InvalidRequest"},
		{"absurd length", path + "Content-Length: 99999999999999999999\r\n\r\n", "InvalidRequest"},
		{"no version", "GET /\r\n\r\n", "InvalidRequest"},
		{"not HTTP", "\x16\x03\x01 \x00\n\n", "InvalidRequest"},
		{"endless request line", "GET /" + strings.Repeat("x", 1<<16), "InvalidRequest"},
		{"endless header", "GET / HTTP/1.1\r\nA: " + strings.Repeat("x", 3<<20), "431 Request Header Fields Too Large"},
		{"many headers", "GET / HTTP/1.1\r\n" + strings.Repeat("A: b\r\n", 1<<20), "431 Request Header Fields Too Large"},
		{"header without colon", "GET / HTTP/1.1\r\nabc\r\n\r\n", "InvalidRequest"},
		{"long error type", path + "Lambda-Runtime-Function-Error-Type: " + strings.Repeat("x", 2000) + "\r\n\r\n", "431"},
		{"HTTP/1.0", "GET /2018-06-01/ping HTTP/1.0\r\n\r\n", "pong"},
		{"nothing", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := rawCall(t, m.API, c.send); !strings.Contains(got, c.want) || c.want == "" && got != "" {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	// After all that the invoke can still be answered.
	m.want(m.post("runtime/invocation/"+id+"/response", "fine"), 202, "")
	m.next()
	if r := <-got; r.body != "fine" {
		t.Errorf("got %q", r.body)
	}
}

// rawCall sends bytes, ends its side and returns what comes back.
func rawCall(t *testing.T, addr, send string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	go func() {
		_, _ = io.WriteString(c, send) // may be refused half way
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	got, _ := io.ReadAll(c) // may be reset after the answer
	return string(got)
}

// TestSecondNext: the newest call of next gets the event, and the connection
// of the one before is closed.
func TestSecondNext(t *testing.T) {
	m := startManual(t)
	call := func() net.Conn {
		c, err := net.Dial("tcp", m.API)
		if err == nil {
			_, err = io.WriteString(c, "GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\n\r\n")
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	report := m.launch()
	first := call()
	<-report
	second := call()
	if got, err := io.ReadAll(first); len(got) != 0 || err != nil {
		t.Fatalf("first: got %q, %v", got, err)
	}
	got := make(chan result, 1)
	go func() { got <- m.invoke("{}") }()
	if line, err := bufio.NewReader(second).ReadString('\n'); line != "HTTP/1.1 200 OK\r\n" {
		t.Fatalf("second: got %q, %v", line, err)
	}
	m.post("runtime/invocation/00000000-0000-0000-0000-000000000001/response", "ok")
	call()
	if r := <-got; r.body != "ok" {
		t.Errorf("got %q", r.body)
	}
}
