package e2e

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"hearth/test/harness"
)

// streamed is an answer that is being read.
type streamed struct {
	*lambda.InvokeWithResponseStreamEventStream
	t    *testing.T
	out  *lambda.InvokeWithResponseStreamOutput
	done *types.InvokeWithResponseStreamCompleteEvent
}

// stream invokes the function for an answer piece by piece.
func (f *function) stream(ctx context.Context, t *testing.T, e event) *streamed {
	t.Helper()
	payload, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	out, err := f.client.InvokeWithResponseStream(ctx, &lambda.InvokeWithResponseStreamInput{
		FunctionName: &f.name, Payload: payload, LogType: types.LogTypeTail,
	}, func(o *lambda.Options) { o.HTTPClient = steady{o.HTTPClient} })
	if err != nil {
		t.Fatal(err)
	}
	s := &streamed{out.GetStream(), t, out, nil}
	t.Cleanup(func() { _ = s.Close() }) // closed twice, as a rule
	return s
}

// steady sends requests with a body that nobody closes: see client. There is no
// trying again in the middle of an answer.
type steady struct{ lambda.HTTPClient }

func (c steady) Do(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	return c.HTTPClient.Do(req)
}

// header is one of the answer's.
func (s *streamed) header(name string) string {
	return awsmiddleware.GetRawResponse(s.out.ResultMetadata).(*smithyhttp.Response).Header.Get(name)
}

// next is the next piece; empty at the end.
func (s *streamed) next() []byte {
	s.t.Helper()
	for e := range s.Events() {
		switch e := e.(type) {
		case *types.InvokeWithResponseStreamResponseEventMemberPayloadChunk:
			return e.Value.Payload
		case *types.InvokeWithResponseStreamResponseEventMemberInvokeComplete:
			s.done = &e.Value
		default:
			s.t.Fatalf("got %T", e)
		}
	}
	if err := s.Err(); err != nil {
		s.t.Fatal(err)
	}
	if s.done == nil {
		s.t.Fatal("no InvokeComplete")
	}
	return nil
}

// all is the rest.
func (s *streamed) all() string {
	s.t.Helper()
	var b strings.Builder
	for piece := s.next(); len(piece) > 0; piece = s.next() {
		b.Write(piece)
	}
	return b.String()
}

