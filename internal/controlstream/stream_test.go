package controlstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"hearth/internal/invocation"
)

// streamer is a hearth-init whose function streams: what it does is a script.
type streamer struct {
	echo
	t      *testing.T
	script func(s *streamer, in *Invoke)

	mu     sync.Mutex
	moved  sync.Cond
	window int
}

func (s *streamer) Invoke(in *Invoke, _ []byte) error {
	s.mu.Lock()
	s.moved.L, s.window = &s.mu, in.Window
	s.mu.Unlock()
	request := *in // the argument is reused
	go s.script(s, &request)
	return nil
}

func (s *streamer) Credit(_ string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window += n
	s.moved.Broadcast()
}

// left is how much may be sent; it waits for at least want.
func (s *streamer) left(want int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.window < want {
		s.moved.Wait()
	}
	return s.window
}

// send sends pieces of at most MaxData, as credit allows.
func (s *streamer) send(b []byte) {
	for len(b) > 0 {
		n := min(len(b), s.left(1), MaxData)
		s.mu.Lock()
		s.window -= n
		s.mu.Unlock()
		s.check(s.guest.Data(b[:n]))
		b = b[n:]
	}
}

func (s *streamer) begin(in *Invoke) {
	s.check(s.guest.Begin(&StreamHead{RequestID: in.RequestID, ContentType: "text/plain"}))
}

func (s *streamer) end(in *Invoke, status Status, failure string) {
	s.check(s.guest.Respond(&Response{RequestID: in.RequestID, Status: status, Streaming: true}, []byte(failure)))
	s.check(s.guest.Finish(&Done{RequestID: in.RequestID, Alive: true}))
}

func (s *streamer) check(err error) {
	if err != nil {
		s.t.Error(err)
	}
}

// ended is how an invoke ended.
type ended struct {
	resp    *Response
	payload []byte
	err     error
}

// invoke starts an invoke and returns its stream.
func invokeStream(s *Session, id string) (*Stream, <-chan ended) {
	st, end := NewStream(), make(chan ended, 1)
	go func() {
		resp, payload, err := s.InvokeStream(context.Background(), &Invoke{RequestID: id}, nil, st)
		if err == nil {
			_, err = s.WaitDone(context.Background())
		}
		end <- ended{resp, payload, err}
	}()
	return st, end
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

// TestStream: what is sent arrives, whatever its size is to the window's, one
// invoke after the other.
func TestStream(t *testing.T) {
	var want []byte
	h := &streamer{t: t, script: func(s *streamer, in *Invoke) {
		s.begin(in)
		s.send(want)
		s.end(in, StatusError, "why")
	}}
	s := connectHandler(t, h, Options{})
	for _, size := range []int{0, 1, MaxData + 1, Window - 1, Window, 5*Window + 7} {
		want = pattern(size)
		st, end := invokeStream(s, "id")
		if head := st.Head(); head == nil || head.ContentType != "text/plain" {
			t.Fatalf("head %+v", head)
		}
		var got bytes.Buffer
		if err := st.CopyTo(&got); err != nil {
			t.Error(err)
		}
		if !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%d bytes came as %d", size, got.Len())
		}
		if e := <-end; e.err != nil || e.resp.Status != StatusError || string(e.payload) != "why" {
			t.Errorf("ended with %+v", e)
		}
	}
}

// connectHandler joins a Session and a streamer.
func connectHandler(t *testing.T, h *streamer, opt Options) *Session {
	t.Helper()
	ours, theirs := socketPair(t)
	served := make(chan struct{})
	go func() {
		defer close(served)
		g, err := Accept(theirs, Hello{Protocol: Version})
		if err == nil {
			h.guest = g
			_ = g.Serve(h) // the end of the test
		}
	}()
	s, _, err := Open(t.Context(), ours, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(); <-served })
	return s
}

