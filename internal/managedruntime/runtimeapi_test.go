package managedruntime_test

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

const functionARN = "arn:aws:lambda:us-east-1:000000000000:function:f"

// answer is what a runtime posted.
type answer struct {
	kind    string // "response", "error" or "init"
	id      string
	header  http.Header
	trailer http.Header
	body    string
}

// event is an invoke for a runtime to take.
type event struct {
	id      string
	payload string
	header  map[string]string
}

// runtimeAPI is the Runtime API as a runtime sees it. It is strict: a call
// that is out of order, or not of this API, fails the test.
type runtimeAPI struct {
	t       testing.TB
	addr    string
	events  chan event
	answers chan answer

	mu      sync.Mutex
	current string          // the invoke in progress
	conns   map[string]bool // the connections that asked for events
}

func serveRuntimeAPI(t testing.TB) *runtimeAPI {
	t.Helper()
	api := &runtimeAPI{t: t, events: make(chan event, 16), answers: make(chan answer, 16), conns: map[string]bool{}}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	api.addr = ln.Addr().String()
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

func (a *runtimeAPI) next(w http.ResponseWriter, r *http.Request) {
	if current := a.enter(r.RemoteAddr, ""); current != "" {
		a.t.Errorf("runtime asked for the next event while %s is unanswered", current)
	}
	select {
	case e := <-a.events:
		a.enter(r.RemoteAddr, e.id)
		h := w.Header()
		h.Set("Lambda-Runtime-Aws-Request-Id", e.id)
		h.Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(3*time.Second).UnixMilli()))
		h.Set("Lambda-Runtime-Invoked-Function-Arn", functionARN)
		h.Set("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1")
		h.Set("Content-Type", "application/json")
		for name, value := range e.header {
			h.Set(name, value)
		}
		_, _ = io.WriteString(w, e.payload)
	case <-r.Context().Done():
	}
}

// enter notes the invoke that a connection takes and returns the former one.
func (a *runtimeAPI) enter(conn, id string) (former string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	former, a.current = a.current, id
	a.conns[conn] = true
	return former
}

// leave ends the invoke in progress and returns it.
func (a *runtimeAPI) leave() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	current := a.current
	a.current = ""
	return current
}

// connections is how many connections have asked for events.
func (a *runtimeAPI) connections() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.conns)
}

func (a *runtimeAPI) post(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		a.t.Errorf("%s: %v", r.URL, err)
	}
	got := answer{kind: r.PathValue("kind"), id: r.PathValue("id"), header: r.Header, trailer: r.Trailer, body: string(body)}
	switch {
	case strings.HasSuffix(r.URL.Path, "/init/error"):
		got.kind = "init"
	case got.kind != "response" && got.kind != "error":
		a.t.Errorf("runtime posted to %s", r.URL)
	default:
		if current := a.leave(); got.id != current {
			a.t.Errorf("runtime answered %q; the invoke in progress is %q", got.id, current)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"status":"OK"}`+"\n")
	a.answers <- got
}
