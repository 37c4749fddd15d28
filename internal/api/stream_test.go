package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/internal/awserr"
	"hearth/internal/invocation"
	"hearth/internal/sigv4"
)

const streamPath = "/2021-11-15/functions/hi/response-streaming-invocations"

func (m *memory) InvokeStream(ctx context.Context, account, name, qualifier string, req *invocation.Request, to invocation.Sink) (*invocation.Response, *invocation.Timeline, error) {
	if err := m.Check(ctx, account, name, qualifier); err != nil {
		return nil, nil, err
	}
	m.mu.Lock()
	m.last = req
	m.mu.Unlock()
	return m.stream(req, to)
}

// steady sends requests with a body that nobody closes. The SDK closes its own
// as soon as an answer begins; if the transport is still looking for the
// body's end then, it closes the connection in the middle of the answer.
type steady struct{ lambda.HTTPClient }

func (c steady) Do(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	return c.HTTPClient.Do(req)
}

// sdkEvents reads an answer with the real SDK: its pieces and its end.
func sdkEvents(t *testing.T, out *lambda.InvokeWithResponseStreamOutput) (pieces []string, end types.InvokeWithResponseStreamCompleteEvent) {
	t.Helper()
	stream := out.GetStream()
	defer stream.Close()
	ends := 0
	for e := range stream.Events() {
		switch e := e.(type) {
		case *types.InvokeWithResponseStreamResponseEventMemberPayloadChunk:
			pieces = append(pieces, string(e.Value.Payload))
		case *types.InvokeWithResponseStreamResponseEventMemberInvokeComplete:
			end = e.Value
			ends++
		}
	}
	if err := stream.Err(); err != nil || ends != 1 {
		t.Fatalf("%d ends, %v", ends, err)
	}
	return pieces, end
}

func TestInvokeWithResponseStream(t *testing.T) {
	long := strings.Repeat("ü", maxErrorDetails)
	for _, tt := range []struct {
		name    string
		do      func(to invocation.Sink) *invocation.Response
		tail    bool
		pieces  []string
		code    string
		details string
		log     string
	}{
		{"pieces", func(to invocation.Sink) *invocation.Response {
			to.Begin(invocation.StreamHead{ContentType: "text/x", Version: "$LATEST", Streamed: true})
			_, _ = to.Write([]byte("a\x00\xff"))
			_, _ = to.Write([]byte("b"))
			return &invocation.Response{Log: []byte("not asked for")}
		}, false, []string{"a\x00\xff", "b"}, "", "", ""},
		{"nothing, and the log", func(to invocation.Sink) *invocation.Response {
			to.Begin(invocation.StreamHead{ContentType: "text/x", Version: "$LATEST"})
			return &invocation.Response{Log: []byte(strings.Repeat("x", 5<<10))}
		}, true, nil, "", "", strings.Repeat("x", 4<<10)},
		{"broken off", func(to invocation.Sink) *invocation.Response {
			to.Begin(invocation.StreamHead{ContentType: "text/x", Version: "$LATEST"})
			_, _ = to.Write([]byte("half"))
			return &invocation.Response{FunctionError: "Unhandled", Payload: []byte(`{"errorType":"T"}`)}
		}, false, []string{"half"}, "Unhandled", `{"errorType":"T"}`, ""},
		{"failed before", func(invocation.Sink) *invocation.Response {
			return &invocation.Response{FunctionError: "Unhandled", Payload: []byte(`{"errorType":"T"}`), Version: "$LATEST"}
		}, false, []string{`{"errorType":"T"}`}, "Unhandled", `{"errorType":"T"}`, ""},
		{"at length", func(invocation.Sink) *invocation.Response {
			return &invocation.Response{FunctionError: "Unhandled", Payload: []byte("x" + long), Version: "$LATEST"}
		}, false, []string{"x" + long}, "Unhandled", ("x" + long)[:maxErrorDetails-1], ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := start(t)
			b.create(t, "hi")
			b.stream = func(_ *invocation.Request, to invocation.Sink) (*invocation.Response, *invocation.Timeline, error) {
				return tt.do(to), nil, nil
			}
			in := &lambda.InvokeWithResponseStreamInput{FunctionName: aws.String("hi"), Payload: []byte("{}")}
			if tt.tail {
				in.LogType = types.LogTypeTail
			}
			out, err := b.client.InvokeWithResponseStream(t.Context(), in, func(o *lambda.Options) {
				o.HTTPClient = steady{o.HTTPClient}
			})
			if err != nil {
				t.Fatal(err)
			}
			if out.StatusCode != 200 || aws.ToString(out.ExecutedVersion) != "$LATEST" || aws.ToString(out.ResponseStreamContentType) != "application/vnd.amazon.eventstream" {
				t.Errorf("got %+v", out)
			}
			pieces, end := sdkEvents(t, out)
			if strings.Join(pieces, "|") != strings.Join(tt.pieces, "|") {
				t.Errorf("pieces %.200q, want %.200q", pieces, tt.pieces)
			}
			if aws.ToString(end.ErrorCode) != tt.code || aws.ToString(end.ErrorDetails) != tt.details {
				t.Errorf("end %s %.200q, want %s %.200q", aws.ToString(end.ErrorCode), aws.ToString(end.ErrorDetails), tt.code, tt.details)
			}
			if log, err := base64.StdEncoding.DecodeString(aws.ToString(end.LogResult)); err != nil || string(log) != tt.log {
				t.Errorf("log %q, %v", log, err)
			}
			if b.last.Tail != tt.tail || string(b.last.Payload) != "{}" {
				t.Errorf("asked for %+v", b.last)
			}
		})
	}
}

