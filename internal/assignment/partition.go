package assignment

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/environment"
	"hearth/internal/function"
)

// Actions is how a partition acts. Its methods return at once and call nothing
// back from within: the partition is locked. What comes of them is told to the
// partition by the method named. So the same partition runs in the service and
// in a simulation.
type Actions interface {
	// Place asks placement for a place: Placed.
	Place(*Partition, environment.PlaceRequest)
	// Return gives a place back.
	Return(environment.ID)
	// Append journals a record: for an intent, Appended.
	Append(*Partition, Record)
	// Start starts an environment at a worker: Started.
	Start(*Partition, environment.WorkerID, *environment.Start)
	// Stop ends an environment, for as long as it takes: Stopped.
	Stop(*Partition, environment.WorkerID, environment.ID)
	// List asks a worker, in the name of this leader, for the partition's
	// environments: Listed.
	List(p *Partition, worker environment.WorkerID, epoch uint64)
	// Workers are all that there are.
	Workers() []environment.WorkerID
}

// Partition is what the leader of a partition knows: the environments of some
// functions, which of them are idle, and who waits. Its methods are events; it
// acts through Actions. None of them waits.
type Partition struct {
	id  int
	cfg *Tuning
	act Actions

	mu sync.Mutex
	// epoch is zero unless this process leads.
	epoch uint64
	seq   uint64           // of the last lease
	pools map[string]*pool // by function UID
	envs  map[environment.ID]*env
	// away are workers that could not be reached when last tried: what idles
	// there is left alone until they have told of it.
	away map[environment.WorkerID]bool
}

// pool is the environments of one function.
type pool struct {
	uid string
	// generation is the newest seen; environments of others are retired.
	generation uint64
	// idle is a stack: the most recently used is last.
	idle []*env
	// unheard are the inherited ones that may be idle.
	unheard []*env
	waiters []*Waiter // first come, first served
	held    int       // of them
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

// phase is how far an environment has come.
type phase uint8

const (
	placing   phase = iota // placement is asked
	intending              // its intent is being journaled
	starting               // its worker starts it
	live                   // it is idle or busy
	// unheard ones were inherited, and their worker has not said yet how they
	// are. They are used by trying: the worker decides.
	unheard
	doubtful // inherited, too: nobody has heard whether it came to be
	leaving  // it is being stopped
)

// env is one environment.
type env struct {
	Intent
	id    environment.ID
	phase phase
	// rec is what it is started for, provisioned ahead of any invoke.
	rec         *function.Record
	provisioned bool

	busy bool
	// The lease that keeps it busy. Another's lease is not known.
	epoch, seq uint64
	others     bool
	leasedAt   time.Time
	idleSince  time.Time
	// counted says that the environment is one of its pool's live ones.
	counted bool
}

// Waiter is an invoke that waits for an environment.
type Waiter struct {
	rec *function.Record
	// answer is called once, with the partition locked.
	answer func(environment.Lease, error)
	pl     *pool
	lease  *environment.Lease // what it was given
	held   bool               // nothing is started for it yet
}

// NewPartition makes a partition that this process does not lead.
func NewPartition(id int, cfg *Tuning, act Actions) *Partition {
	return &Partition{
		id: id, cfg: cfg, act: act, pools: make(map[string]*pool), envs: make(map[environment.ID]*env),
		away: make(map[environment.WorkerID]bool),
	}
}

// Acquire leases an idle environment, in the zone of whoever asks if there is
// one. If there is none, ok is false: Wait.
func (p *Partition) Acquire(rec *function.Record, zone string) (l environment.Lease, ok bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.epoch == 0 {
		return l, false, environment.ErrNotLeading
	}
	now := p.cfg.Now()
	pl := p.pool(rec)
	if e := p.pickIdle(pl, rec.Generation, zone, now); e != nil {
		return p.lease(e, now), true, nil
	}
	if now.Before(pl.retryAt) {
		return l, false, &environment.BackoffError{Payload: pl.failure, Until: pl.retryAt}
	}
	return l, false, nil
}

// Wait has answer called with an environment, or with why there is none. It is
// called at once if there is one by now. With hold, and if environments are busy,
// none is started for it before Insist is called: one of them may be about to
// turn idle.
func (p *Partition) Wait(rec *function.Record, zone string, hold bool, answer func(environment.Lease, error)) *Waiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := &Waiter{rec: rec, answer: answer}
	if p.epoch == 0 {
		answer(environment.Lease{}, environment.ErrNotLeading)
		return w
	}
	now := p.cfg.Now()
	w.pl = p.pool(rec)
	if e := p.pickIdle(w.pl, rec.Generation, zone, now); e != nil {
		w.give(p.lease(e, now))
		return w
	}
	w.pl.waiters = append(w.pl.waiters, w)
	if hold && w.pl.live > len(w.pl.idle) {
		w.held = true
		w.pl.held++
		return w
	}
	p.startMore(w.pl, now)
	return w
}

