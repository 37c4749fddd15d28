package assignment

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"hearth/internal/environment"
)

// actions acts for partitions, each time in a goroutine of its own.
type actions struct{ s *Service }

func (a actions) memberOf(p *Partition) *member { return a.s.members[p.id] }

// Place implements Actions.
func (a actions) Place(p *Partition, ask environment.PlaceRequest) {
	a.s.wg.Go(func() {
		at, err := a.s.place(a.s.ctx, ask)
		p.Placed(ask.ID, at, err)
	})
}

// Return implements Actions.
func (a actions) Return(id environment.ID) { a.s.cfg.Placer.Return(id) }

// Append implements Actions.
func (a actions) Append(p *Partition, r Record) {
	a.s.wg.Go(func() {
		err := a.memberOf(p).append(a.s.ctx, r)
		if r.Op == opIntent {
			p.Appended(r.ID, err)
		}
		// What else is not journaled, the next leader finds out from the workers.
	})
}

// Start implements Actions.
func (a actions) Start(p *Partition, worker environment.WorkerID, start *environment.Start) {
	a.s.wg.Go(func() {
		started, err := a.s.start(worker, start)
		p.Started(start.ID, started, err)
	})
}

func (s *Service) start(worker environment.WorkerID, start *environment.Start) (*environment.Started, error) {
	select {
	case s.starts <- struct{}{}:
		defer func() { <-s.starts }()
	case <-s.ctx.Done():
		return nil, context.Cause(s.ctx)
	}
	if s.cfg.Secrets != nil {
		// The partition keeps its own without them.
		with := *start
		var err error
		if with.Secrets, err = s.cfg.Secrets.Open(s.ctx, start.Record, start.LeaseEnd.Add(environment.Outlive)); err != nil {
			return nil, fmt.Errorf("assignment: secrets of the function: %w", err)
		}
		start = &with
	}
	started, err := s.cfg.Worker(worker).Start(s.ctx, start)
	if errors.Is(err, environment.ErrAway) {
		s.cfg.Placer.Down(worker)
	}
	return started, err
}

// Stop implements Actions.
func (a actions) Stop(p *Partition, worker environment.WorkerID, id environment.ID) {
	s := a.s
	s.leaving.begin()
	s.wg.Go(func() {
		defer s.leaving.end()
		if err := s.cfg.Worker(worker).Stop(context.WithoutCancel(s.ctx), id); err != nil {
			s.cfg.Log.Error("environment not stopped cleanly", "environment", id, "error", err)
		}
		p.Stopped(id)
	})
}

// List implements Actions.
func (a actions) List(p *Partition, worker environment.WorkerID, epoch uint64) {
	a.s.wg.Go(func() {
		asked := a.s.cfg.Now()
		reports, err := a.s.cfg.Worker(worker).List(a.s.ctx, p.id, epoch)
		switch {
		case err == nil:
			p.Listed(worker, epoch, asked, reports)
		case !errors.Is(err, environment.ErrStale) && a.s.ctx.Err() == nil:
			// It is asked again with the next check.
			a.s.cfg.Log.Warn("assignment: a worker does not tell of its environments", "worker", worker, "error", err)
		}
	})
}

// Workers implements Actions.
func (a actions) Workers() []environment.WorkerID { return a.s.cfg.Workers() }

// place asks placement until there is room: it waits for environments that
// are on their way out, and retires idle ones, before it gives up.
func (s *Service) place(ctx context.Context, ask environment.PlaceRequest) (environment.Place, error) {
	for {
		changed, leaving := s.leaving.watch()
		grant, err := s.cfg.Placer.Place(ask)
		switch {
		case !errors.Is(err, environment.ErrNoCapacity):
			return grant, err
		case leaving:
			select {
			case <-changed:
			case <-ctx.Done():
				return environment.Place{}, context.Cause(ctx)
			}
		case !s.evict():
			if _, leaving = s.leaving.watch(); leaving {
				continue // one began to leave since we looked
			}
			return environment.Place{}, throttled()
		}
	}
}

// evict begins to retire the least recently used idle environment of the
// service, of whatever function.
func (s *Service) evict() bool {
	var victim *Partition
	var oldest time.Time
	for _, m := range s.members {
		if since, ok := m.oldestIdle(); ok && (victim == nil || since.Before(oldest)) {
			victim, oldest = m.Partition, since
		}
	}
	return victim != nil && victim.evictOldest()
}

// departures counts environments being stopped: their room is not free yet,
// and soon will be.
type departures struct {
	mu      sync.Mutex
	n       int
	changed chan struct{} // closed and replaced when one has gone
}

func (d *departures) watch() (changed <-chan struct{}, leaving bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.changed, d.n > 0
}

func (d *departures) begin() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n++
}

func (d *departures) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n--
	close(d.changed)
	d.changed = make(chan struct{})
}
