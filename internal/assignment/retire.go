package assignment

import (
	"time"

	"hearth/internal/environment"
)

// retireLocked forgets an environment and stops it in the background. The
// caller has taken it out of the idle list. Once the service has stopped, the
// worker destroys what is left when it stops itself.
func (p *partition) retireLocked(e *env) {
	if p.envs[e.id] == nil {
		return
	}
	delete(p.envs, e.id)
	p.discount(e)
	if !p.stopped {
		p.svc.leaving.begin()
		p.svc.wg.Go(func() { p.svc.retire(e) })
	}
}

// expire retires environments that have idled too long or near their end, and
// forgets pools that hold nothing.
func (p *partition) expire(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for uid, pl := range p.pools {
		keep := pl.idle[:0]
		for _, e := range pl.idle {
			if now.Sub(e.idleSince) >= p.svc.cfg.IdleTimeout && pl.spare() || p.nearEnd(e, now) {
				p.retireLocked(e)
				continue
			}
			keep = append(keep, e)
		}
		clear(pl.idle[len(keep):])
		pl.idle = keep
		p.replaceProvisioned(pl, now)
		if p.unused(pl, now) {
			delete(p.pools, uid)
		}
	}
}

// replaceProvisioned starts what is missing of the provisioned environments,
// and replacements of those that come near their end, while they still serve.
func (p *partition) replaceProvisioned(pl *pool, now time.Time) {
	if p.stopped || pl.provisioned == 0 {
		return
	}
	for _, e := range pl.idle {
		if e.leaseEnd.Sub(now) < 2*p.svc.cfg.LeaseMargin {
			p.discount(e)
		}
	}
	p.startMore(pl, now)
}

// unused says whether a pool can be forgotten: nothing refers to it, and its
// back-off and scaling window are over.
func (p *partition) unused(pl *pool, now time.Time) bool {
	if len(pl.idle)+len(pl.waiters)+pl.starting+pl.provisioned > 0 || now.Before(pl.retryAt.Add(p.svc.cfg.MaxBackoff)) || now.Sub(pl.window) < 10*time.Second {
		return false
	}
	for _, e := range p.envs {
		if e.key.UID == pl.uid {
			return false
		}
	}
	return true
}

// retireFunction retires the idle environments of generations older than
// current; current 0 means that the function is gone and all of them go.
func (p *partition) retireFunction(uid string, current uint64) {
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

func (p *partition) lost(id environment.ID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.envs[id]
	if e == nil || e.busy {
		return // an invoke is in it: its end will be reported
	}
	pl := p.pools[e.key.UID]
	for i, x := range pl.idle {
		if x == e {
			pl.idle = append(pl.idle[:i], pl.idle[i+1:]...)
			break
		}
	}
	p.retireLocked(e)
}

// oldestIdle is when the partition's least recently used idle environment
// turned idle.
func (p *partition) oldestIdle() (since time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pl := p.oldestPool(); pl != nil {
		return pl.idle[0].idleSince, true
	}
	return time.Time{}, false
}

// evictOldest begins to retire that environment.
func (p *partition) evictOldest() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	pl := p.oldestPool()
	if pl == nil {
		return false
	}
	e := pl.idle[0]
	pl.idle = append(pl.idle[:0], pl.idle[1:]...)
	p.retireLocked(e)
	return true
}

func (p *partition) oldestPool() *pool {
	var oldest *pool
	for _, pl := range p.pools {
		if len(pl.idle) > 0 && pl.spare() && (oldest == nil || pl.idle[0].idleSince.Before(oldest.idle[0].idleSince)) {
			oldest = pl
		}
	}
	return oldest
}

// stop refuses waiters and retires what is idle; busy environments go when
// their invokes end.
func (p *partition) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pl := range p.pools {
		for len(pl.waiters) > 0 {
			p.answerFirst(pl, answer{err: ErrStopped})
		}
		for _, e := range pl.idle {
			p.retireLocked(e)
		}
		pl.idle = nil
	}
	p.stopped = true
}

func (p *partition) list(all []Environment) []Environment {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.envs {
		all = append(all, Environment{ID: e.id, Worker: e.worker, Key: e.key, Idle: !e.busy, LeaseEnd: e.leaseEnd})
	}
	return all
}
