package api

import (
	"context"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/environment"
	"hearth/internal/invocation"
	"hearth/internal/sigv4"
)

const invokePath = "/2015-03-31/functions/hi/invocations"

func TestInvoke(t *testing.T) {
	b := start(t)
	b.create(t, "hi")
	b.respond = func(_ context.Context, req *invocation.Request) (*invocation.Response, *invocation.Timeline, error) {
		return &invocation.Response{Payload: []byte("null"), Version: "$LATEST", Log: []byte("START\nEND\n")},
			&invocation.Timeline{Count: 1500 * time.Nanosecond, Assign: 2 * time.Millisecond, Run: 30 * time.Millisecond,
				Cold: &environment.Started{Boot: time.Second, Assign: 20 * time.Millisecond, Init: 100 * time.Millisecond}}, nil
	}
	context := base64.StdEncoding.EncodeToString([]byte(`{"custom":{"a":1}}`))
	got := b.send(t, "POST", invokePath+"?Qualifier=%24LATEST", `{"a": 1}`, "X-Amz-Log-Type", "Tail",
		"X-Amz-Client-Context", context, "X-Amzn-Trace-Id", "Root=1-5e988ac8-cb9f1ab4e4a3d5d7aa5b4f4f")
	if got.status != 200 || got.body != "null" {
		t.Fatalf("got %v", got)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "X-Amz-Executed-Version": "$LATEST", "X-Amz-Function-Error": "",
		"X-Amz-Log-Result": base64.StdEncoding.EncodeToString([]byte("START\nEND\n")),
		"Server-Timing":    "count;dur=0.002, assign;dur=2.000, boot;dur=1000.000, handover;dur=20.000, init;dur=100.000, run;dur=30.000",
	} {
		if g := got.header.Get(name); g != want {
			t.Errorf("%s = %q, want %q", name, g, want)
		}
	}
	req := b.last
	if req.ID != got.header.Get("X-Amzn-Requestid") || !req.Tail || string(req.Payload) != `{"a": 1}` ||
		string(req.ClientContext) != `{"custom":{"a":1}}` || req.InvokedARN != "arn:aws:lambda:us-east-1:000000000000:function:hi:$LATEST" {
		t.Errorf("request = %+v", req)
	}
	if want := regexp.MustCompile(`^Root=1-5e988ac8-cb9f1ab4e4a3d5d7aa5b4f4f;Parent=[0-9a-f]{16};Sampled=0$`); !want.MatchString(req.TraceID) || got.header.Get("X-Amzn-Trace-Id") != req.TraceID {
		t.Errorf("trace = %q, answered %q", req.TraceID, got.header.Get("X-Amzn-Trace-Id"))
	}
}

func TestTraceHeader(t *testing.T) {
	s := &Server{cfg: Config{Now: func() time.Time { return time.Unix(0x5e988ac8, 0) }}}
	fresh := regexp.MustCompile(`^Root=1-5e988ac8-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0$`)
	const full = "Root=1-5e988ac8-cb9f1ab4e4a3d5d7aa5b4f4f;Parent=53995c3f42cd8ad8;Sampled=1"
	for _, sent := range []string{"", "Self=1", "Root=" + strings.Repeat("a", maxTrace)} {
		if got := s.trace(http.Header{"X-Amzn-Trace-Id": {sent}}); !fresh.MatchString(got) {
			t.Errorf("trace(%.20q) = %q", sent, got)
		}
	}
	if got := s.trace(http.Header{"X-Amzn-Trace-Id": {full}}); got != full {
		t.Errorf("trace = %q, want %q", got, full)
	}
	if got, want := s.trace(http.Header{"X-Amzn-Trace-Id": {"Root=1-a-b;Sampled=1"}}), regexp.MustCompile(`^Root=1-a-b;Sampled=1;Parent=[0-9a-f]{16}$`); !want.MatchString(got) {
		t.Errorf("trace = %q", got)
	}
}

func TestInvokeWithoutPayload(t *testing.T) {
	b := start(t)
	b.create(t, "hi")
	if got := b.send(t, "POST", invokePath, ""); got.status != 200 || got.body != "{}" {
		t.Errorf("got %v, want the function to see {}", got)
	}
}

