package worker

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"hearth/internal/environment"
)

// terms knows the newest epoch of each partition in whose name anybody has come.
type terms struct{ epochs sync.Map } // int → *atomic.Uint64

// obey says whether an epoch is the newest, which it may have become just now.
func (t *terms) obey(partition int, epoch uint64) bool {
	v, ok := t.epochs.Load(partition)
	if !ok {
		v, _ = t.epochs.LoadOrStore(partition, new(atomic.Uint64))
	}
	newest := v.(*atomic.Uint64)
	for {
		known := newest.Load()
		if epoch <= known {
			return epoch == known
		}
		if newest.CompareAndSwap(known, epoch) {
			return true
		}
	}
}

// startings are the environments that are being started.
type startings struct {
	mu   sync.Mutex
	byID map[environment.ID]*beginning
}

type beginning struct {
	start  *environment.Start
	cancel context.CancelCauseFunc
	ended  chan struct{}
}

var (
	errTwice  = errors.New("worker: the environment has been started already")
	errCalled = errors.New("worker: the start was called off")
)

// begin notes that an environment is being started, until end is called.
func (s *startings) begin(ctx context.Context, st *environment.Start) (_ context.Context, end func(), err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	b := &beginning{start: st, cancel: cancel, ended: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byID[st.ID] != nil {
		cancel(nil)
		return nil, nil, errTwice
	}
	if s.byID == nil {
		s.byID = make(map[environment.ID]*beginning)
	}
	s.byID[st.ID] = b
	return ctx, func() {
		s.mu.Lock()
		delete(s.byID, st.ID)
		s.mu.Unlock()
		close(b.ended)
		cancel(nil)
	}, nil
}

// callOff ends a start and waits for its end.
func (s *startings) callOff(id environment.ID) {
	s.mu.Lock()
	b := s.byID[id]
	s.mu.Unlock()
	if b != nil {
		b.cancel(errCalled)
		<-b.ended
	}
}

// List tells the leader of a partition of its environments. Whoever led before
// is not obeyed any more: a start of theirs is listed, or refused.
func (w *Worker) List(_ context.Context, partition int, epoch uint64) ([]environment.Report, error) {
	if !w.terms.obey(partition, epoch) {
		return nil, environment.ErrStale
	}
	var all []environment.Report
	w.startings.mu.Lock()
	for id, b := range w.startings.byID {
		if b.start.Partition == partition {
			all = append(all, environment.Report{ID: id, Key: b.start.Record.Key(), Starting: true})
		}
	}
	w.startings.mu.Unlock()
	w.envs.Range(func(_, v any) bool {
		if e := v.(*env); e.start.Partition == partition {
			all = append(all, e.tell())
		}
		return true
	})
	return all, nil
}

// overstay is how long after its lease an idle environment is left to
// assignment, which retires it before: if there is no leader, nobody else ends it.
const overstay = time.Minute

// expire ends the environments that nobody has ended.
func (w *Worker) expire(now time.Time) {
	w.envs.Range(func(_, v any) bool {
		e := v.(*env)
		e.mu.Lock()
		over := e.state == idle && now.Sub(e.start.LeaseEnd) > overstay
		if over {
			e.state = gone
		}
		e.mu.Unlock()
		if over {
			w.wg.Go(func() {
				if err := w.Stop(w.ctx, e.start.ID); err != nil {
					w.cfg.Log.Error("environment not destroyed cleanly", "environment", e.start.ID, "error", err)
				}
				w.cfg.Reporter.Lost(e.start.Record.UID, e.start.ID)
			})
		}
		return true
	})
}

// tell is an environment in the words of List.
func (e *env) tell() environment.Report {
	e.mu.Lock()
	defer e.mu.Unlock()
	return environment.Report{
		ID: e.start.ID, Key: e.start.Record.Key(),
		Busy: e.state == busy, Epoch: e.epoch, Seq: e.seq,
	}
}

// Promised is what environments are promised: those that are here, and those
// being started.
func (w *Worker) Promised() map[environment.ID]environment.Promise {
	all := make(map[environment.ID]environment.Promise)
	w.startings.mu.Lock()
	for id, b := range w.startings.byID {
		all[id] = promise(b.start)
	}
	w.startings.mu.Unlock()
	w.envs.Range(func(id, v any) bool {
		all[id.(environment.ID)] = promise(v.(*env).start)
		return true
	})
	return all
}

func promise(st *environment.Start) environment.Promise {
	return environment.Promise{Function: st.Record.UID, MemoryMB: st.Record.Serving.MemorySize}
}
