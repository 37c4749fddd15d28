package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"hearth/internal/chunk"
	"hearth/internal/chunkstore/cache"
)

// ErrClosed says that the store has been closed.
var ErrClosed = errors.New("the store of chunks is closed")

// Zone is the cache that the workers of a zone share. What it answers is not
// trusted.
type Zone interface {
	chunk.Source
	// Fill offers a chunk that the zone did not have. It waits for nothing.
	Fill(ref chunk.Ref, ciphertext []byte)
}

// distruster is an origin that wants to know of copies that have rotted.
type distruster interface {
	Distrust(ctx context.Context, ref chunk.Ref) (set bool, err error)
}

// toucher is an origin that wants to know what is read though it is not asked.
type toucher interface{ Touch(root chunk.Root) }

// DefaultFetches is Config.Fetches unless told otherwise.
const DefaultFetches = 32

// Config says where chunks are read from.
type Config struct {
	// Cache is the worker's own. Whoever made it closes it, after the Tiered.
	Cache *cache.Cache
	// Zone may be nil.
	Zone   Zone
	Origin chunk.Source
	// Opened says that readers open what they get, which authenticates it, and
	// call Refetch for what cannot be opened. What Origin answers is then hashed
	// only for Refetch: for an origin of this machine, of which that would be
	// half the cost.
	Opened bool
	// Fetches is how many chunks the origin is asked for at a time;
	// DefaultFetches if zero.
	Fetches int
	// Attempts is how often the origin is asked before a reader gets its error;
	// 4 if zero.
	Attempts int
	// Backoff is the longest wait before the second attempt; it doubles with
	// each, up to MaxBackoff. 50 ms and 2 s if zero.
	Backoff, MaxBackoff time.Duration
	// Timeout bounds one attempt; 15 s if zero.
	Timeout time.Duration
	// Jitter returns a random number below n; rand.Int64N if nil.
	Jitter func(n int64) int64
}

func (c Config) withDefaults() Config {
	if c.Fetches == 0 {
		c.Fetches = DefaultFetches
	}
	if c.Attempts == 0 {
		c.Attempts = 4
	}
	if c.Backoff == 0 {
		c.Backoff = 50 * time.Millisecond
	}
	if c.MaxBackoff == 0 {
		c.MaxBackoff = 2 * time.Second
	}
	if c.Timeout == 0 {
		c.Timeout = 15 * time.Second
	}
	if c.Jitter == nil {
		c.Jitter = rand.Int64N
	}
	return c
}

func (c Config) validate() error {
	var problems []error
	if c.Cache == nil || c.Origin == nil {
		problems = append(problems, errors.New("a cache and an origin are needed"))
	}
	if c.Fetches < 0 || c.Attempts < 0 || c.Backoff < 0 || c.MaxBackoff < 0 || c.Timeout < 0 {
		problems = append(problems, errors.New("a negative bound"))
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("chunk store: %w", err)
	}
	return nil
}

// Tiered is a chunk.Source over all tiers. It may be used concurrently.
type Tiered struct {
	cfg      Config
	fetching chan struct{} // one for each chunk asked of the origin
	stats    counters

	mu      sync.Mutex
	flights map[flightKey]*flight
	closed  bool
	running sync.WaitGroup
}

// New puts tiers together.
func New(cfg Config) (*Tiered, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	return &Tiered{cfg: cfg, fetching: make(chan struct{}, cfg.Fetches), flights: make(map[flightKey]*flight)}, nil
}

// Close ends what is being fetched and waits for it.
func (t *Tiered) Close() {
	t.mu.Lock()
	t.closed = true
	for _, f := range t.flights {
		f.cancel(ErrClosed)
	}
	t.mu.Unlock()
	t.running.Wait()
}

// ReadChunk implements chunk.Source. The bytes are those of the chunk: their
// hash is the name, unless readers open them. They may be shared with other
// readers.
func (t *Tiered) ReadChunk(ctx context.Context, ref chunk.Ref) ([]byte, error) {
	if b, ok := t.cfg.Cache.Memory(ref); ok {
		return b, nil
	}
	return t.wait(ctx, flightKey{ref, false})
}

