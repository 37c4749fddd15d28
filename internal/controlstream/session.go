package controlstream

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/yamux"
)

// ErrClosed is returned once a session was closed by its owner.
var ErrClosed = errors.New("control stream closed")

// ErrBusy says that an invoke was sent before the one before was done.
var ErrBusy = errors.New("an invoke is under way")

// initGrace is what hearth-init gets on top of the time limit of an init
// phase, which it enforces itself, to kill the runtime and report.
const initGrace = 2 * time.Second

// Options are the worker's.
type Options struct {
	// Logs is called, from one goroutine, with each log record. While it does
	// not return, the function is held up at its next write. It must not call
	// Close.
	Logs func(LogRecord)
}

// Session is the worker's side of a control stream. Assign, Init, Invoke and
// WaitDone are called in that order, the last two again and again; Shutdown,
// Close and Closed at any time. When a call's context ends, or the peer
// breaks the protocol, the session is over: the framing is lost with it.
type Session struct {
	mux  *yamux.Session
	logs *logReceiver

	controlMu sync.Mutex
	control   stream

	invokeMu sync.Mutex
	invoke   stream
	current  string // request id of the invoke under way

	failMu sync.Mutex
	cause  error
}

// stream is one yamux stream with its framing.
type stream struct {
	raw *yamux.Stream
	frameReader
	frameWriter
}

func newStream(raw *yamux.Stream) stream {
	return stream{
		raw:         raw,
		frameReader: frameReader{r: bufio.NewReaderSize(raw, 2<<10)},
		frameWriter: frameWriter{w: raw},
	}
}

// Open takes over the connection that a hearth-init has dialled and waits for
// its Hello. On error the connection is closed.
func Open(ctx context.Context, conn net.Conn, opt Options) (*Session, Hello, error) {
	mux, err := yamux.Client(&strictReader{coalescer: *newCoalescer(conn)}, muxConfig())
	if err != nil {
		return nil, Hello{}, errors.Join(fmt.Errorf("open control stream: %w", err), conn.Close())
	}
	s := &Session{mux: mux}
	hello, err := s.open(ctx, opt)
	if err != nil {
		return nil, Hello{}, errors.Join(fmt.Errorf("open control stream: %w", err), s.Close())
	}
	return s, hello, nil
}

func (s *Session) open(ctx context.Context, opt Options) (Hello, error) {
	defer s.watch(ctx)()
	for _, to := range []*stream{&s.control, &s.invoke} {
		raw, err := s.mux.OpenStream()
		if err != nil {
			return Hello{}, s.failed(err)
		}
		*to = newStream(raw)
	}
	raw, err := s.mux.OpenStream()
	if err != nil {
		return Hello{}, s.failed(err)
	}
	s.logs = newLogReceiver(raw, opt.Logs, s.fail)
	fr, err := s.control.next(frameHello)
	if err != nil {
		return Hello{}, s.failed(err)
	}
	var hello Hello
	if err := json.Unmarshal(fr.header, &hello); err != nil {
		return Hello{}, fmt.Errorf("%w: hello: %w", ErrProtocol, err)
	}
	if hello.Protocol != Version {
		return Hello{}, fmt.Errorf("%w: peer speaks version %d, want %d: hearth and hearth-init must come from one build",
			ErrProtocol, hello.Protocol, Version)
	}
	return hello, nil
}

// Assign makes the sandbox an environment of a function. Once it returns the
// mounts are bound.
func (s *Session) Assign(ctx context.Context, a *Assignment) error {
	header, err := json.Marshal(a)
	if err != nil {
		return fmt.Errorf("assign: %w", err)
	}
	fr, err := s.ask(ctx, frameAssign, frameAssigned, func(b []byte) []byte { return append(b, header...) })
	if err != nil {
		return fmt.Errorf("assign: %w", err)
	}
	if len(fr.header) > 0 {
		return fmt.Errorf("assign: refused by hearth-init: %q", fr.header)
	}
	return nil
}

// Init starts the runtime and waits until it asks for its first event or
// fails. The deadline of ctx is the time limit of the phase: hearth-init
// keeps it and reports StatusTimeout.
func (s *Session) Init(ctx context.Context) (*InitReport, error) {
	limit := time.Duration(0) // none
	if deadline, ok := ctx.Deadline(); ok {
		limit = max(time.Until(deadline), time.Millisecond)
		var cancel context.CancelFunc
		ctx, cancel = withGrace(ctx, initGrace)
		defer cancel()
	}
	s.controlMu.Lock()
	defer s.controlMu.Unlock()
	defer s.watch(ctx)()
	fr, err := s.askLocked(frameInit, frameInitDone, func(b []byte) []byte { return appendMillis(b, limit) })
	if err != nil {
		return nil, fmt.Errorf("init: %w", err)
	}
	report, err := decodeInitReport(fr.header)
	if err == nil {
		report.Error, err = s.control.body(fr, nil)
	}
	if err != nil {
		return nil, fmt.Errorf("init: %w", s.failed(err))
	}
	return report, nil
}

