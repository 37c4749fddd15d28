package assignment

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/environment"
	"hearth/internal/function"
	"hearth/internal/journal"
	"hearth/internal/placement"
)

// functions are the functions and versions that assignment can look up.
type functions map[string]*function.Record

func (f functions) Lookup(_, name string) (*function.Record, bool) {
	r, ok := f[name]
	return r, ok
}

func (f functions) Version(_, name, version string) (*function.Record, bool) {
	r, ok := f[name+":"+version]
	return r, ok
}

// journals are in memory, one for each partition.
type journals struct {
	away atomic.Bool
	mu   sync.Mutex
	logs map[int]*journal.Memory
}

func (j *journals) of(partition int) journal.Log {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.logs == nil {
		j.logs = make(map[int]*journal.Memory)
	}
	if j.logs[partition] == nil {
		log := journal.NewMemory()
		log.Fault = func(context.Context, journal.Op) journal.Fault {
			if j.away.Load() {
				return journal.Unreached
			}
			return journal.NoFault
		}
		j.logs[partition] = log
	}
	return j.logs[partition]
}

// alone is a service's Config for one worker and journals of its own.
func alone(w Worker, p Placer) Config {
	return Config{
		Placer: p, Functions: functions{}, Name: "test", Journal: new(journals).of,
		Worker:  func(environment.WorkerID) Worker { return w },
		Workers: func() []environment.WorkerID { return []environment.WorkerID{"w"} },
	}
}

// fakeWorker starts environments after a delay, in simulated time.
type fakeWorker struct {
	mu      sync.Mutex
	delay   time.Duration
	fail    error
	running map[environment.ID]*environment.Start
	// starting are on their way.
	starting map[environment.ID]*environment.Start
	// busy are those with an invoke in them, by what the test says.
	busy   map[environment.ID]environment.Lease
	off    map[environment.ID]bool // those that were stopped, also while they started
	epochs map[int]uint64
	starts int
	most   int // the largest number of starts at once
	now    int
	// initFails has functions fail to initialise.
	initFails   bool
	provisioned int // starts that were for provisioned concurrency
}

func newWorker(delay time.Duration) *fakeWorker {
	return &fakeWorker{
		delay: delay, running: map[environment.ID]*environment.Start{}, busy: map[environment.ID]environment.Lease{},
		off: map[environment.ID]bool{}, epochs: map[int]uint64{}, starting: map[environment.ID]*environment.Start{},
	}
}

func (w *fakeWorker) Start(ctx context.Context, s *environment.Start) (*environment.Started, error) {
	w.mu.Lock()
	w.starts++
	w.now++
	w.most = max(w.most, w.now)
	delay, fail := w.delay, w.fail
	w.starting[s.ID] = s
	w.mu.Unlock()
	time.Sleep(delay) // simulated
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now--
	delete(w.starting, s.ID)
	if w.off[s.ID] || s.Epoch < w.epochs[s.Partition] {
		return nil, environment.ErrStale
	}
	if fail != nil {
		return nil, fail
	}
	w.running[s.ID] = s
	if s.Provisioned {
		w.provisioned++
	}
	return &environment.Started{Init: delay, InitFailed: w.initFails}, nil
}

// invoke and end have an invoke in an environment.
func (w *fakeWorker) invoke(l environment.Lease) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.busy[l.ID] = l
}

func (w *fakeWorker) end(l environment.Lease) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.busy, l.ID)
}

func (w *fakeWorker) Stop(_ context.Context, id environment.ID) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.running, id)
	w.off[id] = true
	return nil
}

func (w *fakeWorker) List(_ context.Context, partition int, epoch uint64) ([]environment.Report, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if epoch < w.epochs[partition] {
		return nil, environment.ErrStale
	}
	w.epochs[partition] = epoch
	var all []environment.Report
	for id, s := range w.running {
		if s.Partition == partition {
			l, busy := w.busy[id]
			all = append(all, environment.Report{ID: id, Key: s.Record.Key(), Busy: busy, Epoch: l.Epoch, Seq: l.Seq})
		}
	}
	for id, s := range w.starting {
		if s.Partition == partition {
			all = append(all, environment.Report{ID: id, Key: s.Record.Key(), Starting: true})
		}
	}
	return all, nil
}

