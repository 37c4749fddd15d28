package assignment

import (
	"context"
	"errors"
	"hash/fnv"
	"sync"
	"time"

	"hearth/internal/environment"
	"hearth/internal/function"
)

// ErrStopped says that the service is shutting down.
var ErrStopped = errors.New("assignment: the service is stopping")

// Service hands out environments.
type Service struct {
	cfg     Config
	members []*member
	// starts bounds the environments being started in the whole service.
	starts  chan struct{}
	leaving departures
	// led tells of changes in what is led.
	ledMu      sync.Mutex
	ledChanged chan struct{}
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
	s := &Service{cfg: cfg, starts: make(chan struct{}, cfg.Starts)}
	s.leaving.changed = make(chan struct{})
	s.ledChanged = make(chan struct{})
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	for id := range cfg.Partitions {
		s.members = append(s.members, &member{
			Partition: NewPartition(id, &s.cfg.Tuning, actions{s}),
			log:       cfg.Journal(id), name: []byte(cfg.Name), ttl: cfg.Term, every: cfg.CheckpointEvery, logger: cfg.Log,
			changed: make(chan struct{}), replica: NewReplica(), told: s.tellLed, cfg: &s.cfg,
		})
	}
	return s, nil
}

// Start begins to lead, and to expire idle environments.
func (s *Service) Start() {
	for _, m := range s.members {
		s.wg.Go(func() { m.run(s.ctx) })
	}
	s.wg.Go(func() {
		expire, check := time.NewTicker(s.cfg.Janitor), time.NewTicker(s.cfg.Check)
		defer expire.Stop()
		defer check.Stop()
		for {
			do := (*Partition).Expire
			select {
			case <-s.ctx.Done():
				return
			case <-check.C:
				do = (*Partition).Check
			case <-expire.C:
			}
			for _, m := range s.members {
				do(m.Partition)
			}
		}
	})
}

// Stop refuses new work and hands the partitions over: environments stay where
// they are, for the next leaders. It waits for starts and stops under way.
func (s *Service) Stop() {
	s.cancel(ErrStopped)
	s.wg.Wait()
}

// member is that of the function's partition.
func (s *Service) member(uid string) *member {
	return s.members[PartitionOf(uid, len(s.members))]
}

// PartitionOf is the partition of a function by its UID. Every process finds the
// same.
func PartitionOf(uid string, partitions int) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(uid))                // never fails
	return int(h.Sum64() % uint64(partitions)) //nolint:gosec // both are small
}

func (s *Service) partition(uid string) *Partition { return s.member(uid).Partition }

// Acquire leases an environment of the record's serving generation: an idle
// one, or else whichever comes first of a new one and one that turns idle. If
// another process leads the function's partition, or none, it waits until this
// one does.
func (s *Service) Acquire(ctx context.Context, rec *function.Record) (environment.Lease, error) {
	for {
		l, err := s.AcquireLed(ctx, rec, "")
		if !errors.Is(err, environment.ErrNotLeading) {
			return l, err
		}
		waiting, done := s.patience(ctx)
		err = s.member(rec.UID).led(waiting)
		done()
		if err != nil {
			return l, s.why(err)
		}
	}
}

// AcquireLed is Acquire for a caller in a zone, which looks for another process
// itself if this one does not lead: environment.ErrNotLeading.
func (s *Service) AcquireLed(ctx context.Context, rec *function.Record, zone string) (environment.Lease, error) {
	m := s.member(rec.UID)
	l, ok, err := m.Acquire(rec, zone)
	if ok || err != nil {
		return l, err
	}
	ctx, done := s.patience(ctx)
	defer done()
	l, err = s.waitHere(ctx, m, rec, zone)
	return l, s.why(err)
}

