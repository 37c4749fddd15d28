package api_test

import (
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/internal/awserr"
	"hearth/internal/invocation"
)

const zeros = "\x00\x00\x00\x00\x00\x00\x00\x00"

func TestURLStreams(t *testing.T) {
	s := startSite(t)
	id := urlID(t, s.createURL("hi", "", types.FunctionUrlAuthTypeNone, func(in *lambda.CreateFunctionUrlConfigInput) {
		in.InvokeMode = types.InvokeModeResponseStream
	}).FunctionUrl)
	s.public("hi", "")
	failed := &invocation.Response{FunctionError: "Unhandled", Payload: []byte(`{"errorMessage":"secret"}`)}
	for _, tt := range []struct {
		name   string
		head   *invocation.StreamHead
		pieces []string
		res    *invocation.Response
		err    error
		status int // 0: the answer breaks off
		body   string
		header []string
	}{
		{name: "plain", head: &invocation.StreamHead{Streamed: true}, pieces: []string{"a", "b"}, status: 200, body: "ab", header: []string{"Content-Type", "application/octet-stream", "Content-Length", ""}},
		{name: "type of its own", head: &invocation.StreamHead{ContentType: "text/html", Streamed: true}, pieces: []string{"<p>"}, status: 200, body: "<p>", header: []string{"Content-Type", "text/html"}},
		{name: "empty", head: &invocation.StreamHead{Streamed: true}, status: 200},
		{name: "not streamed", head: &invocation.StreamHead{ContentType: "application/json"}, pieces: []string{`{"statusCode": 404}`}, status: 200, body: `{"statusCode": 404}`},
		{name: "metadata", head: &invocation.StreamHead{ContentType: invocation.HTTPIntegration, Streamed: true},
			pieces: []string{`{"statusCode":418,"headers":{"X":"y","Content-Length":"1"},`, `"cookies":["a=1","b=2"]}` + zeros[:5], zeros[5:] + "body", " more"},
			status: 418, body: "body more", header: []string{"X", "y", "Set-Cookie", "a=1 | b=2", "Content-Type", "application/octet-stream"}},
		{name: "metadata and no body", head: &invocation.StreamHead{ContentType: invocation.HTTPIntegration, Streamed: true}, pieces: []string{`{"statusCode":204}` + zeros}, status: 204},
		{name: "half of the metadata", head: &invocation.StreamHead{ContentType: invocation.HTTPIntegration, Streamed: true}, pieces: []string{`{"statusCode":204}`}, status: 502, body: badGateway},
		{name: "broken metadata", head: &invocation.StreamHead{ContentType: invocation.HTTPIntegration, Streamed: true}, pieces: []string{"hello" + zeros + "body"}, status: 502, body: badGateway},
		{name: "failed before", res: failed, status: 502, body: badGateway},
		{name: "failed in the metadata", head: &invocation.StreamHead{ContentType: invocation.HTTPIntegration, Streamed: true}, pieces: []string{"{"}, res: failed, status: 502, body: badGateway},
		{name: "failed after", head: &invocation.StreamHead{Streamed: true}, pieces: []string{"begun"}, res: failed, body: "begun"},
		{name: "fault after", head: &invocation.StreamHead{Streamed: true}, pieces: []string{"begun"}, err: errors.New("worker lost"), body: "begun"},
		{name: "throttled", err: awserr.Throttled(awserr.ReasonConcurrentInvocationLimit), status: 429, body: `{"Reason":"ConcurrentInvocationLimitExceeded","Type":"User","message":"Rate Exceeded."}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.stream = func(to invocation.Sink) (*invocation.Response, error) {
				if tt.head != nil {
					to.Begin(*tt.head)
				}
				for _, piece := range tt.pieces {
					if _, err := to.Write([]byte(piece)); err != nil {
						break // as the worker does
					}
				}
				if tt.res == nil {
					return &invocation.Response{}, tt.err
				}
				return tt.res, tt.err
			}
			r := s.request("GET", id, "/", "")
			if tt.status != 0 {
				s.do(r).want(t, tt.status, tt.body, tt.header...)
				return
			}
			res, err := (&http.Client{Transport: s.transport}).Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if body, err := io.ReadAll(res.Body); !errors.Is(err, io.ErrUnexpectedEOF) || string(body) != tt.body {
				t.Errorf("got %q, %v, want %q and a missing end", body, err, tt.body)
			}
		})
	}
}

// TestURLStreamIsPrompt has a client read each piece before the function writes
// the next.
func TestURLStreamIsPrompt(t *testing.T) {
	s := startSite(t)
	id := urlID(t, s.createURL("hi", "", types.FunctionUrlAuthTypeNone, func(in *lambda.CreateFunctionUrlConfigInput) {
		in.InvokeMode = types.InvokeModeResponseStream
	}).FunctionUrl)
	s.public("hi", "")
	read := make(chan struct{})
	s.stream = func(to invocation.Sink) (*invocation.Response, error) {
		to.Begin(invocation.StreamHead{ContentType: invocation.HTTPIntegration, Streamed: true})
		for _, piece := range []string{"{}" + zeros, "one", "two"} {
			if _, err := to.Write([]byte(piece)); err != nil {
				return nil, err
			}
			<-read
		}
		return &invocation.Response{}, nil
	}
	res, err := (&http.Client{Transport: s.transport}).Do(s.request("GET", id, "/", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	read <- struct{}{}
	for _, want := range []string{"one", "two"} {
		got := make([]byte, len(want))
		if _, err := io.ReadFull(res.Body, got); err != nil || string(got) != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
		read <- struct{}{}
	}
	if rest, err := io.ReadAll(res.Body); err != nil || len(rest) > 0 {
		t.Errorf("then %q, %v", rest, err)
	}
	if length := res.Header.Get("Content-Length"); length != "" {
		t.Errorf("Content-Length %s", length)
	}
}
