package worker

import (
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"hearth/internal/controlstream"
)

const (
	// endpointConns bounds the connections of one environment to the API.
	// hearth-init keeps to half of it, and is not trusted to.
	endpointConns = 64
	// crowded is from where on a connection ends with its request, so that
	// those who wait get one.
	crowded = 24
	// endpointBody bounds a request's body: an invoke's largest, and what
	// surrounds it.
	endpointBody = 8 << 20
	// largeBody is from where on bodies are read only endpointLarge at a time.
	largeBody     = 256 << 10
	endpointLarge = 2
	// endpointPatience is how long a function may leave a piece of its answer
	// unread.
	endpointPatience = time.Minute
)

// functionAddr is where requests of functions come from: all have the one
// address, which no sandbox's packets ever carry.
var functionAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddrPort(controlstream.Endpoint).Addr(), 0))

// endpoint serves Hearth's API to functions, on the connections that their
// hearth-inits relay. It is one HTTP server for all environments; what is
// bounded is bounded for each of them.
type endpoint struct {
	handler http.Handler
	server  *http.Server

	mu      sync.Mutex // orders begin against refuse
	stopped bool
	under   sync.WaitGroup // requests under way
}

func newEndpoint(handler http.Handler, log *slog.Logger) *endpoint {
	s := &endpoint{handler: handler}
	s.server = &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		Handler:           http.HandlerFunc(s.serve),
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug), // what functions do wrong
		ConnContext:       withDoor,
	}
	return s
}

// open serves the API to the environment whose relayed connections arrive at
// that listener, until close.
func (s *endpoint) open(relayed net.Listener) *door {
	d := &door{Listener: relayed, conns: make(map[*doorConn]struct{}), large: make(chan struct{}, endpointLarge), ended: make(chan struct{})}
	go func() {
		defer close(d.ended)
		_ = s.server.Serve(d) // ends with the listener, or the server
	}()
	return d
}

// serve answers a request.
func (s *endpoint) serve(w http.ResponseWriter, r *http.Request) {
	if !s.begin() {
		http.Error(w, "Hearth is stopping.", http.StatusServiceUnavailable)
		return
	}
	defer s.under.Done()
	d := doorOf(r.Context())
	if d.crowded() {
		w.Header().Set("Connection", "close")
	}
	if r.ContentLength > endpointBody {
		http.Error(w, "The request is larger than the 8 MiB that Hearth takes from inside a function.", http.StatusRequestEntityTooLarge)
		return
	}
	if r.ContentLength < 0 || r.ContentLength > largeBody {
		if !d.admitLarge(r) {
			return
		}
		defer d.releaseLarge()
	}
	r.Body = http.MaxBytesReader(w, r.Body, endpointBody)
	s.handler.ServeHTTP(w, r)
}

func (s *endpoint) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false
	}
	s.under.Add(1)
	return true
}

// refuse ends all connections; wait returns when no request is under way any
// more.
func (s *endpoint) refuse() error {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	return s.server.Close()
}

func (s *endpoint) wait() { s.under.Wait() }
