package assignment

import (
	"context"
	"errors"
	"sync"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/environment"
	"hearth/internal/function"
)

// launch gets a place for an environment and starts it there, making room
// where it must.
func (s *Service) launch(ctx context.Context, e *env, rec *function.Record, provisioned bool) (*environment.Started, error) {
	select {
	case s.starts <- struct{}{}:
		defer func() { <-s.starts }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	grant, err := s.place(ctx, environment.PlaceRequest{ID: e.id, MemoryMB: rec.Serving.MemorySize})
	if err != nil {
		return nil, err
	}
	started, err := s.cfg.Worker(grant.Worker).Start(ctx, &environment.Start{
		ID: e.id, Epoch: s.cfg.Epoch, Record: rec, LeaseEnd: grant.LeaseEnd, Provisioned: provisioned,
	})
	if err != nil {
		s.cfg.Placer.Return(e.id)
		return nil, err
	}
	e.worker, e.leaseEnd = grant.Worker, grant.LeaseEnd
	return started, nil
}

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
			return environment.Place{}, awserr.Throttled(awserr.ReasonConcurrentInvocationLimit)
		}
	}
}

// evict begins to retire the least recently used idle environment of the
// service, of whatever function.
func (s *Service) evict() bool {
	var victim *partition
	var oldest time.Time
	for _, p := range s.partitions {
		if since, ok := p.oldestIdle(); ok && (victim == nil || since.Before(oldest)) {
			victim, oldest = p, since
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

// retire stops an environment that is in no list any more. The caller has
// called leaving.begin.
func (s *Service) retire(e *env) {
	ctx := context.WithoutCancel(s.ctx)
	if err := s.cfg.Worker(e.worker).Stop(ctx, e.id); err != nil {
		s.cfg.Log.Error("environment not stopped cleanly", "environment", e.id, "error", err)
	}
	s.cfg.Placer.Return(e.id)
	s.leaving.end()
}
