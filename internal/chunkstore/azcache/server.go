package azcache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"hearth/internal/chunk"
	"hearth/internal/chunkstore/cache"
)

// ServerConfig says what a node serves from.
type ServerConfig struct {
	// Cache is the node's own. Whoever made it closes it.
	Cache *cache.Cache
	// Keys are good for signatures: the cluster's, and while it is being
	// replaced the other one.
	Keys []Key
	// Puts is how many chunks are taken at a time, each in memory; 16 if zero.
	Puts int
	// Reads is how many chunks are read from disk at a time, each into memory of
	// its own; 32 if zero. Further requests wait, and need not read at all if it
	// is the same chunk.
	Reads int
	// BodyTimeout bounds how long one chunk is sent or received; 10 s if zero.
	BodyTimeout time.Duration
	// Now is the clock of signatures; time.Now if nil.
	Now func() time.Time
}

// Server is a node of the cache: an http.Handler.
type Server struct {
	cfg     ServerConfig
	putting chan struct{}
	reading chan struct{}
	stats   serverCounters
}

type serverCounters struct{ hits, misses, bytes, puts, refused, busy, unauthorized atomic.Int64 }

// ServerStats counts what a node did since it was made.
type ServerStats struct {
	// Hits are chunks of Bytes bytes in all that were served.
	Hits, Misses, Bytes int64
	// Puts were taken. Refused ones were not what their names said, or had no
	// length; Busy ones came while too many were being taken.
	Puts, Refused, Busy int64
	// Unauthorized requests had no good signature.
	Unauthorized int64
	// Cache has what they were served from.
	Cache cache.Stats
}

// NewServer makes a node. Serving it is up to the caller, who bounds the time of
// headers and of idle connections.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Cache == nil || len(cfg.Keys) == 0 || cfg.Puts < 0 || cfg.Reads < 0 {
		return nil, errors.New("cache node: it needs a cache and a key, and takes no negative number of chunks")
	}
	if cfg.Puts == 0 {
		cfg.Puts = 16
	}
	if cfg.Reads == 0 {
		cfg.Reads = 32
	}
	if cfg.BodyTimeout == 0 {
		cfg.BodyTimeout = 10 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Server{cfg: cfg, putting: make(chan struct{}, cfg.Puts), reading: make(chan struct{}, cfg.Reads)}, nil
}

// Stats returns the counters.
func (s *Server) Stats() ServerStats {
	return ServerStats{
		Hits: s.stats.hits.Load(), Misses: s.stats.misses.Load(), Bytes: s.stats.bytes.Load(),
		Puts: s.stats.puts.Load(), Refused: s.stats.refused.Load(), Busy: s.stats.busy.Load(),
		Unauthorized: s.stats.unauthorized.Load(), Cache: s.cfg.Cache.Stats(),
	}
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ref, err := parsePath(r.URL.Path)
	if err == nil {
		err = verify(s.cfg.Keys, r.Header.Get("Authorization"), r.Method, ref, s.cfg.Now())
	}
	if err != nil {
		// Who has no key does not learn which paths there are either.
		s.stats.unauthorized.Add(1)
		http.Error(w, errUnauthorized.Error(), http.StatusUnauthorized)
		return
	}
	// A connection that knows no deadlines is not one of the network.
	deadline, control := time.Now().Add(s.cfg.BodyTimeout), http.NewResponseController(w)
	_ = errors.Join(control.SetReadDeadline(deadline), control.SetWriteDeadline(deadline))
	switch r.Method {
	case http.MethodGet:
		s.get(w, r, ref)
	case http.MethodPut:
		s.put(w, r, ref)
	default:
		http.Error(w, "want GET or PUT", http.StatusMethodNotAllowed)
	}
}

func (s *Server) get(w http.ResponseWriter, r *http.Request, ref chunk.Ref) {
	b, ok := s.cfg.Cache.Memory(ref)
	if !ok {
		b, ok = s.read(r.Context(), ref)
	}
	if !ok {
		s.stats.misses.Add(1)
		http.Error(w, "no such chunk", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	if _, err := w.Write(b); err == nil { //nolint:gosec // a ciphertext, for clients that check it
		s.stats.hits.Add(1)
		s.stats.bytes.Add(int64(len(b)))
	}
}

// read returns a chunk from disk, when it is this request's turn. Whoever went
// away is told of a miss.
func (s *Server) read(ctx context.Context, ref chunk.Ref) ([]byte, bool) {
	if s.cfg.Cache.Has(ref) { // a miss reads nothing, and waits for nobody
		select {
		case s.reading <- struct{}{}:
			// Not until the client has got it: it may be slow.
			defer func() { <-s.reading }()
		case <-ctx.Done():
			return nil, false
		}
	}
	return s.cfg.Cache.Read(ref)
}

func (s *Server) put(w http.ResponseWriter, r *http.Request, ref chunk.Ref) {
	if s.cfg.Cache.Has(ref) {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	select {
	case s.putting <- struct{}{}:
		defer func() { <-s.putting }()
	default:
		s.stats.busy.Add(1)
		http.Error(w, "too many chunks at once", http.StatusServiceUnavailable)
		return
	}
	b, err := readBody(r.Body, r.ContentLength)
	if err == nil {
		err = chunk.Check(ref.Name, b)
	}
	if err != nil {
		s.stats.refused.Add(1)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.cfg.Cache.Put(ref, b)
	s.stats.puts.Add(1)
	w.WriteHeader(http.StatusCreated)
}

// readBody reads a ciphertext whose length has been declared.
func readBody(r io.Reader, length int64) ([]byte, error) {
	if length < chunk.Overhead || length > chunk.MaxCiphertext {
		return nil, fmt.Errorf("%w: a body of %d bytes, want %d to %d", chunk.ErrIntegrity, length, chunk.Overhead, chunk.MaxCiphertext)
	}
	b := make([]byte, length)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("the body ended early: %w", err)
	}
	return b, nil
}