func (w *fakeWorker) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.running)
}

type rig struct {
	*Service
	t      *testing.T
	worker *fakeWorker
}

// run gives test a running service over one fake worker, in a time bubble.
func run(t *testing.T, cfg Config, capacityMB int, test func(rig)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorker(time.Second)
		p, err := placement.New(placement.Config{Lease: time.Hour, Silence: 1000 * time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		p.Heartbeat(placement.Status{Worker: "w", CapacityMB: capacityMB})
		base := alone(w, p)
		base.Tuning, base.Starts = cfg.Tuning, cfg.Starts
		if cfg.Functions != nil {
			base.Functions = cfg.Functions
		}
		cfg = base
		n := 0
		var mu sync.Mutex
		cfg.NewID = func() environment.ID {
			mu.Lock()
			defer mu.Unlock()
			n++
			return environment.ID(fmt.Sprintf("%016d", n))
		}
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		synctest.Wait() // it leads
		test(rig{s, t, w})
		synctest.Wait()
		owned := s.Environments()
		s.Stop()
		if n := w.count(); n != len(owned) {
			t.Errorf("%d environments are left, of which the service had %d", n, len(owned))
		}
	})
}

func record(uid string, generation uint64) *function.Record {
	return &function.Record{UID: uid, Generation: generation, Latest: &function.Config{}, Serving: &function.Config{MemorySize: 128}}
}

// wait lets simulated time pass.
func wait(d time.Duration) { time.Sleep(d) }

func (r rig) acquire(rec *function.Record) environment.Lease {
	r.t.Helper()
	l, err := r.Acquire(r.t.Context(), rec)
	if err != nil {
		r.t.Fatalf("acquire: %v", err)
	}
	return l
}

func TestReuseMostRecentlyUsedFirst(t *testing.T) {
	run(t, Config{}, 4096, func(r rig) {
		f := record("f", 1)
		a, b := r.acquire(f), r.acquire(f)
		if a.ID == b.ID || a.Cold == nil || b.Cold == nil {
			r.t.Fatalf("two invokes at once got %v and %v", a, b)
		}
		r.InvokeDone(a, environment.OutcomeOK, nil)
		time.Sleep(time.Second)
		r.InvokeDone(b, environment.OutcomeOK, nil)
		for range 3 {
			l := r.acquire(f)
			if l.ID != b.ID || l.Cold != nil {
				r.t.Fatalf("got %v, want warm %v: the most recently used", l, b.ID)
			}
			r.InvokeDone(l, environment.OutcomeOK, nil)
		}
	})
}

func TestWaiterTakesWhicheverComesFirst(t *testing.T) {
	run(t, Config{}, 4096, func(r rig) {
		f := record("f", 1)
		a := r.acquire(f)
		got := make(chan environment.Lease)
		go func() { got <- r.acquire(f) }()
		synctest.Wait() // it waits for a start of 1 s
		r.InvokeDone(a, environment.OutcomeOK, nil)
		if l := <-got; l.ID != a.ID {
			r.t.Fatalf("the waiter got %v, want %v, which turned idle first", l.ID, a.ID)
		}
		time.Sleep(2 * time.Second)
		if n := r.worker.count(); n != 2 {
			r.t.Fatalf("%d environments, want 2: the start under way is kept", n)
		}
	})
}

func TestGenerations(t *testing.T) {
	run(t, Config{}, 4096, func(r rig) {
		a := r.acquire(record("f", 1))
		b := r.acquire(record("f", 1))
		r.InvokeDone(a, environment.OutcomeOK, nil)
		l := r.acquire(record("f", 2))
		if l.ID == a.ID || l.Key.Generation != 2 {
			r.t.Fatalf("generation 2 was given %v", l)
		}
		r.InvokeDone(b, environment.OutcomeOK, nil) // busy during the change
		r.InvokeDone(l, environment.OutcomeOK, nil)
		synctest.Wait()
		if n := r.worker.count(); n != 1 {
			r.t.Fatalf("%d environments, want only generation 2's", n)
		}
		// An invoke that resolved the old record just before the change.
		if late := r.acquire(record("f", 1)); late.ID != l.ID {
			r.t.Fatalf("late resolver got %v, want %v", late.ID, l.ID)
		}
	})
}

