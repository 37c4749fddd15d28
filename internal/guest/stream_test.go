package guest_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"hearth/internal/controlstream"
	"hearth/internal/invocation"
)

// streaming is an invoke whose answer is taken in pieces.
type streaming struct {
	*controlstream.Stream
	id  string
	end <-chan result
}

// stream sends an invoke once the runtime waits, and returns when it has it.
func (m *manual) stream(next <-chan answer, limit time.Duration) streaming {
	m.t.Helper()
	m.n++
	in := &controlstream.Invoke{
		RequestID:  fmt.Sprintf("00000000-0000-0000-0000-%012d", m.n),
		DeadlineMs: time.Now().Add(limit).UnixMilli(),
	}
	st, end := controlstream.NewStream(), make(chan result, 1)
	go func() {
		resp, body, err := m.Session.InvokeStream(m.t.Context(), in, []byte("{}"), st)
		if err != nil {
			m.t.Error(err)
		}
		done, err := m.Session.WaitDone(m.t.Context())
		if err != nil {
			m.t.Error(err)
		}
		end <- result{in.RequestID, resp, string(body), done}
	}()
	if got := <-next; got.err != nil || got.code != 200 {
		m.t.Fatalf("next: %+v", got)
	}
	return streaming{st, in.RequestID, end}
}

// pieces is an answer that the test writes piece by piece.
type pieces struct {
	t    testing.TB
	conn net.Conn
}

// open begins an answer.
func (m *manual) open(id string, header ...string) pieces {
	m.t.Helper()
	p := pieces{m.t, dialHostile(m.t, m.API)}
	p.send("POST /2018-06-01/runtime/invocation/" + id + "/response HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" +
		strings.Join(append(header, "\r\n"), "\r\n"))
	return p
}

func (p pieces) send(s string) {
	p.t.Helper()
	if _, err := io.WriteString(p.conn, s); err != nil {
		p.t.Fatal(err)
	}
}

func (p pieces) chunk(s string) { p.send(fmt.Sprintf("%x\r\n%s\r\n", len(s), s)) }

func (p pieces) want(part string) {
	p.t.Helper()
	b := make([]byte, 1<<10)
	n, err := p.conn.Read(b)
	if !strings.Contains(string(b[:n]), part) {
		p.t.Errorf("got %q, %v, want %q", b[:n], err, part)
	}
}

// pull takes n bytes of an answer from a pipe.
func pull(t testing.TB, r io.Reader, n int) string {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// pipe has a stream copied to where the test reads it.
func (s streaming) pipe() io.Reader {
	r, w := io.Pipe()
	go func() { _ = w.CloseWithError(s.CopyTo(w)) }()
	return r
}

// TestStreamedResponse: each piece is there before the next is written.
func TestStreamedResponse(t *testing.T) {
	m := startManual(t)
	next := m.ready()
	for _, header := range [][]string{{"Lambda-Runtime-Function-Response-Mode: streaming", "Content-Type: text/x"}, {"Content-Type: text/x"}} {
		s := m.stream(next, time.Minute)
		p := m.open(s.id, header...)
		if head := s.Head(); head == nil || head.ContentType != "text/x" {
			t.Fatalf("head %+v", head)
		}
		r := s.pipe()
		for _, piece := range []string{"a", "two", strings.Repeat("0123456789abcdef", 3<<10), "z"} {
			p.chunk(piece)
			if got := pull(t, r, len(piece)); got != piece {
				t.Errorf("got %d bytes, want %d", len(got), len(piece))
			}
		}
		p.send("3\r\nhal") // not even all of a chunk
		pull(t, r, 3)
		m.want(m.get("runtime/invocation/next"), 403, "State transition from Running to Ready failed")
		m.want(m.post("runtime/invocation/"+s.id+"/error", "{}"), 403, "InvalidStateTransition")
		p.send("\r\n0\r\n\r\n")
		p.want("202 Accepted")
		next = m.next()
		if e := <-s.end; e.resp.Status != controlstream.StatusSuccess || e.body != "" || !e.done.Alive || !e.resp.Streaming {
			t.Errorf("ended %+v %q", e.resp, e.body)
		}
	}
}

// TestStreamedEnds: how answers end that have begun.
func TestStreamedEnds(t *testing.T) {
	large := strings.Repeat("x", 1<<20)
	for _, c := range []struct {
		name   string
		finish func(p pieces)
		status controlstream.Status
		kind   string
		body   string
		alive  bool
	}{
		{"trailers", func(p pieces) {
			p.send("0\r\nLambda-Runtime-Function-Error-Type: Runtime.Broke\r\nLambda-Runtime-Function-Error-Body: eyJlcnJvclR5cGUiOiJYIn0=\r\n\r\n")
			p.want("202 Accepted")
		}, controlstream.StatusError, "Runtime.Broke", `{"errorType":"X"}`, true},
		{"cut off", func(p pieces) { _ = p.conn.(*net.TCPConn).CloseWrite(); p.want("TruncatedHTTPRequest") },
			controlstream.StatusError, "Runtime.TruncatedResponse", "Runtime.TruncatedResponse", true},
		{"malformed", func(p pieces) { p.send("zz\r\n"); p.want("InvalidRequest") },
			controlstream.StatusError, "Runtime.TruncatedResponse", "Runtime.TruncatedResponse", true},
		{"too large", func(p pieces) {
			for range invocation.MaxStream >> 20 {
				p.chunk(large)
			}
			p.chunk("x")
			p.send("0\r\n\r\n")
			p.want("413 Request Entity Too Large")
		}, controlstream.StatusTooLarge, "Function.ResponseSizeTooLarge", "(209715200 bytes)", true},
		{"expired", func(p pieces) { p.want("") }, controlstream.StatusTimeout, "", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := startManual(t)
			limit := time.Minute
			if c.name == "expired" {
				limit = 100 * time.Millisecond
			}
			s := m.stream(m.ready(), limit)
			p := m.open(s.id)
			p.chunk("begun")
			got := make(chan int64, 1)
			go func() {
				var n counter
				_ = s.CopyTo(&n)
				got <- int64(n)
			}()
			c.finish(p)
			if c.alive {
				m.next()
			}
			e := <-s.end
			if e.resp.Status != c.status || e.resp.ErrorType != c.kind || !strings.Contains(e.body, c.body) || e.done.Alive != c.alive {
				t.Errorf("ended %+v %q %+v", e.resp, e.body, e.done)
			}
			want := int64(len("begun"))
			if c.name == "too large" {
				want = invocation.MaxStream
			}
			if n := <-got; n != want {
				t.Errorf("%d bytes came, want %d", n, want)
			}
		})
	}
}

