// Package runtimeapi is the Runtime API for tests of runtimes that run without
// Hearth: a small, strict server, to which a test hands events and which hands
// the test what the runtime answers. A call that is out of order, or not of
// this API, fails the test.
package runtimeapi

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// FunctionARN is the function that events are for.
const FunctionARN = "arn:aws:lambda:us-east-1:000000000000:function:f"

// Answer is what a runtime posted.
type Answer struct {
	Kind    string // "response", "error" or "init"
	ID      string
	Header  http.Header
	Trailer http.Header
	Body    string
}

// Event is an invoke for a runtime to take. Header adds to, or replaces, the
// headers that every event has.
type Event struct {
	ID      string
	Payload string
	Header  map[string]string
}

// Server is the Runtime API as one runtime sees it.
type Server struct {
	// Addr is the value of AWS_LAMBDA_RUNTIME_API.
	Addr string
	// Events are handed out in order; Answers come in order.
	Events  chan Event
	Answers chan Answer

	t testing.TB

	mu      sync.Mutex
	current string          // the invoke in progress
	conns   map[string]bool // the connections that asked for events
}

// Serve starts a server that ends with the test.
func Serve(t testing.TB) *Server {
	t.Helper()
	api := &Server{t: t, Events: make(chan Event, 16), Answers: make(chan Answer, 16), conns: map[string]bool{}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	api.Addr = ln.Addr().String()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", api.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/{kind}", api.post)
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", api.post)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("runtime called %s %s, which is not in the Runtime API", r.Method, r.URL)
		http.NotFound(w, r)
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return api
}

func (a *Server) next(w http.ResponseWriter, r *http.Request) {
	if current := a.enter(r.RemoteAddr, ""); current != "" {
		a.t.Errorf("runtime asked for the next event while %s is unanswered", current)
	}
	select {
	case e := <-a.Events:
		a.enter(r.RemoteAddr, e.ID)
		h := w.Header()
		h.Set("Lambda-Runtime-Aws-Request-Id", e.ID)
		h.Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(3*time.Second).UnixMilli()))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", FunctionARN)
		h.Set("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1")
		h.Set("Content-Type", "application/json")
		for name, value := range e.Header {
			h.Set(name, value)
		}
		_, _ = io.WriteString(w, e.Payload)
	case <-r.Context().Done():
	}
}

// enter notes the invoke that a connection takes and returns the former one.
func (a *Server) enter(conn, id string) (former string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	former, a.current = a.current, id
	a.conns[conn] = true
	return former
}

// leave ends the invoke in progress and returns it.
func (a *Server) leave() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	current := a.current
	a.current = ""
	return current
}

// Connections is how many connections have asked for events.
func (a *Server) Connections() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.conns)
}

func (a *Server) post(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		a.t.Errorf("%s: %v", r.URL, err)
	}
	got := Answer{Kind: r.PathValue("kind"), ID: r.PathValue("id"), Header: r.Header, Trailer: r.Trailer, Body: string(body)}
	switch {
	case strings.HasSuffix(r.URL.Path, "/init/error"):
		got.Kind = "init"
	case got.Kind != "response" && got.Kind != "error":
		a.t.Errorf("runtime posted to %s", r.URL)
	default:
		if current := a.leave(); got.ID != current {
			a.t.Errorf("runtime answered %q; the invoke in progress is %q", got.ID, current)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"status":"OK"}`+"\n")
	a.Answers <- got
}