func TestChangedRetiresWithoutInvokes(t *testing.T) {
	run(t, Config{}, 4096, func(r rig) {
		f := record("f", 1)
		r.InvokeDone(r.acquire(f), environment.OutcomeOK, nil)
		r.Changed(f, f)
		synctest.Wait()
		if n := r.worker.count(); n != 1 {
			r.t.Fatalf("%d environments after a change of nothing, want 1", n)
		}
		r.Changed(f, nil)
		synctest.Wait()
		if n := r.worker.count(); n != 0 {
			r.t.Fatalf("%d environments of a deleted function", n)
		}
	})
}

func TestUnusableOutcomesRetire(t *testing.T) {
	outcomes := []environment.Outcome{
		environment.OutcomeTimeout, environment.OutcomeCrash, environment.OutcomeOutOfMemory,
		environment.OutcomeInitError, environment.OutcomeFault,
	}
	for _, o := range outcomes {
		t.Run(o.String(), func(t *testing.T) {
			run(t, Config{}, 4096, func(r rig) {
				a := r.acquire(record("f", 1))
				r.InvokeDone(a, o, nil)
				r.InvokeDone(a, o, nil) // a second report changes nothing
				if b := r.acquire(record("f", 1)); b.ID == a.ID {
					r.t.Fatal("the environment was given out again")
				}
			})
		})
	}
}

func TestIdleAndLeaseEnd(t *testing.T) {
	run(t, Config{Tuning: Tuning{IdleTimeout: 10 * time.Minute}}, 4096, func(r rig) {
		f := record("f", 1)
		a := r.acquire(f)
		r.InvokeDone(a, environment.OutcomeOK, nil)
		time.Sleep(9 * time.Minute)
		if n := r.worker.count(); n != 1 {
			r.t.Fatal("expired too early")
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if n := r.worker.count(); n != 0 {
			r.t.Fatal("idle environment was kept")
		}
		a = r.acquire(f)
		for range 12 { // keep it in use until its lease of at most an hour ends
			r.InvokeDone(a, environment.OutcomeOK, nil)
			time.Sleep(5 * time.Minute)
			b := r.acquire(f)
			if b.ID != a.ID {
				r.InvokeDone(b, environment.OutcomeOK, nil)
				return
			}
		}
		r.t.Fatal("an environment outlived its lease")
	})
}

func TestInitBackoff(t *testing.T) {
	run(t, Config{Tuning: Tuning{Backoff: time.Minute, MaxBackoff: 3 * time.Minute}}, 4096, func(r rig) {
		f := record("f", 1)
		for range 2 {
			r.InvokeDone(r.acquire(f), environment.OutcomeInitError, []byte("boom"))
		}
		_, err := r.Acquire(r.t.Context(), f)
		var back *environment.BackoffError
		if !errors.As(err, &back) || string(back.Payload) != "boom" {
			r.t.Fatalf("after two failures: got %v, want the last failure at once", err)
		}
		if r.worker.starts != 2 {
			r.t.Fatalf("%d starts, want 2", r.worker.starts)
		}
		time.Sleep(time.Minute + time.Second)
		a := r.acquire(f) // tried again after the pause
		waiting := make(chan error)
		go func() { _, err := r.Acquire(r.t.Context(), f); waiting <- err }()
		synctest.Wait()
		r.InvokeDone(a, environment.OutcomeInitError, []byte("boom again"))
		if err := <-waiting; !errors.As(err, &back) || string(back.Payload) != "boom again" {
			r.t.Fatalf("a waiter got %v, want the failure", err)
		}
		// A change of the function forgets the score.
		r.InvokeDone(r.acquire(record("f", 2)), environment.OutcomeOK, nil)
	})
}

func TestStartLimits(t *testing.T) {
	run(t, Config{Starts: 4, Tuning: Tuning{StartsPerFunction: 3, ScalingRate: 8}}, 1<<20, func(r rig) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		throttled := 0
		for i := range 20 {
			wg.Go(func() {
				l, err := r.Acquire(r.t.Context(), record(string(rune('f'+i%2)), 1))
				if e, ok := awserr.As(err); ok && e.HTTPStatus() == 429 {
					mu.Lock()
					throttled++
					mu.Unlock()
				} else if err != nil {
					r.t.Errorf("acquire: %v", err)
				} else {
					defer r.InvokeDone(l, environment.OutcomeCrash, nil)
				}
			})
		}
		wg.Wait()
		if r.worker.most > 4 {
			r.t.Errorf("%d starts at once, limit 4", r.worker.most)
		}
		if throttled != 4 {
			r.t.Errorf("%d throttled, want 4: two functions, ten invokes each, eight starts allowed", throttled)
		}
	})
}