// log is the tail of the log.
func (s *streamed) log() string {
	s.t.Helper()
	b, err := base64.StdEncoding.DecodeString(aws.ToString(s.done.LogResult))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// TestStream has the first byte arrive while the function has yet to write
// the last.
func TestStream(t *testing.T) {
	t.Parallel()
	f := deploy(t, provided)
	s := f.stream(t.Context(), t, event{"do": "stream", "text": "first ", "seconds": 0.5})
	first := string(s.next())
	at := time.Now()
	rest := s.all()
	wrote, err := strconv.ParseInt(rest, 10, 64)
	if err != nil || first != "first " {
		t.Fatalf("got %q, %q, %v", first, rest, err)
	}
	if !at.Before(time.Unix(0, wrote)) {
		t.Errorf("the first piece came %v after the function wrote the last", at.Sub(time.Unix(0, wrote)))
	}
	if s.done.ErrorCode != nil || s.done.ErrorDetails != nil {
		t.Errorf("got %s: %s", aws.ToString(s.done.ErrorCode), aws.ToString(s.done.ErrorDetails))
	}
	if log := s.log(); !strings.Contains(log, "streamed everything: <nil>") || !strings.Contains(log, "REPORT RequestId") {
		t.Errorf("log: %s", log)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/vnd.amazon.eventstream", "X-Amzn-Remapped-Content-Type": "text/x-stream",
		"X-Amz-Executed-Version": "$LATEST",
	} {
		if got := s.header(name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// TestStreamEnds is about how an answer ends that has begun, or never does.
func TestStreamEnds(t *testing.T) {
	t.Parallel()
	f := deploy(t, provided, timeout(2))
	for _, test := range []struct {
		name    string
		event   event
		payload string // "" if it is the failure
		kind    string // errorType; "" if it is none
		message string
	}{
		{"whole", event{"do": "stream", "text": "all of it"}, "all of it", "", ""},
		{"trailer", event{"do": "stream", "text": "half of", "name": "fail"}, "half of", "Boom", "in midstream"},
		{"exit", event{"do": "stream", "text": "half of", "name": "exit"}, "half of", "Runtime.ExitError", "Runtime exited with error: exit status 3"},
		{"timeout", event{"do": "stream", "text": "half of", "name": "hang"}, "half of", "Sandbox.Timedout", "Task timed out after 2.00 seconds"},
		{"not streamed", event{"do": "echo", "value": "whole"}, `"whole"`, "", ""},
		{"error before", event{"do": "fail"}, "", "Boom", "it went wrong: ü"},
		{"exit before", event{"do": "leave", "status": 4}, "", "Runtime.ExitError", "Runtime exited with error: exit status 4"},
		{"timeout before", event{"do": "sleep", "seconds": 60}, "", "Sandbox.Timedout", "Task timed out after 2.00 seconds"},
		{"works again", event{"do": "stream", "text": "all of it"}, "all of it", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := f.stream(t.Context(), t, test.event)
			got, code, details := s.all(), aws.ToString(s.done.ErrorCode), aws.ToString(s.done.ErrorDetails)
			if test.payload == "" {
				test.payload = details
			}
			if got != test.payload {
				t.Errorf("got %q, want %q", got, test.payload)
			}
			if test.kind == "" {
				if code != "" || details != "" {
					t.Errorf("got %s: %s", code, details)
				}
				return
			}
			var e failure
			if err := json.Unmarshal([]byte(details), &e); err != nil || code != "Unhandled" {
				t.Fatalf("got %s: %q, %v", code, details, err)
			}
			if e.Type != test.kind || !strings.HasSuffix(e.Message, test.message) {
				t.Errorf("got %s: %s, want %s: %s", e.Type, e.Message, test.kind, test.message)
			}
			if !strings.Contains(s.log(), "REPORT RequestId") {
				t.Errorf("log: %s", s.log())
			}
		})
	}
}

// TestStreamSlowReader: a client that takes nothing for a while holds up its
// function, and nobody else.
func TestStreamSlowReader(t *testing.T) {
	t.Parallel()
	f := deploy(t, provided, memory(1769)) // one core
	const size = 16 << 20
	s := f.stream(t.Context(), t, event{"do": "stream", "text": "first", "size": size})
	got := len(s.next())
	for range 20 {
		f.do(t, event{"do": "state"}, nil)
	}
	id, _ := awsmiddleware.GetRequestIDMetadata(s.out.ResultMetadata)
	if log := strings.Join(logLines(t, f, id), "\n"); strings.Contains(log, "streamed everything") {
		t.Errorf("the function was not held up: %s", log)
	}
	if got += len(s.all()); got != size+len("first") {
		t.Errorf("got %d bytes, want %d", got, size+len("first"))
	}
	if !strings.Contains(s.log(), "streamed everything: <nil>") {
		t.Errorf("log: %s", s.log())
	}
}

// TestStreamClientGone: a client that goes away does not stop its function.
func TestStreamClientGone(t *testing.T) {
	t.Parallel()
	f := deploy(t, provided, memory(1769)) // one core
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := f.stream(ctx, t, event{"do": "stream", "text": "first", "size": 32 << 20})
	s.next()
	id, _ := awsmiddleware.GetRequestIDMetadata(s.out.ResultMetadata)
	cancel()
	_ = s.Close() // the connection is in the middle of an answer
	eventually(t, "the function has run to its end", func() bool {
		log := strings.Join(logLines(t, f, id), "\n")
		return strings.Contains(log, "streamed everything: <nil>") && strings.Contains(log, "REPORT RequestId: "+id)
	})
	var state struct{ Count int }
	f.do(t, event{"do": "state"}, &state)
	if state.Count != 1 {
		t.Errorf("count %d", state.Count)
	}
}

// TestStreamLarge streams as much as is allowed, and more, and looks at what
// it costs in memory. It runs while no other test does.
func TestStreamLarge(t *testing.T) {
	// One core; on a busy machine 200 MiB take their time.
	f := deploy(t, provided, memory(1769), timeout(300))
	for _, test := range []struct {
		name       string
		size, want int
		code       string
	}{
		{"largest", 200 << 20, 200 << 20, ""},
		{"one byte more", 200<<20 + 1, 200 << 20, "Unhandled"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := resident(t, shared.PID(), "VmRSS")
			forgetPeak(t, shared.PID())
			begun := time.Now()
			s := f.stream(t.Context(), t, event{"do": "stream", "size": test.size})
			got := 0
			for piece := s.next(); len(piece) > 0; piece = s.next() {
				got += len(piece)
			}
			took := time.Since(begun)
			grown := resident(t, shared.PID(), "VmHWM") - before
			t.Logf("%d MB in %v, %d MB/s; hearth grew by %d MB\n%s", got>>20, took, int(float64(got>>20)/took.Seconds()), grown>>10, s.log())
			if got != test.want || aws.ToString(s.done.ErrorCode) != test.code {
				t.Errorf("got %d bytes, %q, want %d, %q", got, aws.ToString(s.done.ErrorCode), test.want, test.code)
			}
			const wantDetails = `{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"Response payload size exceeded maximum allowed payload size (209715200 bytes)."}`
			if details := aws.ToString(s.done.ErrorDetails); test.code != "" && details != wantDetails {
				t.Errorf("details: %s", details)
			}
			if grown > 64<<10 {
				t.Errorf("hearth grew by %d KiB", grown)
			}
			m := regexp.MustCompile(`Max Memory Used: (\d+) MB`).FindStringSubmatch(s.log())
			if m == nil {
				t.Fatalf("log: %s", s.log())
			}
			if used, _ := strconv.Atoi(m[1]); used > 64 {
				t.Errorf("the function's sandbox used %d MB", used)
			}
		})
	}
}

// resident is a process's memory, in KiB.
func resident(t *testing.T, pid int, field string) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(field + `:\s+(\d+) kB`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("no %s in %s", field, b)
	}
	kb, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kb
}

// forgetPeak makes VmHWM what is in use now.
func forgetPeak(t *testing.T, pid int) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		t.Fatal(err)
	}
}

