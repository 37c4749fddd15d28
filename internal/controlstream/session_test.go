package controlstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hearth/internal/invocation"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a Handler whose function returns its event.
type echo struct {
	guest    *Guest
	assigned chan *Assignment
	logs     [][]byte      // written during each invoke
	block    chan struct{} // if not nil, invokes wait for it
	expired  chan string   // gets the ids of requests whose time is up
	silent   atomic.Bool   // invokes get no answer
}

func (e *echo) Assign(a *Assignment) error {
	if a.FunctionName == "refused" {
		return errors.New("no such mount")
	}
	e.assigned <- a
	return nil
}

func (e *echo) Init(limit time.Duration) *InitReport {
	return &InitReport{Status: StatusError, Duration: limit, ErrorType: "T", Error: []byte("why")}
}

func (e *echo) Invoke(in *Invoke, payload []byte) error {
	if e.block != nil {
		<-e.block
	}
	if e.silent.Load() {
		return nil
	}
	if err := e.guest.Respond(&Response{RequestID: in.RequestID, Status: StatusSuccess}, payload); err != nil {
		return err
	}
	var records []LogRecord
	for _, line := range e.logs {
		records = append(records, LogRecord{RequestID: in.RequestID, Time: time.Unix(1, 2), Data: line})
	}
	if err := e.guest.Log(records); err != nil {
		return err
	}
	done := &Done{RequestID: in.RequestID, Alive: true, Duration: 5}
	if in.TraceID == "suppressed" {
		done.Init = &InitReport{Status: StatusExited, Error: []byte("again")}
	}
	return e.guest.Finish(done)
}

func (e *echo) Expire(id string) {
	if e.expired != nil {
		e.expired <- id
	}
}

func (e *echo) Credit(string, int) {}

func (e *echo) Shutdown(time.Duration) {}

// socketPair returns the two ends of a Unix socket connection.
func socketPair(t testing.TB) (net.Conn, net.Conn) {
	t.Helper()
	ln, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close(); _ = b.Close() })
	return a, b
}