// TestMoreWaitersThanStarts has more invokes come at once than may be started
// for, of which none ends: each gets an environment of its own.
func TestMoreWaitersThanStarts(t *testing.T) {
	run(t, Config{Starts: 2, Tuning: Tuning{StartsPerFunction: 2}}, 1<<20, func(r rig) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		got := map[environment.ID]bool{}
		for range 9 {
			wg.Go(func() {
				l, err := r.Acquire(r.t.Context(), record("f", 1))
				mu.Lock()
				defer mu.Unlock()
				if got[l.ID] = true; err != nil {
					r.t.Errorf("acquire: %v", err)
				}
			})
		}
		wg.Wait()
		if len(got) != 9 {
			r.t.Errorf("%d environments for 9 invokes at once", len(got))
		}
	})
}

func TestCapacityEvictsLeastRecentlyUsed(t *testing.T) {
	run(t, Config{}, 256, func(r rig) {
		a := r.acquire(record("a", 1))
		b := r.acquire(record("b", 1))
		if _, err := r.Acquire(r.t.Context(), record("c", 1)); err == nil {
			r.t.Fatal("a third environment was started beyond the capacity")
		} else if e, ok := awserr.As(err); !ok || e.HTTPStatus() != 429 {
			r.t.Fatalf("got %v, want 429", err)
		}
		r.InvokeDone(a, environment.OutcomeOK, nil)
		time.Sleep(time.Second)
		r.InvokeDone(b, environment.OutcomeOK, nil)
		r.acquire(record("c", 1))
		for _, e := range r.Environments() {
			if e.ID == a.ID {
				r.t.Fatal("the least recently used environment was kept")
			}
		}
	})
}

func TestCallerGone(t *testing.T) {
	run(t, Config{}, 4096, func(r rig) {
		ctx, cancel := context.WithCancel(r.t.Context())
		errs := make(chan error)
		go func() { _, err := r.Acquire(ctx, record("f", 1)); errs <- err }()
		synctest.Wait()
		cancel()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			r.t.Fatalf("got %v", err)
		}
		time.Sleep(2 * time.Second)
		l := r.acquire(record("f", 1))
		if l.Cold != nil || r.worker.starts != 1 {
			r.t.Fatal("the environment started for the caller that left was not kept for the next")
		}
	})
}

func TestLostWhileIdle(t *testing.T) {
	run(t, Config{}, 4096, func(r rig) {
		a := r.acquire(record("f", 1))
		r.InvokeDone(a, environment.OutcomeOK, nil)
		r.Lost("f", a.ID)
		if b := r.acquire(record("f", 1)); b.ID == a.ID {
			r.t.Fatal("a lost environment was given out")
		}
	})
}

func TestStartFailureReachesOneWaiter(t *testing.T) {
	run(t, Config{}, 4096, func(r rig) {
		r.worker.fail = errors.New("no loop device")
		if _, err := r.Acquire(r.t.Context(), record("f", 1)); !errors.Is(err, r.worker.fail) {
			r.t.Fatalf("got %v", err)
		}
		r.worker.fail = nil
		r.acquire(record("f", 1))
	})
}