// TestNodeStreams is about what the managed runtime offers to handlers.
func TestNodeStreams(t *testing.T) {
	t.Parallel()
	f := deploy(t, node, archive(harness.Zip(t, map[string]string{"index.js": `
exports.handler = awslambda.streamifyResponse(async (event, out) => {
  if (event.page) out = awslambda.HttpResponseStream.from(out, { statusCode: 201, headers: { x: 'y' } });
  else out.setContentType('text/x-parts');
  for (const part of event.parts) {
    out.write(part);
    if (event.pause) await new Promise((resolve) => setTimeout(resolve, event.pause));
  }
  if (event.fail) throw new TypeError(event.fail);
  if (event.size) {
    const block = Buffer.alloc(65536, 'x');
    for (let left = event.size; left > 0; left -= block.length) {
      if (!out.write(block.subarray(0, Math.min(left, block.length)))) await new Promise((resolve) => out.once('drain', resolve));
    }
  }
  if (event.stamp) out.write(String(Date.now()));
  out.end();
});`})))
	for _, test := range []struct {
		name           string
		event          event
		contentType    string
		want, wantCode string
	}{
		{"parts", event{"parts": []string{"one ", "zwei ü"}}, "text/x-parts", "one zwei ü", ""},
		{"page", event{"page": true, "parts": []string{"ab"}}, "application/vnd.awslambda.http-integration-response",
			`{"statusCode":201,"headers":{"x":"y"}}` + "\x00\x00\x00\x00\x00\x00\x00\x00ab", ""},
		{"failure", event{"parts": []string{"one "}, "pause": 10, "fail": "broken"}, "text/x-parts", "one ", "Unhandled"},
		{"large", event{"parts": []string{}, "size": 8 << 20}, "text/x-parts", strings.Repeat("x", 8<<20), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := f.stream(t.Context(), t, test.event)
			if got := s.all(); got != test.want {
				t.Errorf("got %d bytes %q, want %q", len(got), clip([]byte(got)), clip([]byte(test.want)))
			}
			if got := aws.ToString(s.done.ErrorCode); got != test.wantCode {
				t.Errorf("got %q, want %q", got, test.wantCode)
			}
			if details := aws.ToString(s.done.ErrorDetails); test.wantCode != "" && !strings.Contains(details, `"errorType":"TypeError","errorMessage":"broken"`) {
				t.Errorf("details: %s", details)
			}
			if got := s.header("X-Amzn-Remapped-Content-Type"); got != test.contentType {
				t.Errorf("type %q, want %q", got, test.contentType)
			}
		})
	}
	s := f.stream(t.Context(), t, event{"parts": []string{"first "}, "pause": 500, "stamp": true})
	first := string(s.next())
	at := time.Now().UnixMilli()
	wrote, err := strconv.ParseInt(s.all(), 10, 64)
	if err != nil || first != "first " || at >= wrote {
		t.Errorf("%q came %d ms after the last was written, %v", first, at-wrote, err)
	}
}
