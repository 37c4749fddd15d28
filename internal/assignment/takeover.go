package assignment

import (
	"time"

	"hearth/internal/environment"
)

// settled is how long after a lease a worker's word on the environment counts:
// before, the invoke may still be on its way there.
const settled = 5 * time.Second

// Lead begins a term, or goes on in a new one. What the journal knows and the
// partition does not is inherited: ready environments are used by trying until
// their workers have said how they are, and of others nobody knows whether they
// came to be.
func (p *Partition) Lead(epoch uint64, journaled *Replica) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.epoch = epoch
	for _, k := range journaled.Known() {
		if p.envs[k.ID] != nil {
			continue
		}
		e := &env{id: k.ID, Intent: k.Intent, phase: doubtful}
		p.envs[k.ID] = e
		pl := p.poolOf(k.Key)
		if k.Key.Generation > pl.generation {
			p.advance(pl, k.Key.Generation)
		}
		if k.Ready {
			e.phase = unheard
			pl.unheard = append(pl.unheard, e)
			p.count(pl, e)
		}
	}
	for _, w := range p.workers() {
		p.act.List(p, w, epoch)
	}
	now := p.cfg.Now()
	for _, pl := range p.sortedPools() {
		p.startMore(pl, now)
	}
}

// workers are all that there are, and all that environments are at.
func (p *Partition) workers() []environment.WorkerID {
	all := p.act.Workers()
	seen := make(map[environment.WorkerID]bool, len(all))
	for _, w := range all {
		seen[w] = true
	}
	for _, e := range p.sortedEnvs() {
		if e.Worker != "" && !seen[e.Worker] {
			seen[e.Worker] = true
			all = append(all, e.Worker)
		}
	}
	return all
}

// Depose ends leading: whoever leads now has the environments, and nothing of
// them is known here any more.
func (p *Partition) Depose() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.epoch = 0
	for _, pl := range p.sortedPools() {
		for len(pl.waiters) > 0 {
			pl.refuse(environment.ErrNotLeading)
		}
		pl.idle, pl.unheard, pl.starting, pl.live = nil, nil, 0, 0
	}
	clear(p.envs)
	clear(p.away)
}

// Check asks all workers again how the environments are: reports get lost.
func (p *Partition) Check() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.epoch == 0 {
		return
	}
	for _, w := range p.workers() {
		p.act.List(p, w, p.epoch)
	}
}

// Listed is what a worker answered to Actions.List, which was asked at a time.
func (p *Partition) Listed(worker environment.WorkerID, epoch uint64, asked time.Time, reports []environment.Report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.epoch != epoch {
		return
	}
	back := p.away[worker]
	delete(p.away, worker)
	said := make(map[environment.ID]environment.Report, len(reports))
	for _, r := range reports {
		said[r.ID] = r
	}
	for _, e := range p.sortedEnvs() {
		if e.Worker == worker {
			r, there := said[e.id]
			p.hear(e, r, there, asked)
			if back && there && e.phase == live {
				p.count(p.pools[e.Key.UID], e)
			}
		}
	}
	for _, r := range reports {
		if p.envs[r.ID] != nil {
			continue
		}
		// The journal does not know it: a stop has not reached it, or its start
		// came late.
		e := &env{id: r.ID, phase: live, Intent: Intent{Key: r.Key, Worker: worker}}
		p.poolOf(r.Key)
		p.envs[r.ID] = e
		p.retire(e)
	}
	now := p.cfg.Now()
	for _, pl := range p.sortedPools() {
		if back {
			p.serve(pl, now)
		}
		p.startMore(pl, now)
	}
}

// serve gives idle environments to those who wait.
func (p *Partition) serve(pl *pool, now time.Time) {
	for len(pl.waiters) > 0 {
		e := p.pickIdle(pl, pl.waiters[0].rec.Generation, "", now)
		if e == nil {
			return
		}
		p.offer(pl, e, nil, now)
	}
}

// hear takes note of what a worker said of an environment.
func (p *Partition) hear(e *env, r environment.Report, there bool, asked time.Time) {
	pl, now := p.pools[e.Key.UID], p.cfg.Now()
	switch e.phase {
	case unheard, doubtful:
		pl.unheard = without(pl.unheard, e)
		if !there {
			p.gone(e)
			return
		}
		if e.phase == doubtful {
			if r.Starting {
				p.retire(e) // who waited for it is gone
				return
			}
			p.act.Append(p, Record{Op: opReady, ID: e.id})
		}
		e.phase = live
		p.count(pl, e)
		if r.Busy {
			e.busy, e.epoch, e.seq, e.leasedAt = true, r.Epoch, r.Seq, now
			return
		}
		p.release(pl, e, now)
	case live:
		switch since := p.since(e); {
		case asked.Sub(since) < settled:
		case !there:
			pl.idle = without(pl.idle, e)
			p.gone(e)
		case e.busy && !r.Busy:
			p.release(pl, e, now) // the report of its end was lost, or it never began
		}
	case placing, intending, starting, leaving:
		// Something is under way that ends it, or tells how it is.
	}
}

// since is when something last happened to a live environment.
func (p *Partition) since(e *env) time.Time {
	if e.busy {
		return e.leasedAt
	}
	return e.idleSince
}

// gone forgets an environment that is not at its worker any more.
func (p *Partition) gone(e *env) {
	p.discount(e)
	delete(p.envs, e.id)
	p.act.Append(p, Record{Op: opRemoved, ID: e.id})
	p.act.Return(e.id)
}

// WorkerGone says that a worker is no more, and all that was there.
func (p *Partition) WorkerGone(worker environment.WorkerID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.epoch == 0 {
		return
	}
	now := p.cfg.Now()
	for _, e := range p.sortedEnvs() {
		if e.Worker != worker {
			continue
		}
		switch e.phase {
		case unheard, doubtful, live, leaving:
			pl := p.pools[e.Key.UID]
			pl.idle, pl.unheard = without(pl.idle, e), without(pl.unheard, e)
			p.gone(e)
			p.startMore(pl, now)
		case placing, intending, starting:
			// What is under way fails.
		}
	}
}