func TestInvokeFunctionError(t *testing.T) {
	b := start(t)
	b.create(t, "hi")
	b.respond = func(context.Context, *invocation.Request) (*invocation.Response, *invocation.Timeline, error) {
		return &invocation.Response{Payload: []byte(`{"errorMessage":"x"}`), FunctionError: "Unhandled", Version: "$LATEST"}, nil, nil
	}
	got := b.send(t, "POST", invokePath, "{}")
	if got.status != 200 || got.header.Get("X-Amz-Function-Error") != "Unhandled" || got.header.Get("X-Amz-Log-Result") != "" {
		t.Errorf("got %v %v", got, got.header)
	}
}

func TestInvokeErrors(t *testing.T) {
	b := start(t)
	b.create(t, "hi")
	encode := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	const content, arn = "InvalidRequestContentException", "arn:aws:lambda:us-east-1:000000000000:function:"
	tests := []struct {
		name, path, body string
		header           []string
		status           int
		code, message    string
	}{
		{"invoke-029", "/2015-03-31/functions/doesnotexist/invocations", "{}", nil, 404, "ResourceNotFoundException", "Function not found: " + arn + "doesnotexist:$LATEST"},
		{"invoke-037", invokePath + "?Qualifier=non-existent-alias", "{}", nil, 404, "ResourceNotFoundException", "Function not found: " + arn + "hi:non-existent-alias"},
		{"not JSON", invokePath, "hello", nil, 400, content, "Could not parse request body into json: Could not parse payload into json: invalid character 'h' looking for beginning of value at byte 1"},
		{"half of JSON", invokePath, `{"a":`, nil, 400, content, "Could not parse request body into json: Could not parse payload into json: unexpected end of JSON input at byte 5"},
		{"not UTF-8", invokePath, "\"\xff\"", nil, 400, content, "Could not parse request body into json: Could not parse payload into json: it is not UTF-8"},
		{"too large", invokePath, `"` + strings.Repeat("a", 6<<20) + `"`, nil, 413, "RequestTooLargeException", "Request must be smaller than 6291456 bytes for the InvokeFunction operation"},
		{"kind", invokePath, "{}", []string{"X-Amz-Invocation-Type", "Later"}, 400, "ValidationException", "1 validation error detected: Value 'Later' at 'invocationType' failed to satisfy constraint: Member must satisfy enum value set: [Event, RequestResponse, DryRun]"},
		{"event", invokePath, "{}", []string{"X-Amz-Invocation-Type", "Event"}, 501, "NotImplementedException", "Invoke with InvocationType Event is not supported yet by this version of Hearth."},
		{"log type", invokePath, "{}", []string{"X-Amz-Log-Type", "All"}, 400, "ValidationException", "1 validation error detected: Value 'All' at 'logType' failed to satisfy constraint: Member must satisfy enum value set: [None, Tail]"},
		{"client context base64", invokePath, "{}", []string{"X-Amz-Client-Context", "!"}, 400, content, "Client context must be a valid Base64-encoded JSON object."},
		{"client context JSON", invokePath, "{}", []string{"X-Amz-Client-Context", encode("x")}, 400, content, "Client context must be a valid Base64-encoded JSON object."},
		{"client context size", invokePath, "{}", []string{"X-Amz-Client-Context", encode(`"` + strings.Repeat("a", 3000) + `"`)}, 400, content, "Client context must be at most 3583 bytes in Base64."},
		{"tenant", invokePath, "{}", []string{"X-Amz-Tenant-Id", "t"}, 400, "InvalidParameterValueException", "TenantId is not supported yet by this version of Hearth. Leave it out."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			failed(t, b.send(t, "POST", tt.path, tt.body, tt.header...), tt.status, tt.code, tt.message)
		})
	}
	if b.last != nil {
		t.Errorf("a bad invoke reached the function: %+v", b.last)
	}
}

