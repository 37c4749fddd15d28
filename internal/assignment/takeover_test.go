package assignment

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hearth/internal/environment"
	"hearth/internal/function"
	"hearth/internal/journal"
	"hearth/internal/placement"
)

// pair is two services that compete for the same partitions.
type pair struct {
	t      *testing.T
	a, b   *Service
	worker *fakeWorker
	logs   *journals
}

// both gives test two services over one worker, of which a leads.
func both(t *testing.T, test func(*testing.T, pair)) {
	synctest.Test(t, func(t *testing.T) {
		p := pair{t: t, logs: new(journals)}
		p.worker = newWorker(time.Second)
		for name, s := range map[string]**Service{"a": &p.a, "b": &p.b} {
			places, err := placement.New(placement.Config{Lease: time.Hour, Silence: 1000 * time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			places.Heartbeat(placement.Status{Worker: "w", CapacityMB: 1 << 20})
			cfg := alone(p.worker, places)
			cfg.Name, cfg.Journal, cfg.Partitions = name, p.logs.of, 2
			if *s, err = New(cfg); err != nil {
				t.Fatal(err)
			}
		}
		p.a.Start()
		synctest.Wait()
		p.b.Start()
		synctest.Wait()
		test(t, p)
		p.a.Stop()
		p.b.Stop()
	})
}

// lapse has all terms end, as if their leader had not been heard of.
func (p pair) lapse() {
	p.logs.mu.Lock()
	defer p.logs.mu.Unlock()
	for _, log := range p.logs.logs {
		log.Lapse()
	}
}

func (p pair) acquire(s *Service, rec *function.Record) environment.Lease {
	p.t.Helper()
	l, err := s.Acquire(p.t.Context(), rec)
	if err != nil {
		p.t.Fatal(err)
	}
	return l
}

// TestHandOver: an orderly stop leaves environments where they are, for the
// next leader: idle ones are used, busy ones when their invokes end.
func TestHandOver(t *testing.T) {
	both(t, func(t *testing.T, p pair) {
		f := record("f", 1)
		idle, busy := p.acquire(p.a, f), p.acquire(p.a, f)
		p.worker.invoke(busy)
		p.a.InvokeDone(idle, environment.OutcomeOK, nil)
		p.a.Stop()
		synctest.Wait()
		if l := p.acquire(p.b, f); l.ID != idle.ID || l.Epoch <= idle.Epoch {
			t.Errorf("got %+v, want %s, in a later epoch", l, idle.ID)
		}
		p.worker.end(busy)
		p.b.InvokeDone(busy, environment.OutcomeOK, nil)
		if l := p.acquire(p.b, f); l.ID != busy.ID {
			t.Errorf("got %s, want %s", l.ID, busy.ID)
		}
		if p.worker.starts != 2 {
			t.Errorf("%d starts, want 2: an environment was started that was not needed", p.worker.starts)
		}
		if _, err := p.a.Acquire(t.Context(), f); !errors.Is(err, ErrStopped) {
			t.Errorf("after Stop: %v", err)
		}
	})
}

// leads says whether a service leads the function's partition.
func leads(s *Service, rec *function.Record) bool {
	m := s.member(rec.UID)
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.leading
}

// change has the terms lapse until the other leads the function's partition.
func (p pair) change(from, to *Service, rec *function.Record) {
	for range 100 {
		p.lapse()
		wait(time.Second)
		if leads(to, rec) {
			if leads(from, rec) {
				p.t.Error("both lead")
			}
			return
		}
	}
	p.t.Fatal("it never leads")
}

// TestLapse: who was not heard of is deposed, hears of it, and competes again.
func TestLapse(t *testing.T) {
	both(t, func(t *testing.T, p pair) {
		f := record("f", 1)
		first := p.acquire(p.a, f)
		p.a.InvokeDone(first, environment.OutcomeOK, nil)
		for range 3 {
			p.change(p.a, p.b, f)
			if n := len(p.a.Environments()); n != 0 {
				t.Errorf("a still has %d environments", n)
			}
			l := p.acquire(p.b, f)
			if l.ID != first.ID || l.Cold != nil {
				t.Errorf("got %+v, want %s", l, first.ID)
			}
			p.b.InvokeDone(l, environment.OutcomeOK, nil)
			p.change(p.b, p.a, f)
			l = p.acquire(p.a, f)
			if l.ID != first.ID {
				t.Errorf("the other way: got %s, want %s", l.ID, first.ID)
			}
			p.a.InvokeDone(l, environment.OutcomeOK, nil)
		}
	})
}

// TestStartUnderWay: the leader goes while an environment is being started. The
// next one finds its intent, and leaves nothing behind.
func TestStartUnderWay(t *testing.T) {
	both(t, func(t *testing.T, p pair) {
		p.worker.delay = time.Minute
		ctx, cancel := context.WithCancel(t.Context())
		var gone sync.WaitGroup
		gone.Go(func() { _, _ = p.a.Acquire(ctx, record("f", 1)) })
		wait(time.Second)
		p.change(p.a, p.b, record("f", 1))
		if n := len(p.b.Environments()); n != 0 {
			t.Errorf("b uses %d environments that are not ready", n)
		}
		cancel()
		gone.Wait()
		wait(2 * time.Minute)
		if n := p.worker.count(); n != 0 {
			t.Errorf("%d environments that nobody waited for", n)
		}
		if n := len(p.b.Environments()); n != 0 {
			t.Errorf("b has %d environments", n)
		}
		for _, m := range p.b.members {
			m.mu.Lock()
			known := m.replica.Known()
			m.mu.Unlock()
			if len(known) > 0 {
				t.Errorf("the journal knows %+v", known)
			}
		}
	})
}

// TestJournalAway: without the journal warm invokes go on, and cold ones wait.
func TestJournalAway(t *testing.T) {
	both(t, func(t *testing.T, p pair) {
		f := record("f", 1)
		warm := p.acquire(p.a, f)
		p.a.InvokeDone(warm, environment.OutcomeOK, nil)
		p.logs.away.Store(true)
		got := make(chan environment.Lease, 1)
		for range 30 {
			wait(time.Second)
			if l := p.acquire(p.a, f); l.ID != warm.ID {
				t.Fatalf("got %s, want %s", l.ID, warm.ID)
			}
			p.a.InvokeDone(p.leaseOf(warm.ID), environment.OutcomeOK, nil)
		}
		go func() { got <- p.acquire(p.a, record("g", 1)) }()
		wait(10 * time.Second)
		select {
		case l := <-got:
			t.Fatalf("got %+v without a journal", l)
		default:
		}
		p.logs.away.Store(false)
		if l := <-got; l.Cold == nil {
			t.Errorf("got %+v", l)
		}
	})
}

// leaseOf is the lease that a's books have of an environment.
func (p pair) leaseOf(id environment.ID) environment.Lease {
	for _, m := range p.a.members {
		m.Partition.mu.Lock()
		e := m.envs[id]
		m.Partition.mu.Unlock()
		if e != nil {
			return environment.Lease{ID: id, Worker: e.Worker, Partition: m.id, Epoch: e.epoch, Seq: e.seq, Key: e.Key}
		}
	}
	p.t.Fatalf("a does not have %s", id)
	return environment.Lease{}
}

// TestReportLost: the end of an invoke is not heard of, or the invoke never got
// there. The worker is asked.
func TestReportLost(t *testing.T) {
	both(t, func(t *testing.T, p pair) {
		f := record("f", 1)
		l := p.acquire(p.a, f)
		wait(time.Minute)
		if again := p.acquire(p.a, f); again.ID != l.ID {
			t.Errorf("got %s, want %s, which is idle", again.ID, l.ID)
		}
		// A report that is late, of the lease before.
		p.a.InvokeDone(l, environment.OutcomeOK, nil)
		if n := p.worker.starts; n != 1 {
			t.Errorf("%d starts", n)
		}
		if other := p.acquire(p.a, f); other.ID == l.ID {
			t.Error("an environment was given out twice")
		}
		// One that is gone without a word.
		if err := p.worker.Stop(t.Context(), l.ID); err != nil {
			t.Fatal(err)
		}
		wait(time.Minute)
		for _, e := range p.a.Environments() {
			if e.ID == l.ID {
				t.Error("an environment that is gone is still there")
			}
		}
	})
}

// TestUnknown: what a worker has and the journal does not know is stopped.
func TestUnknown(t *testing.T) {
	both(t, func(t *testing.T, p pair) {
		f := record("f", 1)
		late := &environment.Start{ID: "late", Partition: PartitionOf(f.UID, 2), Epoch: 1 << 40, Record: f}
		if _, err := p.worker.Start(t.Context(), late); err != nil {
			t.Fatal(err)
		}
		wait(20 * time.Second)
		if n := p.worker.count(); n != 0 {
			t.Errorf("%d environments are left", n)
		}
	})
}

// TestCheckpoint: whoever comes late begins with a checkpoint.
func TestCheckpoint(t *testing.T) {
	both(t, func(t *testing.T, p pair) {
		f := record("f", 1)
		kept := p.acquire(p.a, f)
		p.worker.invoke(kept)
		for range 200 {
			l := p.acquire(p.a, f)
			p.a.InvokeDone(l, environment.OutcomeCrash, nil)
			wait(time.Second)
		}
		saved := 0
		for id := range 2 {
			c, err := p.logs.of(id).Checkpoint(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if c != nil {
				saved++
				late := NewReplica()
				if err := late.Restore(c); err != nil {
					t.Fatal(err)
				}
				if n := len(late.Known()); n > 4 {
					t.Errorf("a checkpoint of %d environments", n)
				}
			}
		}
		if saved != 1 {
			t.Errorf("%d partitions have a checkpoint, want that of the function", saved)
		}
		p.change(p.a, p.b, f)
		p.worker.end(kept)
		p.b.InvokeDone(kept, environment.OutcomeOK, nil)
		if l := p.acquire(p.b, f); l.ID != kept.ID {
			t.Errorf("got %s, want %s", l.ID, kept.ID)
		}
	})
}

// TestFormerLife: a process that starts again need not wait for the term of the
// life before; another process does.
func TestFormerLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, logs := record("f", 1), new(journals)
		if _, err := logs.of(0).Lead(t.Context(), []byte("test"), 0); err != nil {
			t.Fatal(err)
		}
		places, err := placement.New(placement.Config{})
		if err != nil {
			t.Fatal(err)
		}
		cfg := alone(newWorker(time.Second), places)
		cfg.Journal, cfg.Partitions = logs.of, 1
		for _, name := range []string{"another", "test"} {
			cfg.Name = name
			s, err := New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			s.Start()
			wait(time.Minute)
			if got := leads(s, f); got != (name == "test") {
				t.Errorf("%s: leads is %v", name, got)
			}
			s.Stop()
		}
	})
}