// Refetch is for a reader that could not use what it got. It forgets the
// worker's own copies, and reads the chunk from the tiers behind them.
func (t *Tiered) Refetch(ctx context.Context, ref chunk.Ref) ([]byte, error) {
	t.stats.refetched.Add(1)
	t.cfg.Cache.Drop(ref)
	return t.wait(ctx, flightKey{ref, true})
}

// flightKey names what is being read.
type flightKey struct {
	ref    chunk.Ref
	bypass bool // past the worker's own cache
}

// flight is a chunk being read, for all who want it.
type flight struct {
	cancel  context.CancelCauseFunc
	waiters int // under Tiered.mu
	done    chan struct{}
	bytes   []byte
	err     error
}

// wait takes part in a flight, or begins it.
func (t *Tiered) wait(ctx context.Context, key flightKey) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	f, err := t.board(ctx, key)
	if err != nil {
		return nil, err
	}
	select {
	case <-f.done:
		return f.bytes, f.err
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if f.waiters--; f.waiters == 0 {
		f.cancel(errAbandoned)
		if t.flights[key] == f {
			delete(t.flights, key) // whoever comes now begins anew
			t.stats.abandoned.Add(1)
		}
	}
	return nil, fmt.Errorf("read chunk %s: %w", key.ref.Name, context.Cause(ctx))
}

var errAbandoned = errors.New("nobody waits for the chunk any more")

func (t *Tiered) board(ctx context.Context, key flightKey) (*flight, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, ErrClosed
	}
	if f := t.flights[key]; f != nil {
		f.waiters++
		t.stats.shared.Add(1)
		return f, nil
	}
	// The flight has no deadline but that somebody waits for it.
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	f := &flight{cancel: cancel, waiters: 1, done: make(chan struct{})}
	t.flights[key] = f
	t.running.Go(func() {
		defer cancel(nil)
		f.bytes, f.err = t.read(ctx, key)
		t.mu.Lock()
		if t.flights[key] == f {
			delete(t.flights, key)
		}
		t.mu.Unlock()
		close(f.done)
	})
	return f, nil
}

// read asks one tier after the other.
func (t *Tiered) read(ctx context.Context, key flightKey) ([]byte, error) {
	if !key.bypass {
		if b, ok := t.cfg.Cache.Read(key.ref); ok {
			t.touch(key.ref.Root)
			return b, nil
		}
	}
	if b, ok := t.fromZone(ctx, key.ref); ok {
		t.touch(key.ref.Root)
		t.cfg.Cache.Put(key.ref, b)
		return b, nil
	}
	b, err := t.fromOrigin(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("read chunk %s: %w", key.ref.Name, err)
	}
	t.cfg.Cache.Put(key.ref, b)
	if t.cfg.Zone != nil {
		t.cfg.Zone.Fill(key.ref, b)
	}
	return b, nil
}

// touch tells the origin what a cache answered: a root that is in use must not
// be deleted because the caches are good.
func (t *Tiered) touch(root chunk.Root) {
	if o, ok := t.cfg.Origin.(toucher); ok {
		o.Touch(root)
	}
}

func (t *Tiered) fromZone(ctx context.Context, ref chunk.Ref) ([]byte, bool) {
	if t.cfg.Zone == nil {
		return nil, false
	}
	b, err := t.cfg.Zone.ReadChunk(ctx, ref)
	if err == nil {
		err = chunk.Check(ref.Name, b)
	}
	t.stats.zone.note(ctx, b, err)
	return b, err == nil
}

// fromOrigin asks the origin until it answers, or has been asked often enough.
func (t *Tiered) fromOrigin(ctx context.Context, key flightKey) ([]byte, error) {
	wait := t.cfg.Backoff
	var bad error
	for attempt := 1; ; attempt++ {
		b, err := t.fetch(ctx, key)
		switch {
		case errors.Is(err, chunk.ErrNotFound) && bad != nil:
			return nil, fmt.Errorf("origin: %w; set aside, and now: %w", bad, err)
		case err == nil || errors.Is(err, chunk.ErrNotFound):
			return b, err
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case attempt == t.cfg.Attempts:
			return nil, fmt.Errorf("origin: %d attempts: %w", attempt, err)
		}
		if errors.Is(err, chunk.ErrIntegrity) {
			bad = err
		}
		t.stats.retried.Add(1)
		// Full jitter: those who failed together do not come back together.
		timer := time.NewTimer(time.Duration(t.cfg.Jitter(int64(wait) + 1)))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
		wait = min(2*wait, t.cfg.MaxBackoff)
	}
}