// TestStreamIsHeldUp: without a taker the function may send a window and no
// more, and logs pass by.
func TestStreamIsHeldUp(t *testing.T) {
	logged := make(chan string, 1)
	h := &streamer{t: t, script: func(s *streamer, in *Invoke) {
		s.begin(in)
		s.send(pattern(Window))
		if n := s.left(0); n != 0 {
			t.Errorf("%d bytes may be sent beyond the window", n)
		}
		s.check(s.guest.Log([]LogRecord{{RequestID: in.RequestID, Data: []byte("held up\n")}}))
		s.left(Window / 2) // waits for the taker
		s.send(pattern(Window / 2))
		s.end(in, StatusSuccess, "")
	}}
	s := connectHandler(t, h, Options{Logs: func(r LogRecord) { logged <- string(r.Data) }})
	st, end := invokeStream(s, "id")
	if line := <-logged; line != "held up\n" {
		t.Errorf("logged %q", line)
	}
	var got bytes.Buffer
	if err := st.CopyTo(&got); err != nil || got.Len() != Window+Window/2 {
		t.Errorf("got %d bytes, %v", got.Len(), err)
	}
	if e := <-end; e.err != nil || len(e.payload) > 0 {
		t.Errorf("ended with %+v", e)
	}
}

type refuser struct{ taken int }

var errGone = errors.New("client gone")

func (r *refuser) Write([]byte) (int, error) {
	r.taken++
	return 0, errGone
}

// TestStreamIsDiscarded: a taker that is gone does not hold up the function,
// and is not asked again.
func TestStreamIsDiscarded(t *testing.T) {
	h := &streamer{t: t, script: func(s *streamer, in *Invoke) {
		s.begin(in)
		s.send(pattern(8 * Window))
		s.end(in, StatusSuccess, "")
	}}
	s := connectHandler(t, h, Options{})
	st, end := invokeStream(s, "id")
	var to refuser
	if err := st.CopyTo(&to); !errors.Is(err, errGone) || to.taken != 1 {
		t.Errorf("got %v after %d writes", err, to.taken)
	}
	if e := <-end; e.err != nil || e.resp.Status != StatusSuccess {
		t.Errorf("ended with %+v", e)
	}
}

// TestSlowTakerKeepsNothing: the end of an invoke, and the next one, do not
// wait for whoever takes the answer; credit for it comes too late then.
func TestSlowTakerKeepsNothing(t *testing.T) {
	h := &streamer{t: t, script: func(s *streamer, in *Invoke) {
		s.begin(in)
		s.send(pattern(Window))
		s.end(in, StatusSuccess, "")
	}}
	s := connectHandler(t, h, Options{})
	slow, end := invokeStream(s, "slow")
	if e := <-end; e.err != nil {
		t.Fatal(e.err)
	}
	next, end := invokeStream(s, "next")
	if err := next.CopyTo(io.Discard); err != nil {
		t.Error(err)
	}
	if e := <-end; e.err != nil {
		t.Fatal(e.err)
	}
	var got bytes.Buffer
	if err := slow.CopyTo(&got); err != nil || !bytes.Equal(got.Bytes(), pattern(Window)) {
		t.Errorf("got %d bytes, %v", got.Len(), err)
	}
}

// TestStreamWithoutPieces: an answer may still be one Response, and an invoke
// may still fail without any.
func TestStreamWithoutPieces(t *testing.T) {
	h := &streamer{t: t, script: func(s *streamer, in *Invoke) { s.end(in, StatusSuccess, "whole") }}
	s := connectHandler(t, h, Options{})
	st, end := invokeStream(s, "id")
	if head := st.Head(); head != nil {
		t.Errorf("head %+v", head)
	}
	if err := st.CopyTo(io.Discard); err != nil {
		t.Error(err)
	}
	if e := <-end; e.err != nil || string(e.payload) != "whole" {
		t.Errorf("ended with %+v", e)
	}
	h.script = func(s *streamer, _ *Invoke) { _ = s.guest.conn.Close() }
	st, end = invokeStream(s, "id")
	if head := st.Head(); head != nil {
		t.Errorf("head %+v", head)
	}
	if e := <-end; e.err == nil {
		t.Error("a broken connection is no error")
	}
}