// TestNewerVersion: who does not know what the journal says does not lead, and
// does not keep others from it.
func TestNewerVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, logs := record("f", 1), new(journals)
		log := logs.of(0)
		newer, err := log.Lead(t.Context(), []byte("newer"), 0)
		if err != nil {
			t.Fatal(err)
		}
		unknown := journal.AppendRecord(nil, []byte(`{"op":"moved","id":"a"}`))
		if err := log.Append(t.Context(), journal.Entry{Index: 1, Term: newer.Term(), Data: unknown}); err != nil {
			t.Fatal(err)
		}
		if err := newer.Resign(t.Context()); err != nil {
			t.Fatal(err)
		}
		places, err := placement.New(placement.Config{})
		if err != nil {
			t.Fatal(err)
		}
		cfg := alone(newWorker(time.Second), places)
		cfg.Journal, cfg.Partitions = logs.of, 1
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		defer s.Stop()
		for range 60 {
			wait(time.Second)
			if leads(s, f) {
				t.Fatal("it leads, and does not know what the journal says")
			}
		}
		next, err := log.Lead(t.Context(), []byte("newer"), 0)
		if err != nil {
			t.Fatal(err)
		}
		if n := next.Term() - newer.Term(); n > 3 {
			t.Errorf("it has led %d times in a minute", n-1)
		}
	})
}