type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// TestStreamExit: a function that dies in the middle of its answer has died,
// and not merely cut it off.
func TestStreamExit(t *testing.T) {
	e := ready(t, goFunction(t))
	for i := range 3 { // it is started again each time
		in := &controlstream.Invoke{RequestID: fmt.Sprint("id-", i), DeadlineMs: time.Now().Add(time.Minute).UnixMilli()}
		st, end := controlstream.NewStream(), make(chan result, 1)
		go func() {
			resp, body, err := e.Session.InvokeStream(t.Context(), in, []byte(`{"do":"stream","text":"begun"}`), st)
			if err != nil {
				t.Error(err)
			}
			done, err := e.Session.WaitDone(t.Context())
			if err != nil {
				t.Error(err)
			}
			end <- result{in.RequestID, resp, string(body), done}
		}()
		if got := pull(t, streaming{Stream: st}.pipe(), len("begun")); got != "begun" {
			t.Errorf("got %q", got)
		}
		killFunction(t)
		got := <-end
		if got.resp.Status != controlstream.StatusExited || !strings.Contains(got.body, "Runtime exited with error: signal: killed") || got.done.Alive {
			t.Errorf("ended %+v %s", got.resp, got.body)
		}
	}
}

// killFunction kills every process of the function's user.
func killFunction(t *testing.T) {
	t.Helper()
	for _, pid := range functionProcesses(t) {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}
}

// TestStreamHoldsUp: what nobody takes is not read from the function, whose
// log goes on; and its time runs out all the same.
func TestStreamHoldsUp(t *testing.T) {
	m := startManual(t)
	s := m.stream(m.ready(), 2*time.Second)
	p := m.open(s.id)
	sent := make(chan int, 1)
	go func() {
		n := 0
		chunk := fmt.Sprintf("%x\r\n%s\r\n", 1<<16, strings.Repeat("x", 1<<16))
		for range 1 << 10 { // 64 MB: more than any socket buffers
			if _, err := io.WriteString(p.conn, chunk); err != nil {
				break
			}
			n++
		}
		sent <- n
	}()
	m.want(m.get("ping"), 200, "pong")
	e := <-s.end
	if e.resp.Status != controlstream.StatusTimeout || e.done.Alive {
		t.Errorf("ended %+v %+v", e.resp, e.done)
	}
	if n := <-sent; n == 1<<10 {
		t.Error("the function was not held up")
	}
	var n counter
	if _ = s.CopyTo(&n); n != controlstream.Window {
		t.Errorf("%d bytes came, want a window of %d", n, controlstream.Window)
	}
}

// TestUnstreamedForStream: an answer of known length is one Response even if
// the caller would take pieces; and pieces become one for a caller that would
// not.
func TestUnstreamedForStream(t *testing.T) {
	m := startManual(t)
	s := m.stream(m.ready(), time.Minute)
	m.want(m.post("runtime/invocation/"+s.id+"/response", "whole"), 202, "")
	next := m.next()
	if e := <-s.end; e.body != "whole" || s.Head() != nil {
		t.Errorf("got %q", e.body)
	}
	id, got := m.begin(next, "{}")
	req, err := http.NewRequest("POST", m.url("runtime/invocation/"+id+"/response"), io.MultiReader(strings.NewReader("in "), strings.NewReader("pieces")))
	m.want(m.do(req, err), 202, "")
	m.next()
	if r := <-got; r.body != "in pieces" {
		t.Errorf("got %q", r.body)
	}
}