// TestBrokenStream: what came before the connection broke is passed on.
func TestBrokenStream(t *testing.T) {
	h := &streamer{t: t, script: func(s *streamer, in *Invoke) {
		s.begin(in)
		s.send(pattern(100))
		_ = s.guest.conn.Close()
	}}
	s := connectHandler(t, h, Options{})
	st, end := invokeStream(s, "id")
	var got bytes.Buffer
	if err := st.CopyTo(&got); err != nil || !bytes.Equal(got.Bytes(), pattern(100)) {
		t.Errorf("got %d bytes, %v", got.Len(), err)
	}
	if e := <-end; e.err == nil {
		t.Error("no error")
	}
}

// TestHostileStream: who sends pieces that are not due loses the connection.
func TestHostileStream(t *testing.T) {
	good := &Response{RequestID: "x", Status: StatusSuccess}
	head := &StreamHead{RequestID: "x"}
	// Operands are evaluated from left to right.
	for name, attack := range map[string]struct {
		stream bool // asked for
		do     func(*Guest) error
	}{
		"unasked":          {false, func(g *Guest) error { return g.Begin(head) }},
		"unasked piece":    {false, func(g *Guest) error { return g.Data([]byte("x")) }},
		"no beginning":     {true, func(g *Guest) error { return g.Data([]byte("x")) }},
		"two beginnings":   {true, func(g *Guest) error { return errors.Join(g.Begin(head), g.Begin(head)) }},
		"other request":    {true, func(g *Guest) error { return g.Begin(&StreamHead{RequestID: "y"}) }},
		"empty piece":      {true, func(g *Guest) error { return errors.Join(g.Begin(head), g.Data(nil)) }},
		"after the answer": {true, func(g *Guest) error { return errors.Join(g.Begin(head), g.Respond(good, nil), g.Data([]byte("x"))) }},
		"payload too":      {true, func(g *Guest) error { return errors.Join(g.Begin(head), g.Respond(good, []byte("x"))) }},
		"credit":           {true, func(g *Guest) error { return g.send(frameCredit, appendCredit(nil, "x", 1), nil) }},
		"beyond the window": {true, func(g *Guest) error {
			err := g.Begin(head)
			for sent := 0; sent <= Window; sent += MaxData {
				err = errors.Join(err, g.Data(make([]byte, MaxData)))
			}
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := socketPair(t)
			over := make(chan struct{})
			go func() {
				defer close(over)
				if g, err := Accept(theirs, Hello{Protocol: Version}); err == nil {
					_, _ = g.frames.next() // the invoke
					_ = attack.do(g)       // may fail half way, as the worker hangs up
					_, _ = io.Copy(io.Discard, theirs)
				}
			}()
			s, _, err := Open(t.Context(), ours, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if attack.stream {
				_, _, _ = s.InvokeStream(t.Context(), &Invoke{RequestID: "x"}, nil, NewStream()) // may have had its answer
			} else {
				_, _, _ = s.Invoke(t.Context(), &Invoke{RequestID: "x"}, nil)
			}
			<-s.Closed()
			if err := s.reason(); !errors.Is(err, ErrProtocol) {
				t.Errorf("ended with %v, want %v", err, ErrProtocol)
			}
			_ = s.Close()
			<-over
		})
	}
}

// TestStreamLimit: not even a patient taker gets more than the limit.
func TestStreamLimit(t *testing.T) {
	st := NewStream()
	if err := st.begin(&StreamHead{}); err != nil {
		t.Fatal(err)
	}
	piece := make([]byte, MaxData)
	for sent := 0; sent < invocation.MaxStream; sent += len(piece) {
		if err := st.receive(bytes.NewReader(piece), len(piece)); err != nil {
			t.Fatalf("after %d bytes: %v", sent, err)
		}
		st.release(len(piece))
	}
	if err := st.receive(bytes.NewReader(piece), 1); !errors.Is(err, ErrProtocol) {
		t.Errorf("got %v", err)
	}
}