// Insist has an environment started for who still waits.
func (p *Partition) Insist(w *Waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.held {
		w.unhold()
		p.startMore(w.pl, p.cfg.Now())
	}
}

func (w *Waiter) unhold() {
	if w.held {
		w.held = false
		w.pl.held--
	}
}

func (w *Waiter) give(l environment.Lease) {
	w.lease = &l
	w.answer(l, nil)
}

// Abandon takes back a waiter whose caller is gone; if it has been answered
// meanwhile, the environment goes to the next one.
func (p *Partition) Abandon(w *Waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w.pl == nil {
		return
	}
	if i := slices.Index(w.pl.waiters, w); i >= 0 {
		w.unhold()
		w.pl.waiters = slices.Delete(w.pl.waiters, i, i+1)
		return
	}
	if w.lease == nil {
		return
	}
	if e := p.leased(*w.lease); e != nil {
		p.release(p.pools[e.Key.UID], e, p.cfg.Now())
	}
}

// pool returns the record's pool, moved on to the record's generation.
func (p *Partition) pool(rec *function.Record) *pool {
	pl := p.poolOf(rec.Key())
	if rec.Generation > pl.generation {
		p.advance(pl, rec.Generation)
	}
	return pl
}

func (p *Partition) poolOf(key function.Key) *pool {
	pl := p.pools[key.UID]
	if pl == nil {
		pl = &pool{uid: key.UID, generation: key.Generation}
		p.pools[key.UID] = pl
	}
	return pl
}

// sortedPools and sortedEnvs go through them in an order that is the same each
// time: what is done must follow from what has happened.
func (p *Partition) sortedPools() []*pool {
	all := make([]*pool, 0, len(p.pools))
	for _, pl := range p.pools {
		all = append(all, pl)
	}
	slices.SortFunc(all, func(a, b *pool) int { return strings.Compare(a.uid, b.uid) })
	return all
}

func (p *Partition) sortedEnvs() []*env {
	all := make([]*env, 0, len(p.envs))
	for _, e := range p.envs {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *env) int { return strings.Compare(string(a.id), string(b.id)) })
	return all
}

// advance retires what the pool holds of older generations.
func (p *Partition) advance(pl *pool, generation uint64) {
	pl.generation = generation
	for _, e := range p.envs {
		if e.Key.UID == pl.uid {
			p.discount(e)
		}
	}
	pl.failures, pl.retryAt, pl.failure = 0, time.Time{}, nil
	for _, e := range pl.idle {
		p.retire(e)
	}
	pl.idle = pl.idle[:0]
}

// pickIdle takes an idle environment that is not near its end. An invoke that
// resolved an older generation than the pool has (it read its record just before
// a change) may use the newer one.
func (p *Partition) pickIdle(pl *pool, generation uint64, zone string, now time.Time) *env {
	for _, from := range []*[]*env{&pl.idle, &pl.unheard} {
		for i := p.choose(*from, zone); i >= 0; i = p.choose(*from, zone) {
			e := (*from)[i]
			*from = slices.Delete(*from, i, i+1)
			if e.Key.Generation < generation || p.nearEnd(e, now) {
				p.retire(e)
				continue
			}
			e.phase = live
			return e
		}
	}
	return nil
}

// nearby is how many environments are looked at for one in the same zone.
const nearby = 64

// choose finds the most recently used environment, of those in a zone if there is
// one; -1 if there is none that can be reached.
func (p *Partition) choose(from []*env, zone string) int {
	best := -1
	for i := len(from) - 1; i >= 0 && len(from)-i <= nearby || i >= 0 && best < 0; i-- {
		if len(p.away) > 0 && p.away[from[i].Worker] {
			continue
		}
		if zone == "" || p.cfg.ZoneOf == nil || p.cfg.ZoneOf(from[i].Worker) == zone {
			return i
		}
		if best < 0 {
			best = i
		}
	}
	return best
}

func (p *Partition) nearEnd(e *env, now time.Time) bool {
	return e.LeaseEnd.Sub(now) < p.cfg.LeaseMargin
}

// lease gives an environment to one invoke.
func (p *Partition) lease(e *env, now time.Time) environment.Lease {
	p.seq++
	e.busy, e.others, e.leasedAt = true, false, now
	e.epoch, e.seq = p.epoch, p.seq
	return environment.Lease{ID: e.id, Worker: e.Worker, Partition: p.id, Epoch: e.epoch, Seq: e.seq, Key: e.Key}
}

// leased is the environment of a lease that has not ended yet.
func (p *Partition) leased(l environment.Lease) *env {
	e := p.envs[l.ID]
	switch {
	case e == nil || e.phase == leaving:
		return nil
	case e.phase == unheard:
		return e // its first news
	case e.phase == live && e.busy && (e.others || e.epoch == l.Epoch && e.seq == l.Seq):
		return e
	}
	return nil
}

