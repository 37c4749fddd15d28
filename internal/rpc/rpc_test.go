package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/ca"
	"hearth/internal/environment"
	"hearth/internal/rpc"
)

type question struct {
	Text  string
	Bytes []byte
	At    time.Time
}

type reply struct{ Text string }

const (
	ask   rpc.Method[question, reply] = "test.Test/Ask"
	count rpc.Stream[question, reply] = "test.Test/Count"
)

// pair is a server with a client of a role.
type pair struct {
	server *rpc.Server
	conn   *rpc.Conn
	done   chan error
}

func node(t *testing.T, a *ca.Authority, name string, role ca.Role) *ca.Node {
	t.Helper()
	key, request, err := ca.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := a.Sign(request, ca.Identity{Zone: "az1", Name: name, Roles: []ca.Role{role}}, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := ca.Save(dir, key, cert, a.Certificate()); err != nil {
		t.Fatal(err)
	}
	n, err := ca.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func connect(t *testing.T, client ca.Role, register func(*rpc.Server)) *pair {
	t.Helper()
	a, err := ca.NewAuthority("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	p := &pair{server: rpc.NewServer(node(t, a, "server", ca.Worker), slog.New(slog.DiscardHandler)), done: make(chan error, 1)}
	register(p.server)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { p.done <- p.server.Serve(l) }()
	if p.conn, err = rpc.Dial(node(t, a, "client", client), l.Addr().String(), ca.Worker); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.conn.Close()
		p.server.Stop()
		if err := <-p.done; err != nil {
			t.Error(err)
		}
	})
	return p
}

func TestCall(t *testing.T) {
	at := time.Now().UTC().Truncate(time.Microsecond)
	var caller ca.Identity
	p := connect(t, ca.Frontend, func(s *rpc.Server) {
		rpc.Handle(s, ask, []ca.Role{ca.Frontend}, func(ctx context.Context, q *question) (*reply, error) {
			caller, _ = rpc.Caller(ctx)
			return &reply{fmt.Sprint(q.Text, len(q.Bytes), q.At.Equal(at))}, nil
		})
	})
	// As large as the largest payload.
	res, err := rpc.Call(t.Context(), p.conn, ask, &question{"x", make([]byte, 6<<20), at})
	if err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprint("x", 6<<20, true); res.Text != want {
		t.Errorf("got %q, want %q", res.Text, want)
	}
	if caller.Name != "client" || !caller.Has(ca.Frontend) {
		t.Errorf("the caller is %+v", caller)
	}
}

func TestRolesAreKept(t *testing.T) {
	called := false
	p := connect(t, ca.Worker, func(s *rpc.Server) {
		rpc.Handle(s, ask, []ca.Role{ca.Frontend, ca.Assignment}, func(context.Context, *question) (*reply, error) {
			called = true
			return nil, nil
		})
	})
	_, err := rpc.Call(t.Context(), p.conn, ask, &question{})
	if sent, is := rpc.Unreachable(err); !is || sent || called {
		t.Errorf("got %v, called %v; want a refusal", err, called)
	}
	_, err = rpc.Call(t.Context(), p.conn, rpc.Method[question, reply]("test.Test/Other"), &question{})
	if sent, is := rpc.Unreachable(err); !is || sent {
		t.Errorf("unknown method: got %v", err)
	}
}

func TestErrorsCrossTheWire(t *testing.T) {
	until := time.Now().Add(time.Minute).UTC().Truncate(time.Microsecond)
	var answer error
	p := connect(t, ca.Frontend, func(s *rpc.Server) {
		rpc.Handle(s, ask, []ca.Role{ca.Frontend}, func(context.Context, *question) (*reply, error) { return nil, answer })
	})
	call := func() error {
		_, err := rpc.Call(t.Context(), p.conn, ask, &question{})
		return err
	}
	for _, want := range []error{
		environment.ErrBusy, environment.ErrGone, environment.ErrStale, environment.ErrAway, environment.ErrUnit,
		environment.ErrNoCapacity, environment.ErrNotLeading, environment.ErrUnregistered, environment.ErrFenced,
	} {
		answer = fmt.Errorf("with more: %w", want)
		if err := call(); !errors.Is(err, want) {
			t.Errorf("%v came as %v", want, err)
		}
	}
	answer = environment.ErrBusy
	if err := call(); !errors.Is(err, environment.ErrNotAccepted) || errors.Is(err, environment.ErrGone) {
		t.Errorf("busy came as %v", err)
	}
	answer = awserr.Throttled("why")
	if e, ok := awserr.As(call()); !ok || e.Code != "TooManyRequestsException" || e.Reason != "why" {
		t.Errorf("AWS's error came as %v", e)
	}
	answer = &environment.BackoffError{Payload: []byte("p"), Until: until}
	if e, ok := errors.AsType[*environment.BackoffError](call()); !ok || string(e.Payload) != "p" || !e.Until.Equal(until) {
		t.Errorf("a back-off came as %v", e)
	}
	answer = errors.New("something")
	err := call()
	if _, is := rpc.Unreachable(err); is || err.Error() != "something" {
		t.Errorf("another error came as %v", err)
	}
}

func TestStream(t *testing.T) {
	ended := make(chan struct{})
	p := connect(t, ca.Frontend, func(s *rpc.Server) {
		rpc.HandleStream(s, count, []ca.Role{ca.Frontend}, func(ctx context.Context, q *question, send func(*reply) error) error {
			defer close(ended)
			for i := range 3 {
				if err := send(&reply{fmt.Sprint(q.Text, i)}); err != nil {
					return err
				}
			}
			if q.Text == "wait" {
				<-ctx.Done()
			}
			return nil
		})
	})
	r, err := rpc.Open(t.Context(), p.conn, count, &question{Text: "n"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if res, err := r.Receive(); err != nil || res.Text != fmt.Sprint("n", i) {
			t.Fatalf("answer %d: %v, %v", i, res, err)
		}
	}
	if _, err := r.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
	r.Close()
	<-ended

	// A client that goes ends the handler.
	ended = make(chan struct{})
	if r, err = rpc.Open(t.Context(), p.conn, count, &question{Text: "wait"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Receive(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	<-ended
}

// A fault in a handler must not end the process, and what the peer may have done is
// not known.
func TestPanic(t *testing.T) {
	p := connect(t, ca.Frontend, func(s *rpc.Server) {
		rpc.Handle(s, ask, []ca.Role{ca.Frontend}, func(context.Context, *question) (*reply, error) { panic("fault") })
	})
	_, err := rpc.Call(t.Context(), p.conn, ask, &question{})
	if sent, is := rpc.Unreachable(err); !is || !sent {
		t.Errorf("got %v, want that it was sent and not answered", err)
	}
}

func TestUnreachable(t *testing.T) {
	begun := make(chan struct{})
	p := connect(t, ca.Frontend, func(s *rpc.Server) {
		rpc.Handle(s, ask, []ca.Role{ca.Frontend}, func(ctx context.Context, _ *question) (*reply, error) {
			close(begun)
			<-ctx.Done()
			return nil, ctx.Err()
		})
	})
	result := make(chan error, 1)
	go func() {
		_, err := rpc.Call(context.Background(), p.conn, ask, &question{})
		result <- err
	}()
	<-begun
	p.server.Stop()
	if sent, is := rpc.Unreachable(<-result); !is || !sent {
		t.Error("a call that was under way when its peer died counts as not sent")
	}
	_, err := rpc.Call(t.Context(), p.conn, ask, &question{})
	if sent, is := rpc.Unreachable(err); !is || sent {
		t.Errorf("a dead peer: %v, want that nothing was sent", err)
	}
}