// connect joins a Session and an echo.
func connect(t testing.TB, h *echo, opt Options) (*Session, <-chan error) {
	t.Helper()
	ours, theirs := socketPair(t)
	h.assigned = make(chan *Assignment, 1)
	served := make(chan error, 1)
	go func() {
		g, err := Accept(theirs, Hello{Protocol: Version, Prewarmed: true})
		if err == nil {
			h.guest = g
			err = g.Serve(h)
		}
		served <- err
	}()
	s, hello, err := Open(t.Context(), ours, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if !hello.Prewarmed {
		t.Errorf("hello: %+v", hello)
	}
	return s, served
}

func TestSession(t *testing.T) {
	var mu sync.Mutex
	var logged bytes.Buffer
	h := &echo{logs: [][]byte{[]byte("a\n"), bytes.Repeat([]byte("b"), MaxLogRecord), []byte("c\n")}}
	s, served := connect(t, h, Options{Logs: func(r LogRecord) {
		mu.Lock()
		defer mu.Unlock()
		logged.Write(r.Data)
		if want := time.Unix(1, 2); !r.Time.Equal(want) {
			t.Errorf("time %v, want %v", r.Time, want)
		}
	}})
	ctx := t.Context()
	want := &Assignment{FunctionName: "f", CustomerEnv: map[string]string{"A": "b"}, UID: 1, Mounts: []Mount{{"s", "t", true}}}
	if err := s.Assign(ctx, want); err != nil {
		t.Fatal(err)
	}
	if got := <-h.assigned; !reflect.DeepEqual(got, want) {
		t.Errorf("assignment %+v, want %+v", got, want)
	}
	limited, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	r, err := s.Init(limited)
	if err != nil || r.Status != StatusError || string(r.Error) != "why" || r.Duration < 59*time.Minute {
		t.Errorf("init: %+v, %v", r, err)
	}
	for i, size := range []int{0, 1, 100 << 10, invocation.MaxRequest, 3} {
		payload := bytes.Repeat([]byte{byte(i)}, size)
		in := &Invoke{RequestID: fmt.Sprint("id", i), TraceID: "suppressed"}
		resp, got, err := s.Invoke(ctx, in, payload)
		if err != nil || !bytes.Equal(got, payload) || resp.RequestID != in.RequestID {
			t.Fatalf("invoke %d: %+v, %d bytes, %v", size, resp, len(got), err)
		}
		if _, _, err := s.Invoke(ctx, in, nil); !errors.Is(err, ErrBusy) {
			t.Fatalf("second invoke: %v, want %v", err, ErrBusy)
		}
		done, err := s.WaitDone(ctx)
		if err != nil || !done.Alive || done.Duration != 5 || string(done.Init.Error) != "again" {
			t.Fatalf("done: %+v, %v", done, err)
		}
		mu.Lock()
		if want := (i + 1) * (MaxLogRecord + 4); logged.Len() != want {
			t.Errorf("%d log bytes at done, want %d", logged.Len(), want)
		}
		mu.Unlock()
	}
	if err := s.Shutdown(ctx, time.Second); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Errorf("served: %v", err)
	}
	if _, _, err := s.Invoke(ctx, &Invoke{RequestID: "x"}, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}

func TestAssignRefused(t *testing.T) {
	s, _ := connect(t, &echo{}, Options{})
	if err := s.Assign(t.Context(), &Assignment{FunctionName: "refused"}); err == nil {
		t.Error("no error")
	}
	if err := s.Assign(t.Context(), &Assignment{}); err == nil {
		t.Error("a second assignment was taken")
	}
}

// TestContextEnds: a call whose context ends returns at once, with the cause,
// and the session is over.
func TestContextEnds(t *testing.T) {
	h := &echo{block: make(chan struct{})}
	s, served := connect(t, h, Options{})
	cause := errors.New("function timeout")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, cause)
	defer cancel()
	if _, _, err := s.Invoke(ctx, &Invoke{RequestID: "x"}, nil); !errors.Is(err, cause) {
		t.Errorf("got %v, want %v", err, cause)
	}
	<-s.Closed()
	close(h.block)
	if err := <-served; err == nil {
		t.Error("the guest's side ended without an error")
	}
}

