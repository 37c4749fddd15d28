package sim

import (
	"errors"
	"time"

	"hearth/internal/environment"
	"hearth/internal/function"
)

// frontend takes invokes and has them run.
type frontend struct {
	*node
	w *World
	// leaders is what it knows of who leads, a little late.
	leaders []*host
}

func (f *frontend) begin() {
	f.up = true
	f.life++
	f.leaders = make([]*host, f.w.cfg.Partitions)
	f.loopIn(f.w, 200*time.Millisecond, func() {
		f.w.call(f.node, func() {
			for i := range f.leaders {
				f.leaders[i] = f.w.leader(i)
			}
		})
	})
	life := f.life
	var next func()
	next = func() {
		if f.up && f.life == life && !f.w.quiet {
			f.invoke()
			f.w.after(time.Duration(f.w.dice.ExpFloat64()*float64(f.w.cfg.Every)), next)
		}
	}
	f.w.after(f.w.cfg.Every, next)
}

// invocation is one on its way.
type invocation struct {
	f         *frontend
	rec       *function.Record
	partition int
	tries     int
	asked     time.Time
}

// Results counts how invokes ended.
type Results struct {
	// OK ones ran to their end. Throttled ones got no environment in time.
	// Unknown ones were accepted, or may have been, and their end was not heard
	// of. Failed ones were not accepted anywhere.
	OK, Throttled, Unknown, Failed int
}

func (f *frontend) invoke() {
	rec := f.w.functions[f.w.dice.IntN(len(f.w.functions))]
	f.w.open++
	life := f.life
	i := &invocation{f: f, rec: rec, partition: f.w.partitionOf(rec), asked: f.w.now}
	f.w.after(0, i.try)
	// One that ends with its frontend is nobody's any more.
	f.w.after(f.w.cfg.Patience+2*time.Minute, func() {
		if f.up && f.life == life && i.f != nil {
			f.w.violatedf("an invoke of %s through %s has not ended", rec.UID, f.name)
		}
	})
}

func (i *invocation) end(count *int) {
	*count++
	i.f.w.open--
	i.f = nil
}

func (i *invocation) try() {
	if i.f == nil || !i.f.up {
		return
	}
	f := i.f
	if i.tries++; i.tries > 20 || f.w.now.Sub(i.asked) > f.w.cfg.Patience {
		i.end(&f.w.results.Failed)
		return
	}
	if f.w.cfg.Managers {
		i.partition = f.w.partitionOf(i.rec) // another one may be well
	}
	h := f.leaders[i.partition]
	if h == nil {
		f.w.after(200*time.Millisecond, i.try)
		return
	}
	call(f.w.network, f.node, h.node, f.w.cfg.Patience+5*time.Second,
		func(reply func(leaseAnswer)) { h.acquire(i.partition, i.rec, reply) },
		func(a leaseAnswer, err error) {
			switch {
			case errors.Is(a.err, errPatience):
				i.end(&f.w.results.Throttled)
			case err != nil || a.err != nil:
				f.w.after(200*time.Millisecond, i.try)
			case a.lease.Key.UID != i.rec.UID || a.lease.Key.Generation < i.rec.Generation:
				f.w.violatedf("an invoke of %+v was given %+v", i.rec.Key(), a.lease.Key)
			default:
				i.run(h, a.lease)
			}
		})
}

func (i *invocation) run(h *host, l environment.Lease) {
	f := i.f
	w := f.w.workers[l.Worker]
	type answer struct{ refused error }
	d := f.w.between(5*time.Millisecond, 3*time.Second)
	if f.w.chance(0.01) {
		d = f.w.between(10*time.Second, time.Minute)
	}
	if !w.up {
		// The connection is refused: certainly not accepted.
		i.refused(h, l, environment.ErrGone)
		return
	}
	call(f.w.network, f.node, w.node, 90*time.Second, func(reply func(answer)) {
		if err := w.invoke(l, d, func() { reply(answer{}) }); err != nil {
			reply(answer{err})
		}
	}, func(a answer, err error) {
		switch {
		case err != nil:
			i.end(&f.w.results.Unknown)
		case a.refused != nil:
			i.refused(h, l, a.refused)
		default:
			f.w.silence, f.w.lastOK = max(f.w.silence, f.w.now.Sub(f.w.lastOK)), f.w.now
			i.end(&f.w.results.OK)
		}
	})
}

func (i *invocation) refused(h *host, l environment.Lease, why error) {
	i.f.w.send(i.f.node, h.node, func() { h.members[l.Partition].partition.Refused(l, why) })
	i.f.w.after(10*time.Millisecond, i.try)
}