// Invoke hands the runtime an event and returns its answer, or how it failed.
// Its time limit is in.DeadlineMs; that of ctx should be somewhat later.
// WaitDone must follow.
func (s *Session) Invoke(ctx context.Context, in *Invoke, payload []byte) (*Response, []byte, error) {
	s.invokeMu.Lock()
	defer s.invokeMu.Unlock()
	if s.current != "" {
		return nil, nil, fmt.Errorf("invoke: %w", ErrBusy)
	}
	defer s.watch(ctx)()
	if err := s.invoke.finish(frameInvoke, appendInvoke(s.invoke.begin(), in), payload); err != nil {
		return nil, nil, fmt.Errorf("invoke: %w", s.failed(err))
	}
	s.current = in.RequestID
	resp, answer, err := s.response()
	if err != nil {
		return nil, nil, fmt.Errorf("invoke: %w", s.failed(err))
	}
	return resp, answer, nil
}

func (s *Session) response() (*Response, []byte, error) {
	fr, err := s.invoke.next(frameResponse)
	if err != nil {
		return nil, nil, err
	}
	resp, err := decodeResponse(fr.header, s.current)
	if err != nil {
		return nil, nil, err
	}
	answer, err := s.invoke.body(fr, nil)
	if fr.body > keepBuffer {
		s.invoke.raw.Shrink() // or yamux would keep the memory
	}
	return resp, answer, err
}

// WaitDone returns when the runtime has asked for the next event or has
// ended, and every log byte up to then was given to Options.Logs.
func (s *Session) WaitDone(ctx context.Context) (*Done, error) {
	s.invokeMu.Lock()
	defer s.invokeMu.Unlock()
	defer s.watch(ctx)()
	done, err := s.done()
	if err != nil {
		return nil, fmt.Errorf("wait for the end of the invoke: %w", s.failed(err))
	}
	s.current = ""
	return done, nil
}

func (s *Session) done() (*Done, error) {
	fr, err := s.invoke.next(frameDone)
	if err != nil {
		return nil, err
	}
	done, err := decodeDone(fr.header, s.current)
	if err != nil {
		return nil, err
	}
	if done.Init == nil && fr.body > 0 {
		return nil, fmt.Errorf("%w: body without init report", ErrProtocol)
	}
	if done.Init != nil {
		if done.Init.Error, err = s.invoke.body(fr, nil); err != nil {
			return nil, err
		}
	}
	return done, s.logs.wait(done.LogBytes)
}

// Shutdown asks hearth-init to end every process, within the budget for those
// that may end by themselves, and waits until it has.
func (s *Session) Shutdown(ctx context.Context, budget time.Duration) error {
	_, err := s.ask(ctx, frameShutdown, frameStopped, func(b []byte) []byte { return appendMillis(b, budget) })
	if err != nil {
		return fmt.Errorf("shut down: %w", err)
	}
	return nil
}

// ask sends one control frame and reads its answer.
func (s *Session) ask(ctx context.Context, kind, want frameType, header func([]byte) []byte) (frame, error) {
	s.controlMu.Lock()
	defer s.controlMu.Unlock()
	defer s.watch(ctx)()
	return s.askLocked(kind, want, header)
}

func (s *Session) askLocked(kind, want frameType, header func([]byte) []byte) (frame, error) {
	if err := s.control.finish(kind, header(s.control.begin()), nil); err != nil {
		return frame{}, s.failed(err)
	}
	fr, err := s.control.next(want)
	if err != nil {
		return frame{}, s.failed(err)
	}
	return fr, nil
}

// Close ends the session and its connection, and waits for its goroutines.
func (s *Session) Close() error {
	s.fail(ErrClosed)
	if s.logs != nil {
		<-s.logs.ended
	}
	return nil
}

// Closed is closed once the connection is gone, whoever ended it.
func (s *Session) Closed() <-chan struct{} { return s.mux.CloseChan() }

// watch ends the session when ctx ends before the returned function is
// called.
func (s *Session) watch(ctx context.Context) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	unhook := context.AfterFunc(ctx, func() { s.fail(context.Cause(ctx)) })
	return func() { unhook() }
}

// fail ends the session for the given cause; the first one counts.
func (s *Session) fail(cause error) {
	s.failMu.Lock()
	if s.cause == nil {
		s.cause = cause
	}
	s.failMu.Unlock()
	_ = s.mux.Close() // returns nil always
}

// failed ends the session because of err and returns the root cause.
func (s *Session) failed(err error) error {
	s.fail(err)
	s.failMu.Lock()
	defer s.failMu.Unlock()
	return s.cause
}

// withGrace returns a context that ends with ctx if that is cancelled, and
// the given time after ctx's deadline.
func withGrace(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	deadline, _ := ctx.Deadline()
	late, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline.Add(grace))
	unhook := context.AfterFunc(ctx, func() {
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			cancel()
		}
	})
	return late, func() { unhook(); cancel() }
}
