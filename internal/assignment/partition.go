package assignment

import (
	"context"
	"sync"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/environment"
	"hearth/internal/function"
)

// partition is the state machine that owns the environments of some functions.
type partition struct {
	svc *Service

	mu      sync.Mutex
	stopped bool
	pools   map[string]*pool // by function UID
	envs    map[environment.ID]*env
}

// pool is the environments of one function.
type pool struct {
	uid string
	// generation is the newest seen; environments of others are retired.
	generation uint64
	// idle is a stack: the most recently used is last.
	idle    []*env
	waiters []*waiter // first come, first served
	// starting counts environments on their way for the newest generation.
	starting int

	// live counts the environments of the newest generation that are not near
	// their end.
	live int
	// provisioned is how many environments of rec are kept initialised.
	provisioned      int
	rec              *function.Record
	provisionRetry   time.Time
	provisionFailure string

	// window is when the scaling window began, started how many starts it saw.
	window  time.Time
	started int

	failures int // of init, in a row
	retryAt  time.Time
	failure  []byte
}

// env is one environment; immutable but for what the partition's lock guards.
type env struct {
	id       environment.ID
	key      function.Key
	worker   environment.WorkerID
	leaseEnd time.Time

	busy      bool
	idleSince time.Time
	// counted says that the environment is one of its pool's live ones.
	counted bool
}

// waiter is an invoke that waits for an environment.
type waiter struct {
	rec *function.Record
	ch  chan answer // holds one
}

type answer struct {
	lease environment.Lease
	err   error
}

func newPartition(s *Service) *partition {
	return &partition{svc: s, pools: make(map[string]*pool), envs: make(map[environment.ID]*env)}
}

func (p *partition) acquire(ctx context.Context, rec *function.Record) (environment.Lease, error) {
	now := time.Now()
	p.mu.Lock()
	if p.stopped {
		p.mu.Unlock()
		return environment.Lease{}, ErrStopped
	}
	pl := p.pool(rec)
	if e := p.pickIdle(pl, rec.Generation, now); e != nil {
		p.mu.Unlock()
		return p.lease(e), nil
	}
	if now.Before(pl.retryAt) {
		err := &environment.BackoffError{Payload: pl.failure, Until: pl.retryAt}
		p.mu.Unlock()
		return environment.Lease{}, err
	}
	w := &waiter{rec: rec, ch: make(chan answer, 1)}
	pl.waiters = append(pl.waiters, w)
	p.startMore(pl, now)
	p.mu.Unlock()

	patience := time.NewTimer(p.svc.cfg.Patience)
	defer patience.Stop()
	select {
	case a := <-w.ch:
		return a.lease, a.err
	case <-patience.C:
		p.abandon(pl, w)
		return environment.Lease{}, awserr.Throttled(awserr.ReasonConcurrentInvocationLimit)
	case <-ctx.Done():
		p.abandon(pl, w)
		return environment.Lease{}, context.Cause(ctx)
	}
}

// pool returns the record's pool, moved on to the record's generation.
func (p *partition) pool(rec *function.Record) *pool {
	pl := p.pools[rec.UID]
	if pl == nil {
		pl = &pool{uid: rec.UID, generation: rec.Generation}
		p.pools[rec.UID] = pl
	}
	if rec.Generation > pl.generation {
		p.advance(pl, rec.Generation)
	}
	return pl
}

// advance retires what the pool holds of older generations.
func (p *partition) advance(pl *pool, generation uint64) {
	pl.generation = generation
	for _, e := range p.envs {
		if e.key.UID == pl.uid {
			p.discount(e)
		}
	}
	pl.failures, pl.retryAt, pl.failure = 0, time.Time{}, nil
	for _, e := range pl.idle {
		p.retireLocked(e)
	}
	pl.idle = pl.idle[:0]
}

// pickIdle takes the most recently used idle environment that is not near its
// end. An invoke that resolved an older generation than the pool has (it read
// its record just before a change) may use the newer one.
func (p *partition) pickIdle(pl *pool, generation uint64, now time.Time) *env {
	for n := len(pl.idle); n > 0; n = len(pl.idle) {
		e := pl.idle[n-1]
		pl.idle[n-1] = nil
		pl.idle = pl.idle[:n-1]
		if e.key.Generation < generation || p.nearEnd(e, now) {
			p.retireLocked(e)
			continue
		}
		e.busy = true
		return e
	}
	return nil
}

func (p *partition) nearEnd(e *env, now time.Time) bool {
	return e.leaseEnd.Sub(now) < p.svc.cfg.LeaseMargin
}

func (p *partition) lease(e *env) environment.Lease {
	return environment.Lease{ID: e.id, Worker: e.worker, Epoch: p.svc.cfg.Epoch, Key: e.key}
}