func TestInvokeThrottled(t *testing.T) {
	b := start(t)
	b.create(t, "hi")
	b.respond = func(context.Context, *invocation.Request) (*invocation.Response, *invocation.Timeline, error) {
		e := awserr.Throttled(awserr.ReasonConcurrentInvocationLimit)
		e.RetryAfterSeconds = 1
		return nil, nil, e
	}
	got := b.send(t, "POST", invokePath, "{}")
	if got.status != 429 || got.header.Get("Retry-After") != "1" || !strings.Contains(got.body, `"Reason":"ConcurrentInvocationLimitExceeded"`) {
		t.Errorf("got %v %v", got, got.header)
	}
}

func TestDryRun(t *testing.T) {
	b := start(t)
	b.create(t, "hi")
	got := b.send(t, "POST", invokePath, "{}", "X-Amz-Invocation-Type", "DryRun")
	if got.status != 204 || got.body != "" || b.last != nil {
		t.Errorf("got %v", got)
	}
	got = b.send(t, "POST", "/2015-03-31/functions/nope/invocations", "{}", "X-Amz-Invocation-Type", "DryRun")
	if got.status != 404 {
		t.Errorf("got %v", got)
	}
}

// TestClientGone makes sure that a client that goes away does not cancel its
// function.
func TestClientGone(t *testing.T) {
	b := start(t)
	b.create(t, "hi")
	running, release, ended := make(chan struct{}), make(chan struct{}), make(chan error)
	b.respond = func(ctx context.Context, req *invocation.Request) (*invocation.Response, *invocation.Timeline, error) {
		close(running)
		<-release
		ended <- ctx.Err()
		return &invocation.Response{Payload: req.Payload}, nil, nil
	}
	noticed := make(chan struct{})
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		context.AfterFunc(r.Context(), func() { close(noticed) })
		b.server.ServeHTTP(w, r)
	}))
	defer front.Close()
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, front.URL+invokePath, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	if err := sigv4.Sign(ctx, req, testKey, testSecret, sigv4.Scope{Region: testRegion, Service: "lambda"}, []byte("{}"), now); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	gone := make(chan error)
	go func() {
		res, err := (&http.Client{Transport: transport}).Do(req)
		if err == nil {
			res.Body.Close()
		}
		gone <- err
	}()
	<-running
	cancel()
	if err := <-gone; err == nil {
		t.Error("the client was answered")
	}
	transport.CloseIdleConnections()
	<-noticed
	close(release)
	if err := <-ended; err != nil {
		t.Errorf("the function's context: %v", err)
	}
}

// nullWriter is a response writer that keeps nothing.
type nullWriter struct {
	header http.Header
	status int
}

func (w *nullWriter) Header() http.Header         { return w.header }
func (w *nullWriter) WriteHeader(status int)      { w.status = status }
func (w *nullWriter) Write(b []byte) (int, error) { return len(b), nil }

// BenchmarkInvokeRoute is the API's share of a warm invoke: everything but
// the connection and the function.
func BenchmarkInvokeRoute(b *testing.B) {
	bench := start(b)
	bench.create(b, "hi")
	response := &invocation.Response{Payload: []byte(`{"ok":true}`), Version: "$LATEST"}
	timeline := &invocation.Timeline{Count: time.Microsecond, Assign: time.Microsecond, Run: time.Millisecond}
	bench.respond = func(context.Context, *invocation.Request) (*invocation.Response, *invocation.Timeline, error) {
		return response, timeline, nil
	}
	const payload = `{"name":"you"}`
	req, err := http.NewRequest(http.MethodPost, bench.url+invokePath, strings.NewReader(payload))
	if err != nil {
		b.Fatal(err)
	}
	if err := sigv4.Sign(b.Context(), req, testKey, testSecret, sigv4.Scope{Region: testRegion, Service: "lambda"}, []byte(payload), time.Now().UTC()); err != nil {
		b.Fatal(err)
	}
	req.RequestURI = invokePath
	body := &rewinder{Reader: strings.NewReader(payload)}
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(payload)
		req.Body = body
		w := &nullWriter{header: make(http.Header, 8)}
		bench.server.ServeHTTP(w, req)
		if w.status != http.StatusOK {
			b.Fatal(w.status, w.header)
		}
	}
}

type rewinder struct{ *strings.Reader }

func (*rewinder) Close() error { return nil }
