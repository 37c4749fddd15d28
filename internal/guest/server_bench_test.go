package guest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hearth/internal/controlstream"
)

// feeder is a worker that sends the next invoke as soon as one is done.
type feeder struct{ done chan struct{} }

func (f *feeder) Begin(*controlstream.StreamHead) error         { return nil }
func (f *feeder) Data([]byte) error                             { return nil }
func (f *feeder) Respond(*controlstream.Response, []byte) error { return nil }
func (f *feeder) Finish(*controlstream.Done) error {
	f.done <- struct{}{}
	return nil
}

const benchID = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"

// BenchmarkServer is one event through the Runtime API: next, response. The
// client allocates nothing, so the allocations are the server's. net/http
// with handlers that do the least they can is what it is compared with.
func BenchmarkServer(b *testing.B) {
	b.Run("ours", func(b *testing.B) {
		p, err := newPoller()
		if err != nil {
			b.Fatal(err)
		}
		go p.run()
		address := freeAddress(b)
		srv, err := newServer(p, address)
		if err != nil {
			b.Fatal(err)
		}
		logs, w, err := newLogPipe(p, func([]controlstream.LogRecord) error { return nil })
		if err != nil {
			b.Fatal(err)
		}
		defer unix.Close(w)
		f := &feeder{done: make(chan struct{}, 1)}
		life := &lifecycle{phase: phaseReady, runtime: &started{logs: logs}, worker: f, poller: p}
		srv.start(life)
		in := &controlstream.Invoke{RequestID: benchID, FunctionARN: "arn:aws:lambda:us-east-1:000000000000:function:f"}
		go func() {
			for range f.done {
				if life.beginInvoke(in, []byte("{}")) != nil {
					return
				}
			}
		}()
		f.done <- struct{}{}
		runtimeLoop(b, address)
		srv.closeConns()
		close(f.done)
	})
	b.Run("nethttp", func(b *testing.B) {
		ln := listen(b)
		events := make(chan []byte, 1)
		events <- []byte("{}")
		mux := http.NewServeMux()
		mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", func(w http.ResponseWriter, _ *http.Request) {
			body := <-events
			w.Header().Set("Lambda-Runtime-Aws-Request-Id", benchID)
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(body) // a client that is gone shows elsewhere
		})
		mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, "{\"status\":\"OK\"}\n")
			events <- body
		})
		srv := &http.Server{Handler: mux}
		go func() { _ = srv.Serve(ln) }()
		runtimeLoop(b, ln.Addr().String())
		_ = srv.Close()
	})
}

// freeAddress is one that nobody listens on.
func freeAddress(b *testing.B) string {
	b.Helper()
	ln := listen(b)
	defer ln.Close()
	return ln.Addr().String()
}

func listen(b *testing.B) net.Listener {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = ln.Close() })
	return ln
}

// runtimeLoop is a runtime that answers each event.
func runtimeLoop(b *testing.B, addr string) {
	b.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	r := bufio.NewReader(c)
	call := func(request []byte) {
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		length := 0
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				b.Fatal(err)
			}
			if strings.HasPrefix(string(line), "Content-Length: ") {
				for _, d := range line[16 : len(line)-2] {
					length = 10*length + int(d-'0')
				}
			}
			if len(line) == 2 {
				break
			}
		}
		if _, err := r.Discard(length); err != nil {
			b.Fatal(err)
		}
	}
	next := []byte("GET /2018-06-01/runtime/invocation/next HTTP/1.1\r\nHost: x\r\n\r\n")
	response := []byte("POST /2018-06-01/runtime/invocation/" + benchID +
		"/response HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
	b.ReportAllocs()
	for b.Loop() {
		call(next)
		call(response)
	}
}
