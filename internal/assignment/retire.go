package assignment

import (
	"time"

	"hearth/internal/environment"
	"hearth/internal/function"
)

// retire stops an environment. The caller has taken it out of the idle list.
func (p *Partition) retire(e *env) {
	if e.phase == leaving {
		return
	}
	e.phase = leaving
	p.discount(e)
	p.act.Stop(p, e.Worker, e.id)
}

// Stopped is what came of Actions.Stop.
func (p *Partition) Stopped(id environment.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e := p.in(id, leaving); e != nil {
		p.gone(e)
	}
}

// Expire retires environments that have idled too long or near their end, and
// forgets pools that hold nothing.
func (p *Partition) Expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.cfg.Now()
	for _, pl := range p.sortedPools() {
		keep := pl.idle[:0]
		for _, e := range pl.idle {
			if now.Sub(e.idleSince) >= p.cfg.IdleTimeout && pl.spare() || p.nearEnd(e, now) {
				p.retire(e)
				continue
			}
			keep = append(keep, e)
		}
		clear(pl.idle[len(keep):])
		pl.idle = keep
		p.replaceProvisioned(pl, now)
		if p.unused(pl, now) {
			delete(p.pools, pl.uid)
		}
	}
	// What nobody has heard of ends with its lease.
	for _, e := range p.sortedEnvs() {
		if (e.phase == unheard || e.phase == doubtful) && now.After(e.LeaseEnd) {
			pl := p.pools[e.Key.UID]
			pl.unheard = without(pl.unheard, e)
			p.retire(e)
		}
		if e.phase == live && e.busy && now.Sub(e.LeaseEnd) > overdue {
			p.retire(e) // its worker has not been heard of since
		}
	}
}

// overdue is how long after its lease an environment can be busy: no invoke takes
// as long.
const overdue = time.Hour

// replaceProvisioned starts what is missing of the provisioned environments,
// and replacements of those that come near their end, while they still serve.
func (p *Partition) replaceProvisioned(pl *pool, now time.Time) {
	if pl.provisioned == 0 {
		return
	}
	for _, e := range pl.idle {
		if e.LeaseEnd.Sub(now) < 2*p.cfg.LeaseMargin {
			p.discount(e)
		}
	}
	p.startMore(pl, now)
}

// unused says whether a pool can be forgotten: nothing refers to it, and its
// back-off and scaling window are over.
func (p *Partition) unused(pl *pool, now time.Time) bool {
	if len(pl.idle)+len(pl.waiters)+pl.starting+pl.provisioned > 0 || now.Before(pl.retryAt.Add(p.cfg.MaxBackoff)) || now.Sub(pl.window) < scalingWindow {
		return false
	}
	for _, e := range p.envs {
		if e.Key.UID == pl.uid {
			return false
		}
	}
	return true
}

// RetireFunction retires the idle environments of generations older than
// current; current 0 means that the function is gone and all of them go.
func (p *Partition) RetireFunction(uid string, current uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pl := p.pools[uid]
	if pl == nil || (current != 0 && current <= pl.generation) {
		return
	}
	if current == 0 {
		current = pl.generation + 1
	}
	p.advance(pl, current)
}

// Lost is the worker's report that an environment ended by itself.
func (p *Partition) Lost(id environment.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.envs[id]
	if e == nil || e.busy || e.phase != live && e.phase != unheard {
		return // an invoke is in it: its end will be reported
	}
	pl := p.pools[e.Key.UID]
	pl.idle, pl.unheard = without(pl.idle, e), without(pl.unheard, e)
	p.retire(e)
}

// oldestIdle is when the partition's least recently used idle environment
// turned idle.
func (p *Partition) oldestIdle() (since time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pl := p.oldestPool(); pl != nil {
		return pl.idle[0].idleSince, true
	}
	return time.Time{}, false
}

// evictOldest begins to retire that environment.
func (p *Partition) evictOldest() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	pl := p.oldestPool()
	if pl == nil {
		return false
	}
	e := pl.idle[0]
	pl.idle = append(pl.idle[:0], pl.idle[1:]...)
	p.retire(e)
	return true
}

func (p *Partition) oldestPool() *pool {
	var oldest *pool
	for _, pl := range p.sortedPools() {
		if len(pl.idle) > 0 && pl.spare() && (oldest == nil || pl.idle[0].idleSince.Before(oldest.idle[0].idleSince)) {
			oldest = pl
		}
	}
	return oldest
}

// Environments adds what the partition has to a list, by id.
func (p *Partition) Environments(all []Environment) []Environment {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.sortedEnvs() {
		if e.phase == live || e.phase == unheard {
			all = append(all, Environment{ID: e.id, Worker: e.Worker, Key: e.Key, Idle: !e.busy, LeaseEnd: e.LeaseEnd})
		}
	}
	return all
}

// Environment describes one environment for operators.
type Environment struct {
	ID       environment.ID
	Worker   environment.WorkerID
	Key      function.Key
	Idle     bool
	LeaseEnd time.Time
}
