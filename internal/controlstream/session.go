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
	// Logs is called, from one goroutine, with each log record. It must not
	// block for long: until it returns nothing else is received. It must not
	// call Close.
	Logs func(LogRecord)
}

// Session is the worker's side of a control stream. Assign, Init, Invoke and
// WaitDone are called in that order, the last two again and again; Shutdown,
// Close and Closed at any time. When a call's context ends, or the peer
// breaks the protocol, the session is over: the framing is lost with it.
type Session struct {
	conn net.Conn

	sendMu sync.Mutex
	out    frameWriter

	controlMu sync.Mutex
	invokeMu  sync.Mutex
	current   string      // request id of the invoke under way
	early     *Done       // received by DoneSoon, for WaitDone
	soon      *time.Timer // DoneSoon's

	in receiver

	expiry expiry

	failMu sync.Mutex
	cause  error
	closed chan struct{}
}

// Open takes over the connection that a hearth-init has dialled and waits for
// its Hello. On error the connection is closed.
func Open(ctx context.Context, conn net.Conn, opt Options) (*Session, Hello, error) {
	s := &Session{conn: conn, out: frameWriter{w: conn}, closed: make(chan struct{})}
	s.in.init(bufio.NewReaderSize(conn, readBuffer), opt.Logs)
	hello, err := s.hello(ctx)
	if err != nil {
		s.fail(err)
		return nil, Hello{}, fmt.Errorf("open control stream: %w", s.failed(err))
	}
	go func() { defer close(s.in.ended); s.fail(s.in.run()) }()
	return s, hello, nil
}

func (s *Session) hello(ctx context.Context) (Hello, error) {
	defer s.watch(ctx)()
	fr, err := s.in.frames.next()
	if err != nil {
		return Hello{}, err
	}
	if fr.kind != frameHello {
		return Hello{}, fmt.Errorf("%w: frame of type %d before hello", ErrProtocol, fr.kind)
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
	got, err := s.ask(ctx, frameAssign, frameAssigned, header)
	if err != nil {
		return fmt.Errorf("assign: %w", err)
	}
	if len(got.header) > 0 {
		return fmt.Errorf("assign: refused by hearth-init: %q", got.header)
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
	got, err := s.ask(ctx, frameInit, frameInitDone, appendMillis(nil, limit))
	if err != nil {
		return nil, fmt.Errorf("init: %w", err)
	}
	report, err := decodeInitReport(got.header)
	if err != nil {
		return nil, fmt.Errorf("init: %w", s.failed(err))
	}
	report.Error = got.body
	return report, nil
}

// Shutdown asks hearth-init to end every process, within the budget for those
// that may end by themselves, and waits until it has.
func (s *Session) Shutdown(ctx context.Context, budget time.Duration) error {
	if _, err := s.ask(ctx, frameShutdown, frameStopped, appendMillis(nil, budget)); err != nil {
		return fmt.Errorf("shut down: %w", err)
	}
	return nil
}

// ask sends one control frame and waits for its answer.
func (s *Session) ask(ctx context.Context, kind, want frameType, header []byte) (reply, error) {
	s.controlMu.Lock()
	defer s.controlMu.Unlock()
	defer s.watch(ctx)()
	s.in.expectReply(want)
	s.sendMu.Lock()
	err := s.out.finish(kind, append(s.out.begin(), header...), nil)
	s.sendMu.Unlock()
	if err != nil {
		return reply{}, s.failed(err)
	}
	select {
	case got := <-s.in.replies:
		return got, nil
	case <-s.closed:
		return reply{}, s.reason()
	}
}

// Close ends the session and its connection, and waits for its goroutine.
func (s *Session) Close() error {
	s.fail(ErrClosed)
	<-s.in.ended
	return nil
}

// Closed is closed once the connection is gone, whoever ended it.
func (s *Session) Closed() <-chan struct{} { return s.closed }

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
	defer s.failMu.Unlock()
	if s.cause != nil {
		return
	}
	s.cause = cause
	s.expiry.stop()
	_ = s.conn.Close() // whatever was under way is lost anyway
	close(s.closed)
}

// reason is why the session has ended.
func (s *Session) reason() error {
	s.failMu.Lock()
	defer s.failMu.Unlock()
	return s.cause
}

// failed ends the session because of err and returns the root cause.
func (s *Session) failed(err error) error {
	s.fail(err)
	return s.reason()
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