// startMore starts environments until every waiter has one on its way or a
// limit is reached; waiters beyond the scaling rate are refused.
func (p *partition) startMore(pl *pool, now time.Time) {
	for pl.starting < max(len(pl.waiters), pl.missing(now)) && pl.starting < p.svc.cfg.StartsPerFunction {
		if pl.failures > 1 && pl.starting > 0 {
			return // a failing init is tried one at a time
		}
		if now.Sub(pl.window) >= 10*time.Second {
			pl.window, pl.started = now, 0
		}
		if pl.started >= p.svc.cfg.ScalingRate {
			if len(pl.waiters) == 0 {
				return // what is provisioned waits for the next window
			}
			p.answerFirst(pl, answer{err: awserr.Throttled(awserr.ReasonConcurrentInvocationLimit)})
			continue
		}
		pl.started++
		pl.starting++
		rec := pl.rec
		if n := len(pl.waiters); n > 0 {
			// The newest record among the waiters is what is worth starting.
			rec = pl.waiters[n-1].rec
		}
		provisioned := pl.live+pl.starting <= pl.provisioned
		p.svc.wg.Go(func() { p.start(pl, rec, provisioned) })
	}
}

// start brings one environment up and hands it on.
func (p *partition) start(pl *pool, rec *function.Record, provisioned bool) {
	e := &env{id: p.svc.cfg.NewID(), key: rec.Key()}
	started, err := p.svc.launch(p.svc.ctx, e, rec, provisioned)

	p.mu.Lock()
	defer p.mu.Unlock()
	pl.starting--
	now := time.Now()
	useful := p.noteProvisioned(pl, started, err, now)
	if err != nil {
		p.answerFirst(pl, answer{err: err})
		p.startMore(pl, now)
		return
	}
	p.envs[e.id] = e
	if e.key.Generation == pl.generation {
		e.counted = true
		pl.live++
	}
	if p.stopped || !useful || e.key.Generation < pl.generation {
		p.retireLocked(e)
		p.startMore(pl, now)
		return
	}
	p.offer(pl, e, started, now)
	// Others may still wait, who were too many to start for at once.
	p.startMore(pl, now)
}

// offer gives a free environment to the first waiter that may use it, or
// keeps it idle.
func (p *partition) offer(pl *pool, e *env, cold *environment.Started, now time.Time) {
	if len(pl.waiters) > 0 {
		e.busy = true
		l := p.lease(e)
		l.Cold = cold
		p.answerFirst(pl, answer{lease: l})
		return
	}
	e.busy, e.idleSince = false, now
	pl.idle = append(pl.idle, e)
}

// discount takes an environment out of its pool's live ones.
func (p *partition) discount(e *env) {
	if e.counted {
		e.counted = false
		p.pools[e.key.UID].live--
	}
}

func (p *partition) answerFirst(pl *pool, a answer) {
	if len(pl.waiters) == 0 {
		return
	}
	w := pl.waiters[0]
	pl.waiters[0] = nil
	pl.waiters = pl.waiters[1:]
	w.ch <- a
}

// abandon takes back a waiter whose caller is gone; if it has been answered
// meanwhile, the environment goes to the next one.
func (p *partition) abandon(pl *pool, w *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, x := range pl.waiters {
		if x == w {
			pl.waiters = append(pl.waiters[:i], pl.waiters[i+1:]...)
			return
		}
	}
	if a := <-w.ch; a.err == nil {
		if e := p.envs[a.lease.ID]; e != nil {
			p.release(pl, e, time.Now())
		}
	}
}

// release puts an environment that has done its invoke back to use.
func (p *partition) release(pl *pool, e *env, now time.Time) {
	if p.stopped || e.key.Generation < pl.generation || p.nearEnd(e, now) {
		p.retireLocked(e)
		p.startMore(pl, now)
		return
	}
	p.offer(pl, e, nil, now)
}

func (p *partition) invokeDone(l environment.Lease, outcome environment.Outcome, payload []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e, pl := p.envs[l.ID], p.pools[l.Key.UID]
	if e == nil || pl == nil || !e.busy {
		return // retired or lost meanwhile
	}
	now := time.Now()
	p.noteInit(pl, e, outcome, payload, now)
	if !outcome.Reusable() {
		p.retireLocked(e)
		p.startMore(pl, now)
		return
	}
	p.release(pl, e, now)
}

// noteInit keeps the score of failed inits, for the back-off.
func (p *partition) noteInit(pl *pool, e *env, outcome environment.Outcome, payload []byte, now time.Time) {
	if e.key.Generation != pl.generation {
		return
	}
	if outcome != environment.OutcomeInitError {
		pl.failures, pl.retryAt, pl.failure = 0, time.Time{}, nil
		return
	}
	pl.failures++
	pl.failure = payload
	if pl.failures < 2 {
		return
	}
	pause := p.svc.cfg.MaxBackoff
	if shift := pl.failures - 2; shift < 16 {
		pause = min(pause, p.svc.cfg.Backoff<<shift)
	}
	pl.retryAt = now.Add(pause)
	for len(pl.waiters) > 0 {
		p.answerFirst(pl, answer{err: &environment.BackoffError{Payload: payload, Until: pl.retryAt}})
	}
}
