package counting

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/function"
	"hearth/internal/invocation"
)

// RequestsPerUnit is AWS's request rate quota: ten requests a second for each
// unit of account concurrency.
const RequestsPerUnit = 10

// Config is what a Service needs; zero fields take their defaults.
type Config struct {
	// AccountConcurrency is each account's limit; default 1,000, as AWS.
	AccountConcurrency int
	Now                func() time.Time
	// Source gives units of pools that several frontends take from; nil if this is
	// the only one.
	Source Source
}

// Source is the counting leaders, as a frontend sees them.
type Source interface {
	// Take asks for up to want units of a pool, of which limit may be held at once,
	// and has accept called with what was granted: single says that each is to be
	// given back as soon as it is free, life for which life of the frontend it was
	// granted. No units mean that all are held.
	Take(ctx context.Context, pool string, limit, want int, longest time.Duration, accept func(granted int, single bool, life uint64)) error
	// Give gives units back. take, which takes them from what the frontend holds,
	// says how many.
	Give(pool string, take func() (n int, life uint64))
	// Over says that a worker takes no invokes of a life of the frontend.
	Over(life uint64)
}

func (c *Config) fill() error {
	if c.AccountConcurrency == 0 {
		c.AccountConcurrency = 1000
	}
	if c.AccountConcurrency < 0 {
		return fmt.Errorf("counting: account concurrency is %d; it must be at least 1", c.AccountConcurrency)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

// Service admits invokes.
type Service struct {
	cfg      Config
	start    time.Time
	accounts keyed[account]
	// functions are the pools of functions with reserved concurrency, and of
	// versions with provisioned concurrency, by UID.
	functions keyed[pool]
}

// New makes a Service.
func New(cfg Config) (*Service, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	return &Service{cfg: cfg, start: cfg.Now()}, nil
}

// account is the state of one account.
type account struct {
	// shared is the pool of the functions that have none of their own.
	shared pool
	// set aside for functions with reserved or provisioned concurrency.
	aside atomic.Int64
}

// pool is a number of units that invokes are admitted to.
type pool struct {
	inFlight atomic.Int64
	// slice is what of the pool this frontend has, if it is not the only one.
	slice slice
	// arrival is the theoretical arrival time of the generic cell rate
	// algorithm, in nanoseconds since the service's start: a token bucket in
	// one word.
	arrival atomic.Int64
}

// take takes a unit if fewer than limit are held.
func (p *pool) take(limit int64) bool {
	if p.inFlight.Add(1) > limit {
		p.inFlight.Add(-1)
		return false
	}
	return true
}

// Release implements invocation.Unit. A unit is the pool it was taken from, so
// that handing it out allocates nothing.
func (p *pool) Release() {
	if p.inFlight.Add(-1) < 0 {
		panic("counting: a unit was released twice")
	}
}

// Admit takes a unit of concurrency for an invoke of a function, or answers
// AWS's 429 with its reason. run is the version that runs, or the function
// itself. A function with reserved concurrency has a pool of its own; another
// takes first from what is provisioned for the version, then from what its
// account has left.
func (s *Service) Admit(ctx context.Context, fn, run *function.Record) (invocation.Unit, error) {
	var longest time.Duration
	if run.Serving != nil {
		longest = time.Duration(run.Serving.Timeout) * time.Second
	}
	if fn.Reserved != nil {
		p := poolOf(&s.functions, fn.UID)
		return s.admit(ctx, asked{p, "function/" + fn.UID, int64(*fn.Reserved), longest},
			awserr.ReasonReservedConcurrentInvocationLimit, awserr.ReasonFunctionInvocationRateLimit)
	}
	if n := fn.ProvisionedFor(run.VersionName()); n > 0 {
		p := poolOf(&s.functions, run.UID)
		if u, err := s.take(ctx, asked{p, "function/" + run.UID, int64(n), longest}); u != nil || err != nil {
			return u, err
		}
	}
	a := poolOf(&s.accounts, fn.Account)
	return s.admit(ctx, asked{&a.shared, "account/" + fn.Account, int64(s.cfg.AccountConcurrency) - a.aside.Load(), longest},
		awserr.ReasonConcurrentInvocationLimit, awserr.ReasonCallerRateLimit)
}

// asked is a unit that is asked for.
type asked struct {
	pool  *pool
	key   string // of the pool, among all processes
	limit int64
	// longest is the longest time that the invoke may take.
	longest time.Duration
}

func (s *Service) admit(ctx context.Context, a asked, full, fast string) (invocation.Unit, error) {
	u, err := s.take(ctx, a)
	switch {
	case err != nil:
		return nil, err
	case u == nil:
		return nil, awserr.Throttled(full)
	case !s.conform(a.pool, a.limit):
		u.Release()
		return nil, awserr.Throttled(fast)
	}
	return u, nil
}

// take takes a unit; it is nil if all are held.
func (s *Service) take(ctx context.Context, a asked) (invocation.Unit, error) {
	if s.cfg.Source != nil {
		return s.takeShared(ctx, a)
	}
	if !a.pool.take(a.limit) {
		return nil, nil
	}
	return a.pool, nil
}

// poolOf returns the value of a key, made when it is first asked for.
func poolOf[T any](m *keyed[T], key string) *T {
	v, ok := m.Load(key)
	if !ok {
		v, _ = m.LoadOrStore(key, new(T))
	}
	return v.(*T)
}

// keyed is a map of *T by string.
type keyed[T any] struct{ sync.Map }

// conform is GCRA with a burst of one second's worth of requests.
func (s *Service) conform(p *pool, limit int64) bool {
	interval := int64(time.Second) / (limit * RequestsPerUnit)
	now := int64(s.cfg.Now().Sub(s.start))
	for {
		old := p.arrival.Load()
		next := max(old, now) + interval
		if next-now > int64(time.Second) {
			return false
		}
		if p.arrival.CompareAndSwap(old, next) {
			return true
		}
	}
}

// Changed takes note of what a function sets aside of its account's
// concurrency. Before or after is nil for a new or deleted function; changes
// of one function are told in order.
func (s *Service) Changed(before, after *function.Record) {
	move := func(r *function.Record, sign int64) {
		if r != nil {
			poolOf(&s.accounts, r.Account).aside.Add(sign * int64(r.SetAside()))
		}
	}
	move(before, -1)
	move(after, 1)
	if before == nil || (after != nil && after.UID == before.UID) {
		return
	}
	s.functions.Delete(before.UID) // what is in flight releases its unit there
}

// Limit is the account's concurrency limit.
func (s *Service) Limit(string) int { return s.cfg.AccountConcurrency }

// InFlight is the number of units held of an account's unreserved concurrency.
func (s *Service) InFlight(accountID string) int {
	p := &poolOf(&s.accounts, accountID).shared
	return int(p.inFlight.Load()) + p.slice.inUse()
}