// offer gives a free environment to the first waiter that may use it, or
// keeps it idle.
func (p *Partition) offer(pl *pool, e *env, cold *environment.Started, now time.Time) {
	if len(pl.waiters) > 0 && !p.away[e.Worker] {
		l := p.lease(e, now)
		l.Cold = cold
		w := pl.waiters[0]
		w.unhold()
		pl.waiters = slices.Delete(pl.waiters, 0, 1)
		w.give(l)
		return
	}
	e.busy, e.idleSince = false, now
	pl.idle = append(pl.idle, e)
}

// discount takes an environment out of its pool's live ones.
func (p *Partition) discount(e *env) {
	if e.counted {
		e.counted = false
		p.pools[e.Key.UID].live--
	}
}

// count makes it one of them.
func (p *Partition) count(pl *pool, e *env) {
	if !e.counted && e.Key.Generation == pl.generation {
		e.counted = true
		pl.live++
	}
}

// refuse answers the first waiter.
func (pl *pool) refuse(err error) {
	if len(pl.waiters) == 0 {
		return
	}
	w := pl.waiters[0]
	w.unhold()
	pl.waiters = slices.Delete(pl.waiters, 0, 1)
	w.answer(environment.Lease{}, err)
}

// release puts an environment that has done its invoke back to use.
func (p *Partition) release(pl *pool, e *env, now time.Time) {
	if e.Key.Generation < pl.generation || p.nearEnd(e, now) {
		p.retire(e)
		p.startMore(pl, now)
		return
	}
	p.offer(pl, e, nil, now)
}

// Done is the worker's report that the invoke of a lease has ended. For
// OutcomeInitError, payload is what the caller was told.
func (p *Partition) Done(l environment.Lease, outcome environment.Outcome, payload []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.leased(l); e != nil {
		p.done(e, outcome, payload)
	}
}

func (p *Partition) done(e *env, outcome environment.Outcome, payload []byte) {
	pl, now := p.pools[e.Key.UID], p.cfg.Now()
	if e.phase == unheard {
		pl.unheard = without(pl.unheard, e)
		e.phase = live
	}
	p.noteInit(pl, e, outcome, payload, now)
	if !outcome.Reusable() {
		p.retire(e)
		p.startMore(pl, now)
		return
	}
	p.release(pl, e, now)
}

// Refused is the frontend's report that the worker has not accepted the invoke
// of a lease, and why.
func (p *Partition) Refused(l environment.Lease, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.leased(l)
	switch {
	case e == nil || e.phase != live:
	case errors.Is(why, environment.ErrBusy):
		e.others = true // an invoke that a former leader gave it
	case errors.Is(why, environment.ErrStale):
		// Another leads: this process is about to hear of that.
	case errors.Is(why, environment.ErrUnit):
		p.release(p.pools[e.Key.UID], e, p.cfg.Now())
	case errors.Is(why, environment.ErrAway):
		// As far as anybody knows it is as it was.
		p.leave(e.Worker)
		p.release(p.pools[e.Key.UID], e, p.cfg.Now())
	default:
		p.done(e, environment.OutcomeFault, nil)
	}
}

// Away says that a worker cannot be reached.
func (p *Partition) Away(worker environment.WorkerID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.epoch != 0 {
		p.leave(worker)
	}
}

// Heard says that a worker may be reached again.
func (p *Partition) Heard(worker environment.WorkerID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.epoch != 0 && p.away[worker] {
		p.act.List(p, worker, p.epoch)
	}
}

// Epoch is the leader's; zero unless this process leads.
func (p *Partition) Epoch() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.epoch
}

func (p *Partition) owns(id environment.ID, worker environment.WorkerID) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.envs[id]
	return e != nil && e.Worker == worker
}

func (p *Partition) leave(worker environment.WorkerID) {
	if p.away[worker] {
		return
	}
	p.away[worker] = true
	now := p.cfg.Now()
	for _, e := range p.sortedEnvs() {
		if e.Worker == worker {
			p.discount(e)
			p.startMore(p.pools[e.Key.UID], now) // what is provisioned
		}
	}
	// It tells when it is back.
	p.act.List(p, worker, p.epoch)
}

func without(all []*env, e *env) []*env {
	if i := slices.Index(all, e); i >= 0 {
		return slices.Delete(all, i, i+1)
	}
	return all
}

// noteInit keeps the score of failed inits, for the back-off.
func (p *Partition) noteInit(pl *pool, e *env, outcome environment.Outcome, payload []byte, now time.Time) {
	if e.Key.Generation != pl.generation {
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
	pause := p.cfg.MaxBackoff
	if shift := pl.failures - 2; shift < 16 {
		pause = min(pause, p.cfg.Backoff<<shift)
	}
	pl.retryAt = now.Add(pause)
	for len(pl.waiters) > 0 {
		pl.refuse(&environment.BackoffError{Payload: payload, Until: pl.retryAt})
	}
}

// throttled is what a caller is told for whom nothing may be started.
func throttled() error { return awserr.Throttled(awserr.ReasonConcurrentInvocationLimit) }