// TestExpiry: hearth-init is told when the time of a request is up, and not
// before; a request that is over has no time any more.
func TestExpiry(t *testing.T) {
	h := &echo{expired: make(chan string, 1)}
	s, served := connect(t, h, Options{})
	soon := func() int64 { return time.Now().Add(50 * time.Millisecond).UnixMilli() }
	if _, _, err := s.Invoke(t.Context(), &Invoke{RequestID: "over", DeadlineMs: soon()}, nil); err != nil {
		t.Fatal(err)
	}
	if !s.DoneSoon(time.Minute) || !s.DoneSoon(0) {
		t.Error("the end has not come")
	}
	if _, err := s.WaitDone(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.silent.Store(true)
	ended := make(chan error, 1)
	at := soon()
	go func() {
		_, _, err := s.Invoke(t.Context(), &Invoke{RequestID: "late", DeadlineMs: at}, nil)
		ended <- err
	}()
	if id := <-h.expired; id != "late" || time.Now().UnixMilli() < at {
		t.Errorf("%q expired, %d ms early", id, at-time.Now().UnixMilli())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("got %v, want %v", err, ErrClosed)
	}
	if err := <-served; err == nil {
		t.Error("the guest's side ended without an error")
	}
}

// TestDoneSoonWaits no longer than it is told, and leaves the session whole.
func TestDoneSoonWaits(t *testing.T) {
	ours, theirs := socketPair(t)
	finish := make(chan struct{})
	go func() {
		g, err := Accept(theirs, Hello{Protocol: Version})
		if err == nil {
			_, err = g.frames.next() // the invoke
		}
		if err == nil {
			err = g.Respond(&Response{RequestID: "x", Status: StatusSuccess}, nil)
			<-finish
			err = errors.Join(err, g.Finish(&Done{RequestID: "x"}))
		}
		if err != nil {
			t.Error(err)
		}
	}()
	s, _, err := Open(t.Context(), ours, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, _, err := s.Invoke(t.Context(), &Invoke{RequestID: "x"}, nil); err != nil {
		t.Fatal(err)
	}
	if s.DoneSoon(time.Millisecond) {
		t.Error("done too early")
	}
	close(finish)
	if _, err := s.WaitDone(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTooLargeToSend(t *testing.T) {
	s, _ := connect(t, &echo{}, Options{})
	if _, _, err := s.Invoke(t.Context(), &Invoke{RequestID: "x"}, make([]byte, invocation.MaxRequest+1)); err == nil {
		t.Error("no error")
	}
}

// TestHostileGuest: a peer that breaks the protocol loses the connection.
func TestHostileGuest(t *testing.T) {
	respond := func(g *Guest, r *Response, d *Done) error {
		if err := g.Respond(r, nil); err != nil {
			return err
		}
		return g.Finish(d)
	}
	good := &Response{RequestID: "x", Status: StatusSuccess}
	for name, attack := range map[string]func(*Guest) error{
		"other request":   func(g *Guest) error { return respond(g, &Response{RequestID: "y", Status: StatusSuccess}, &Done{}) },
		"unknown status":  func(g *Guest) error { return respond(g, &Response{RequestID: "x", Status: "odd"}, &Done{}) },
		"done of another": func(g *Guest) error { return respond(g, good, &Done{RequestID: "y"}) },
		"negative time":   func(g *Guest) error { return respond(g, good, &Done{RequestID: "x", Duration: -1}) },
		"done first":      func(g *Guest) error { return g.Finish(&Done{RequestID: "x"}) },
		"two answers":     func(g *Guest) error { return errors.Join(g.Respond(good, nil), g.Respond(good, nil)) },
		"two ends": func(g *Guest) error {
			return errors.Join(respond(g, good, &Done{RequestID: "x"}), g.Finish(&Done{RequestID: "x"}))
		},
		"hang up":        func(g *Guest) error { return g.conn.Close() },
		"unknown frame":  func(g *Guest) error { _, err := g.conn.Write(make([]byte, 12)); return err },
		"worker's frame": func(g *Guest) error { return g.send(frameInvoke, appendInvoke(nil, &Invoke{}), nil) },
		"hello again":    func(g *Guest) error { return g.send(frameHello, nil, nil) },
		"answer unasked": func(g *Guest) error { return g.send(frameStopped, nil, nil) },
		"huge frame": func(g *Guest) error {
			_, err := g.conn.Write([]byte{byte(frameResponse), 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff})
			return err
		},
		"log with a bad head": func(g *Guest) error { return g.send(frameLog, []byte{9}, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := socketPair(t)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				g, err := Accept(theirs, Hello{Protocol: Version})
				if err == nil {
					_ = attack(g) // may fail half way, as the worker hangs up
					_, _ = io.Copy(io.Discard, theirs)
				}
			}()
			s, _, err := Open(t.Context(), ours, Options{})
			if err == nil {
				_, _, err = s.Invoke(t.Context(), &Invoke{RequestID: "x"}, nil)
				if err == nil {
					_, err = s.WaitDone(t.Context())
				}
				<-s.Closed()
				_ = s.Close()
			}
			if err == nil && name != "two ends" { // whose second comes too late to be an error of the first
				t.Error("no error")
			}
			<-ended
		})
	}
}

func TestOtherVersion(t *testing.T) {
	ours, theirs := socketPair(t)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if _, err := Accept(theirs, Hello{Protocol: Version + 1}); err == nil {
			_, _ = io.Copy(io.Discard, theirs)
		}
	}()
	if _, _, err := Open(t.Context(), ours, Options{}); !errors.Is(err, ErrProtocol) {
		t.Errorf("got %v", err)
	}
	<-ended
}

// BenchmarkSession is the round trip without a runtime.
func BenchmarkSession(b *testing.B) {
	s, _ := connect(b, &echo{}, Options{})
	in := &Invoke{RequestID: "00000000-0000-0000-0000-000000000000"}
	payload := make([]byte, 64)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.Invoke(b.Context(), in, payload); err != nil {
			b.Fatal(err)
		}
		if _, err := s.WaitDone(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