// fetch asks the origin once, when it is this chunk's turn.
func (t *Tiered) fetch(ctx context.Context, key flightKey) ([]byte, error) {
	select {
	case t.fetching <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-t.fetching }()
	once, cancel := context.WithTimeout(ctx, t.cfg.Timeout)
	defer cancel()
	b, err := t.cfg.Origin.ReadChunk(once, key.ref)
	if err == nil && (key.bypass || !t.cfg.Opened) {
		err = chunk.Check(key.ref.Name, b)
	}
	t.stats.origin.note(ctx, b, err)
	if errors.Is(err, chunk.ErrIntegrity) {
		if d, ok := t.cfg.Origin.(distruster); ok {
			// What comes of it is seen by the next attempt.
			_, _ = d.Distrust(once, key.ref)
		}
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// counters are what Stats shows.
type counters struct {
	zone, origin                          tierCounters
	shared, abandoned, refetched, retried atomic.Int64
}

type tierCounters struct{ hits, misses, bytes, corrupt, errors atomic.Int64 }

func (c *tierCounters) note(ctx context.Context, b []byte, err error) {
	switch {
	case err == nil:
		c.hits.Add(1)
		c.bytes.Add(int64(len(b)))
	case errors.Is(err, chunk.ErrIntegrity):
		c.corrupt.Add(1)
	case errors.Is(err, chunk.ErrNotFound):
		c.misses.Add(1)
	case ctx.Err() == nil: // else nobody wanted it any more
		c.errors.Add(1)
	}
}

// Tier counts what a tier answered.
type Tier struct {
	// Hits are chunks of Bytes bytes in all.
	Hits  int64 `json:"hits"`
	Bytes int64 `json:"bytes"`
	// Misses are chunks that the tier did not have.
	Misses int64 `json:"misses"`
	// Corrupt are answers that were not the chunk.
	Corrupt int64 `json:"corrupt"`
	// Errors are answers that did not come.
	Errors int64 `json:"errors"`
}

func (c *tierCounters) read() Tier {
	return Tier{Hits: c.hits.Load(), Bytes: c.bytes.Load(), Misses: c.misses.Load(), Corrupt: c.corrupt.Load(), Errors: c.errors.Load()}
}

// Stats counts what the store did since it was made.
type Stats struct {
	Memory Tier `json:"memory"`
	Disk   Tier `json:"disk"`
	Zone   Tier `json:"zone"`
	Origin Tier `json:"origin"`
	// Shared reads took part in a fetch that another had begun; Abandoned
	// fetches ended because all readers went away.
	Shared    int64 `json:"shared"`
	Abandoned int64 `json:"abandoned"`
	// Refetched chunks were asked for by Refetch, Retried ones again from the
	// origin.
	Refetched int64 `json:"refetched"`
	Retried   int64 `json:"retried"`
	// Cache has more of Memory and Disk.
	Cache cache.Stats `json:"cache"`
}

// Stats returns the counters.
func (t *Tiered) Stats() Stats {
	c := t.cfg.Cache.Stats()
	return Stats{
		Memory: ofLevel(c.Memory), Disk: ofLevel(c.Disk), Zone: t.stats.zone.read(), Origin: t.stats.origin.read(),
		Shared: t.stats.shared.Load(), Abandoned: t.stats.abandoned.Load(),
		Refetched: t.stats.refetched.Load(), Retried: t.stats.retried.Load(), Cache: c,
	}
}

func ofLevel(l cache.Level) Tier {
	return Tier{Hits: l.Hits, Bytes: l.Bytes, Misses: l.Misses, Corrupt: l.Corrupt, Errors: l.Errors}
}
