package assignment

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"time"

	"hearth/internal/environment"
	"hearth/internal/function"
)

// ErrStopped says that the service is shutting down.
var ErrStopped = errors.New("assignment: the service is stopping")

// Service hands out environments.
type Service struct {
	cfg        Config
	seed       maphash.Seed
	partitions []*partition
	// starts bounds the environments being started in the whole service.
	starts  chan struct{}
	leaving departures
	// provisioning orders what provision does.
	provisioning sync.Mutex

	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
}

// New makes a Service; Start starts it.
func New(cfg Config) (*Service, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, seed: maphash.MakeSeed(), starts: make(chan struct{}, cfg.Starts)}
	s.leaving.changed = make(chan struct{})
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	for range cfg.Partitions {
		s.partitions = append(s.partitions, newPartition(s))
	}
	return s, nil
}

// Start begins to expire idle environments.
func (s *Service) Start() {
	s.wg.Go(func() {
		tick := time.NewTicker(s.cfg.Janitor)
		defer tick.Stop()
		for {
			select {
			case <-s.ctx.Done():
				return
			case now := <-tick.C:
				for _, p := range s.partitions {
					p.expire(now)
				}
			}
		}
	})
}

// Stop refuses new work, retires every environment and waits until starts and
// stops in flight have ended.
func (s *Service) Stop() {
	s.cancel(ErrStopped)
	for _, p := range s.partitions {
		p.stop()
	}
	s.wg.Wait()
}

func (s *Service) partition(uid string) *partition {
	return s.partitions[maphash.String(s.seed, uid)%uint64(len(s.partitions))]
}

// Acquire leases an environment of the record's serving generation: an idle
// one, or else whichever comes first of a new one and one that turns idle.
func (s *Service) Acquire(ctx context.Context, rec *function.Record) (environment.Lease, error) {
	return s.partition(rec.UID).acquire(ctx, rec)
}

// InvokeDone is the worker's report that an invoke has ended. For
// OutcomeInitError, payload is what the caller was told.
func (s *Service) InvokeDone(l environment.Lease, outcome environment.Outcome, payload []byte) {
	s.partition(l.Key.UID).invokeDone(l, outcome, payload)
}

// Refused is the frontend's report that the worker did not accept an invoke
// in the leased environment: whatever it is, it is of no more use.
func (s *Service) Refused(l environment.Lease) {
	s.partition(l.Key.UID).invokeDone(l, environment.OutcomeFault, nil)
}

// Lost is the worker's report that an environment ended by itself.
func (s *Service) Lost(uid string, id environment.ID) {
	s.partition(uid).lost(id)
}

// Changed takes note that a function has changed or is gone (now nil), so
// that environments of an old generation end without waiting for an invoke.
func (s *Service) Changed(old, now *function.Record) {
	s.provision(old, now)
	switch {
	case now == nil && old != nil:
		s.partition(old.UID).retireFunction(old.UID, 0)
	case now != nil:
		if old != nil && old.UID != now.UID {
			s.partition(old.UID).retireFunction(old.UID, 0)
		}
		s.partition(now.UID).retireFunction(now.UID, now.Generation)
	}
}

// Environment describes one environment for operators.
type Environment struct {
	ID       environment.ID
	Worker   environment.WorkerID
	Key      function.Key
	Idle     bool
	LeaseEnd time.Time
}

// Environments lists what the service owns, in no order.
func (s *Service) Environments() []Environment {
	var all []Environment
	for _, p := range s.partitions {
		all = p.list(all)
	}
	return all
}
