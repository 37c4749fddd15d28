package api

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"time"

	"hearth/internal/functionurl"
	"hearth/internal/invocation"
)

// What can be wrong with a stream beside its metadata.
var (
	errMidway = errors.New("the function failed in the middle of it")
	errNoBody = errors.New("it ends before its body begins")
)

// streamURL gives a function's answer to the client as it comes.
func (s *Server) streamURL(ctx context.Context, u *urlCall, req *invocation.Request) error {
	w := &urlWriter{s: s, u: u, control: http.NewResponseController(u.w)}
	defer func() { _ = w.control.SetWriteDeadline(time.Time{}) }() // the connection's next request has its own
	res, _, err := s.cfg.Invoker.InvokeStream(ctx, u.ref.Account, u.ref.Name, u.ref.Qualifier, req, w)
	failed := err != nil || res.FunctionError != ""
	switch {
	case w.begun && failed:
		s.logURL(ctx, u, cmp.Or(err, errMidway))
		// It is too late for a status: a client sees from the missing end that
		// this is not all.
		panic(http.ErrAbortHandler)
	case w.begun:
		return nil
	case err != nil:
		return err
	case !failed:
		if w.malformed == nil {
			w.malformed = errNoBody
		}
		s.logURL(ctx, u, w.malformed)
	}
	s.badGateway(u)
	return nil
}

// urlWriter is the Sink that writes a function's stream as an HTTP answer.
type urlWriter struct {
	s       *Server
	u       *urlCall
	control *http.ResponseController
	// prelude is not nil while the answer's metadata is being read.
	prelude *functionurl.Prelude
	// begun says that the status is out; malformed why it never will be.
	begun     bool
	malformed error
}

// Begin takes what is known of the answer. Without metadata that is enough for
// its head; what a function answers that does not stream is passed on as it is,
// as AWS does in this mode.
func (w *urlWriter) Begin(head invocation.StreamHead) {
	if head.ContentType == invocation.HTTPIntegration {
		w.prelude = new(functionurl.Prelude)
		return
	}
	w.head(functionurl.Plain(head.ContentType))
	_ = w.control.Flush() // a client that is gone is noticed when the first piece comes
}

// Write passes a piece on, and returns when the network has taken it.
func (w *urlWriter) Write(b []byte) (int, error) {
	piece := b
	if w.prelude != nil {
		a, err := w.prelude.Take(b)
		if err != nil {
			w.malformed = err
			return 0, err
		}
		if a == nil {
			return len(b), nil
		}
		w.prelude, piece = nil, a.Body
		w.head(a)
	}
	_ = w.control.SetWriteDeadline(time.Now().Add(pieceTime))
	if len(piece) > 0 {
		if _, err := w.u.w.Write(piece); err != nil {
			return 0, err
		}
	}
	if err := w.control.Flush(); err != nil {
		return 0, err
	}
	return len(b), nil
}

func (w *urlWriter) head(a *functionurl.Answer) {
	w.begun = true
	body := a.Body
	w.s.guardAnswer(w.u, a)
	a.Body = body // whether it may have one is net/http's to say here
	maps.Copy(w.u.w.Header(), a.Header)
	w.u.w.WriteHeader(a.Status)
}