// patience bounds how long an invoke waits.
func (s *Service) patience(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithTimeoutCause(ctx, s.cfg.Patience, throttled())
	stop := context.AfterFunc(s.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// why tells a caller that the service stops, if that is why it waited in vain.
func (s *Service) why(err error) error {
	if err != nil && s.ctx.Err() != nil {
		return ErrStopped
	}
	return err
}

func (s *Service) waitHere(ctx context.Context, m *member, rec *function.Record, zone string) (environment.Lease, error) {
	type answer struct {
		lease environment.Lease
		err   error
	}
	got := make(chan answer, 1)
	w := m.Wait(rec, zone, s.cfg.StartGrace > 0, func(l environment.Lease, err error) { got <- answer{l, err} })
	insist := time.NewTimer(s.cfg.StartGrace)
	defer insist.Stop()
	for {
		select {
		case a := <-got:
			return a.lease, a.err
		case <-insist.C:
			m.Insist(w)
		case <-ctx.Done():
			m.Abandon(w)
			return environment.Lease{}, context.Cause(ctx)
		}
	}
}

// Led returns the partitions that this process leads, with their epochs, and a
// channel that is closed when that changes.
func (s *Service) Led() (map[int]uint64, <-chan struct{}) {
	s.ledMu.Lock()
	changed := s.ledChanged
	s.ledMu.Unlock()
	led := make(map[int]uint64)
	for _, m := range s.members {
		if epoch := m.Epoch(); epoch != 0 {
			led[m.id] = epoch
		}
	}
	return led, changed
}

// Leads says whether this process leads a partition.
func (s *Service) Leads(partition int) bool {
	return partition >= 0 && partition < len(s.members) && s.members[partition].Epoch() != 0
}

// Owns says whether an environment of a function is known to be at a worker.
func (s *Service) Owns(uid string, id environment.ID, worker environment.WorkerID) bool {
	return s.partition(uid).owns(id, worker)
}

func (s *Service) tellLed() {
	s.ledMu.Lock()
	defer s.ledMu.Unlock()
	close(s.ledChanged)
	s.ledChanged = make(chan struct{})
}

// WorkerHeard says that a worker has told that it is well: what was away is asked
// how it is.
func (s *Service) WorkerHeard(worker environment.WorkerID) {
	for _, m := range s.members {
		m.Heard(worker)
	}
}

// WorkerAway says that a worker cannot be reached.
func (s *Service) WorkerAway(worker environment.WorkerID) {
	s.cfg.Placer.Down(worker)
	for _, m := range s.members {
		m.Away(worker)
	}
}

// Evict ends the terms of a process that is known to be dead, so that nobody need
// wait for them to lapse.
func (s *Service) Evict(name string) {
	for _, m := range s.members {
		s.wg.Go(func() { m.evict(s.ctx, name) })
	}
}

// InvokeDone is the worker's report that an invoke has ended. For
// OutcomeInitError, payload is what the caller was told.
func (s *Service) InvokeDone(l environment.Lease, outcome environment.Outcome, payload []byte) {
	s.partition(l.Key.UID).Done(l, outcome, payload)
}

// Refused is the frontend's report that the worker did not accept the invoke of
// a lease.
func (s *Service) Refused(l environment.Lease, why error) {
	if errors.Is(why, environment.ErrAway) {
		s.cfg.Placer.Down(l.Worker)
	}
	s.partition(l.Key.UID).Refused(l, why)
}

// Lost is the worker's report that an environment ended by itself.
func (s *Service) Lost(uid string, id environment.ID) {
	s.partition(uid).Lost(id)
}

// Changed takes note that a function has changed or is gone (now nil), so
// that environments of an old generation end without waiting for an invoke.
func (s *Service) Changed(old, now *function.Record) {
	s.provision(old, now)
	switch {
	case now == nil && old != nil:
		s.partition(old.UID).RetireFunction(old.UID, 0)
	case now != nil:
		if old != nil && old.UID != now.UID {
			s.partition(old.UID).RetireFunction(old.UID, 0)
		}
		s.partition(now.UID).RetireFunction(now.UID, now.Generation)
	}
}

// Environments lists what the service owns, in no order.
func (s *Service) Environments() []Environment {
	var all []Environment
	for _, m := range s.members {
		all = m.Environments(all)
	}
	return all
}
