package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream/eventstreamapi"

	"hearth/internal/awserr"
	"hearth/internal/invocation"
)

const (
	// streamOperation answers with a stream of events.
	streamOperation = "InvokeWithResponseStream"
	eventStreamType = "application/vnd.amazon.eventstream"
	// pieceTime is how long a client may take for one piece of an answer. It
	// is as much as a function may run: who lets one wait for longer is gone.
	pieceTime = 15 * time.Minute
	// maxErrorDetails bounds ErrorDetails: SDKs refuse events over 16 MB, and
	// JSON may take six bytes for one. The whole failure is in a chunk, if
	// nothing else is.
	maxErrorDetails = 256 << 10
)

// invokeStream serves InvokeWithResponseStream.
func (s *Server) invokeStream(c *call, reference string, query url.Values, body []byte) error {
	switch kind := c.r.Header.Get("X-Amz-Invocation-Type"); kind {
	case "", "RequestResponse", "DryRun":
	default:
		return validationError("ValidationException", problem("'"+kind+"'", "invocationType",
			"Member must satisfy enum value set: [RequestResponse, DryRun]"))
	}
	ref, req, err := s.readInvoke(c, reference, query, body)
	if err != nil || req == nil {
		return err
	}
	events := &eventWriter{c: c, traceID: req.TraceID, control: http.NewResponseController(c.w), encoder: eventstream.NewEncoder()}
	defer events.end()
	// A function runs to its end even if its caller has gone.
	ctx := context.WithoutCancel(c.r.Context())
	res, _, err := s.cfg.Invoker.InvokeStream(ctx, ref.Account, ref.Name, ref.Qualifier, req, events)
	switch {
	case err != nil && !events.begun:
		return err
	case err != nil:
		// It is too late for a status.
		s.cfg.Log.LogAttrs(ctx, slog.LevelError, "invoke failed in the middle of its answer",
			slog.String("requestId", c.id), slog.Any("error", err))
		fault := awserr.Internal()
		err = events.complete(completion{ErrorCode: fault.Code, ErrorDetails: fault.Message})
	default:
		err = events.finish(req, res)
	}
	if err != nil {
		s.cfg.Log.LogAttrs(ctx, slog.LevelDebug, "client went away before the end of its answer",
			slog.String("requestId", c.id), slog.Any("error", err))
	}
	return nil
}

// eventWriter is the Sink that writes events: PayloadChunk with the function's
// bytes as they are, then one InvokeComplete.
type eventWriter struct {
	c       *call
	traceID string
	control *http.ResponseController
	encoder *eventstream.Encoder
	begun   bool
}

// Begin writes the head of the answer. Its content type is the events'; what
// is in them is of the function's type, under the name that AWS gives it.
func (w *eventWriter) Begin(head invocation.StreamHead) {
	w.begun = true
	h := w.c.w.Header()
	h["Content-Type"] = []string{eventStreamType}
	h["X-Amz-Executed-Version"] = []string{head.Version}
	h["X-Amzn-Trace-Id"] = []string{w.traceID}
	h["X-Amzn-Remapped-Content-Type"] = []string{remapped(head.ContentType)}
	w.c.w.WriteHeader(http.StatusOK)
	_ = w.flush() // a client that is gone is noticed when the first piece comes
}

// remapped is the function's content type as a header may hold it.
func remapped(contentType string) string {
	if contentType == "" {
		return "application/octet-stream"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, contentType)
}

// Write writes a piece of the answer, and returns when the network has taken
// it.
func (w *eventWriter) Write(b []byte) (int, error) {
	if err := w.event("PayloadChunk", "application/octet-stream", b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// completion is the event that ends an answer. AWS leaves out what is empty.
type completion struct {
	ErrorCode    string `json:",omitempty"`
	ErrorDetails string `json:",omitempty"`
	LogResult    string `json:",omitempty"`
}

// finish ends an answer. A failure before the first byte is in a chunk, too,
// as on AWS: it is what Invoke would have answered.
func (w *eventWriter) finish(req *invocation.Request, res *invocation.Response) error {
	done := completion{ErrorCode: res.FunctionError}
	if res.FunctionError != "" {
		details := res.Payload[:min(len(res.Payload), maxErrorDetails)]
		done.ErrorDetails = strings.ToValidUTF8(string(details), "")
	}
	if req.Tail {
		done.LogResult = logResult(res.Log)
	}
	if !w.begun {
		w.Begin(invocation.StreamHead{ContentType: "application/json", Version: res.Version})
		if len(res.Payload) > 0 {
			if _, err := w.Write(res.Payload); err != nil {
				return err
			}
		}
	}
	return w.complete(done)
}

func (w *eventWriter) complete(done completion) error {
	b, err := json.Marshal(done)
	if err != nil {
		panic(err) // strings only
	}
	return w.event("InvokeComplete", "application/json", b)
}

// event writes one event. The order of its headers is AWS's.
func (w *eventWriter) event(kind, contentType string, payload []byte) error {
	// Writers without deadlines, as tests have, are none the worse.
	_ = w.control.SetWriteDeadline(time.Now().Add(pieceTime))
	err := w.encoder.Encode(w.c.w, eventstream.Message{
		Headers: eventstream.Headers{
			{Name: eventstreamapi.EventTypeHeader, Value: eventstream.StringValue(kind)},
			{Name: eventstreamapi.ContentTypeHeader, Value: eventstream.StringValue(contentType)},
			{Name: eventstreamapi.MessageTypeHeader, Value: eventstream.StringValue(eventstreamapi.EventMessageType)},
		},
		Payload: payload,
	})
	if err != nil {
		return err
	}
	return w.flush()
}

func (w *eventWriter) flush() error { return w.control.Flush() }

// end takes the deadline away from the connection's next request.
func (w *eventWriter) end() { _ = w.control.SetWriteDeadline(time.Time{}) }