// TestStreamBytes compares with bytes as AWS sent them (recorded by the Kong
// project, spec/fixtures/aws-lambda.lua).
func TestStreamBytes(t *testing.T) {
	b := start(t)
	b.create(t, "hi")
	b.stream = func(_ *invocation.Request, to invocation.Sink) (*invocation.Response, *invocation.Timeline, error) {
		to.Begin(invocation.StreamHead{Version: "$LATEST"})
		_, _ = to.Write([]byte("Hello world "))
		return &invocation.Response{}, nil, nil
	}
	got := b.send(t, "POST", streamPath, "{}", "X-Amzn-Trace-Id", "Root=1-a-b;Parent=c;Sampled=1")
	const want = "\x00\x00\x00\x76\x00\x00\x00\x5a\x98\x0e\x72\xec\x0b:event-type\x07\x00\x0cPayloadChunk" +
		"\x0d:content-type\x07\x00\x18application/octet-stream\x0d:message-type\x07\x00\x05eventHello world \x33\x97\x1f\xd8"
	const end = "\x00\x00\x00\x66\x00\x00\x00\x54\x1f\x56\xc8\x69\x0b:event-type\x07\x00\x0eInvokeComplete" +
		"\x0d:content-type\x07\x00\x10application/json\x0d:message-type\x07\x00\x05event{}\x70\x06\xd4\x67"
	if got.body != want+end {
		t.Errorf("got  %q\nwant %q", got.body, want+end)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/vnd.amazon.eventstream", "X-Amzn-Remapped-Content-Type": "application/octet-stream",
		"X-Amz-Executed-Version": "$LATEST", "X-Amzn-Trace-Id": "Root=1-a-b;Parent=c;Sampled=1",
	} {
		if got := got.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestStreamFlows: a piece is with the client before the next is written, and
// a content type cannot break the head.
func TestStreamFlows(t *testing.T) {
	b := start(t)
	b.create(t, "hi")
	more := make(chan struct{})
	b.stream = func(_ *invocation.Request, to invocation.Sink) (*invocation.Response, *invocation.Timeline, error) {
		to.Begin(invocation.StreamHead{ContentType: "text/x\r\nX-Evil: 1"})
		_, _ = to.Write([]byte("first"))
		<-more
		return &invocation.Response{}, nil, nil
	}
	res := b.open(t)
	defer res.Body.Close()
	if got := res.Header.Get("X-Amzn-Remapped-Content-Type"); got != "text/xX-Evil: 1" || res.Header.Get("X-Evil") != "" {
		t.Errorf("type %q", got)
	}
	decoder := eventstream.NewDecoder()
	if m, err := decoder.Decode(res.Body, nil); err != nil || string(m.Payload) != "first" {
		t.Fatalf("got %q, %v", m.Payload, err)
	}
	close(more)
	if m, err := decoder.Decode(res.Body, nil); err != nil || m.Headers.Get(":event-type").String() != "InvokeComplete" {
		t.Errorf("got %v, %v", m, err)
	}
}

// open sends an invoke and returns the answer, unread.
func (b *bench) open(t *testing.T) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", b.url+streamPath, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	scope := sigv4.Scope{Date: now.Format("20060102"), Region: testRegion, Service: "lambda"}
	if err := sigv4.Sign(t.Context(), req, testKey, testSecret, scope, []byte("{}"), now); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// TestStreamClientGone: the sink says so, and the invoke goes on.
func TestStreamClientGone(t *testing.T) {
	b := start(t)
	b.create(t, "hi")
	gone := make(chan struct{})
	ended := make(chan error, 1)
	b.stream = func(_ *invocation.Request, to invocation.Sink) (*invocation.Response, *invocation.Timeline, error) {
		to.Begin(invocation.StreamHead{})
		<-gone
		var err error
		for piece := make([]byte, 1<<16); err == nil; {
			_, err = to.Write(piece)
		}
		ended <- err
		return &invocation.Response{}, nil, nil
	}
	res := b.open(t)
	_ = res.Body.Close() // unread: the transport closes the connection
	close(gone)
	if err := <-ended; err == nil || errors.Is(err, io.EOF) {
		t.Errorf("got %v", err)
	}
}

func TestStreamErrors(t *testing.T) {
	b := start(t)
	b.create(t, "hi")
	fault := errors.New("disk on fire at /secret")
	b.stream = func(req *invocation.Request, to invocation.Sink) (*invocation.Response, *invocation.Timeline, error) {
		switch string(req.Payload) {
		case `"throttled"`:
			return nil, nil, awserr.Throttled(awserr.ReasonConcurrentInvocationLimit)
		case `"late fault"`:
			to.Begin(invocation.StreamHead{})
		}
		return nil, nil, fault
	}
	tests := []struct {
		name, path, body string
		header           []string
		status           int
		code, message    string
	}{
		{"no function", strings.Replace(streamPath, "hi", "none", 1), "{}", nil, 404, "ResourceNotFoundException", "Function not found: arn:aws:lambda:us-east-1:000000000000:function:none"},
		{"another account's", "/2021-11-15/functions/arn:aws:lambda:us-east-1:111111111111:function:hi/response-streaming-invocations", "{}", nil, 403, "AccessDeniedException", ""},
		{"not JSON", streamPath, "hello", nil, 400, "InvalidRequestContentException", "Could not parse request body into json: Could not parse payload into json: invalid character 'h' looking for beginning of value at byte 1"},
		{"too large", streamPath, `"` + strings.Repeat("a", 6<<20) + `"`, nil, 413, "RequestTooLargeException", "Request must be smaller than 6291456 bytes for the InvokeFunction operation"},
		{"event", streamPath, "{}", []string{"X-Amz-Invocation-Type", "Event"}, 400, "ValidationException", "1 validation error detected: Value 'Event' at 'invocationType' failed to satisfy constraint: Member must satisfy enum value set: [RequestResponse, DryRun]"},
		{"tenant", streamPath, "{}", []string{"X-Amz-Tenant-Id", "t"}, 400, "InvalidParameterValueException", "TenantId is not supported yet by this version of Hearth. Leave it out."},
		{"fault", streamPath, "{}", nil, 500, "ServiceException", "Service encountered an internal error."},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := b.send(t, "POST", tt.path, tt.body, tt.header...)
			if got.status != tt.status || got.header.Get("X-Amzn-Errortype") != tt.code || tt.name != "fault" && !strings.Contains(got.body, tt.message[:min(40, len(tt.message))]) {
				t.Errorf("got %v, want %d %s %s", got, tt.status, tt.code, tt.message)
			}
		})
	}
	if got := b.send(t, "POST", streamPath, `"throttled"`); got.status != 429 {
		t.Errorf("got %v", got)
	}
	got := b.send(t, "POST", streamPath, `"late fault"`)
	m, err := eventstream.NewDecoder().Decode(bytes.NewReader([]byte(got.body)), nil)
	if err != nil || !strings.Contains(string(m.Payload), `"ErrorCode":"ServiceException"`) || strings.Contains(got.body, "secret") {
		t.Errorf("got %v, %v", got, err)
	}
	if got := b.send(t, "POST", streamPath, "{}", "X-Amz-Invocation-Type", "DryRun"); got.status != 204 {
		t.Errorf("dry run: %v", got)
	}
}
