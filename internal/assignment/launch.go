package assignment

import (
	"errors"
	"time"

	"hearth/internal/environment"
	"hearth/internal/function"
)

// scalingWindow is what Tuning.ScalingRate is per.
const scalingWindow = 10 * time.Second

// startMore starts environments until every waiter has one on its way or a
// limit is reached; waiters beyond the scaling rate are refused.
func (p *Partition) startMore(pl *pool, now time.Time) {
	for p.epoch != 0 && pl.starting < max(len(pl.waiters)-pl.held, pl.missing(now)) && pl.starting < p.cfg.StartsPerFunction {
		if pl.failures > 1 && pl.starting > 0 {
			return // a failing init is tried one at a time
		}
		if now.Sub(pl.window) >= scalingWindow {
			pl.window, pl.started = now, 0
		}
		if pl.started >= p.cfg.ScalingRate {
			if len(pl.waiters) == 0 {
				return // what is provisioned waits for the next window
			}
			pl.refuse(throttled())
			continue
		}
		pl.started++
		pl.starting++
		rec := pl.rec
		if n := len(pl.waiters); n > 0 {
			// The newest record among the waiters is what is worth starting.
			rec = pl.waiters[n-1].rec
		}
		p.launch(pl, rec)
	}
}

// launch begins to start an environment. What follows, one after the other: a
// place, the intent in the journal, the start.
func (p *Partition) launch(pl *pool, rec *function.Record) {
	e := &env{
		id: p.cfg.NewID(), rec: rec, provisioned: pl.live+pl.starting <= pl.provisioned,
		Intent: Intent{Key: rec.Key(), MemoryMB: rec.Serving.MemorySize},
	}
	p.envs[e.id] = e
	p.act.Place(p, environment.PlaceRequest{
		ID: e.id, Promise: environment.Promise{Function: e.Key.UID, MemoryMB: e.MemoryMB},
	})
}

// Placed is what came of Actions.Place.
func (p *Partition) Placed(id environment.ID, at environment.Place, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.in(id, placing)
	switch {
	case e == nil && err == nil:
		p.act.Return(id)
	case e == nil:
	case err != nil:
		p.failed(e, err)
	default:
		e.phase, e.Worker, e.LeaseEnd = intending, at.Worker, at.LeaseEnd
		intent := e.Intent
		p.act.Append(p, Record{Op: opIntent, ID: id, Intent: &intent})
	}
}

// Appended is what came of journaling an intent. With an error the record may
// be there all the same: whoever leads next finds nothing behind it.
func (p *Partition) Appended(id environment.ID, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.in(id, intending)
	switch {
	case e == nil:
		p.act.Return(id)
	case err != nil:
		p.act.Return(id)
		p.failed(e, err)
	default:
		e.phase = starting
		p.act.Start(p, e.Worker, &environment.Start{
			ID: id, Partition: p.id, Epoch: p.epoch, Record: e.rec, LeaseEnd: e.LeaseEnd, Provisioned: e.provisioned,
		})
	}
}

// Started is what came of Actions.Start. With an error nothing is left of the
// environment.
func (p *Partition) Started(id environment.ID, started *environment.Started, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.in(id, starting)
	if e == nil {
		return // who leads by now knows its intent
	}
	if err != nil {
		p.act.Append(p, Record{Op: opRemoved, ID: id})
		p.act.Return(id)
		p.failed(e, err)
		return
	}
	p.act.Append(p, Record{Op: opReady, ID: id})
	pl, now := p.pools[e.Key.UID], p.cfg.Now()
	pl.starting--
	useful := p.noteProvisioned(pl, started, nil, now)
	e.phase, e.rec = live, nil
	p.count(pl, e)
	if !useful || e.Key.Generation < pl.generation {
		p.retire(e)
	} else {
		p.offer(pl, e, started, now)
	}
	// Others may still wait, who were too many to start for at once.
	p.startMore(pl, now)
}

// failed forgets an environment that could not be started.
func (p *Partition) failed(e *env, err error) {
	pl, now := p.pools[e.Key.UID], p.cfg.Now()
	delete(p.envs, e.id)
	pl.starting--
	if errors.Is(err, environment.ErrNoCapacity) {
		err = throttled() // the worker had less room than placement knew
	}
	switch {
	case errors.Is(err, environment.ErrStale): // it was asked for in a term that is over
	case errors.Is(err, environment.ErrAway): // another worker can be
		if p.epoch != 0 {
			p.leave(e.Worker)
		}
	default:
		p.noteProvisioned(pl, nil, err, now)
		pl.refuse(err)
	}
	p.startMore(pl, now)
}

// in is an environment, if it is in that phase.
func (p *Partition) in(id environment.ID, ph phase) *env {
	if e := p.envs[id]; e != nil && e.phase == ph {
		return e
	}
	return nil
}
