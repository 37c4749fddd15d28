package control

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"hearth/internal/function"
	"hearth/internal/table"
)

// retryDelay is the pause before what has failed is tried again.
const retryDelay = time.Second

// errSuperseded says that what was prepared is not wanted any more.
var errSuperseded = errors.New("superseded")

func needsPreparing(r *function.Record) bool {
	return r.State == function.Pending || r.LastUpdateStatus == function.UpdateInProgress
}

func (s *Service) prepareLoop(ctx context.Context) {
	s.queue.serve(ctx, s.prepare, func(t target, err error) {
		s.cfg.Log.LogAttrs(ctx, slog.LevelError, "control: cannot store a preparation's result, trying again",
			slog.String("account", t.account), slog.String("function", t.name), slog.String("version", t.version), slog.Any("error", err))
	})
}

// prepare prepares a function if it still needs it and stores the result. The
// error is of storing it.
func (s *Service) prepare(ctx context.Context, t target) error {
	r, ok := s.cfg.Catalog.Version(t.account, t.name, t.version)
	if !ok || !needsPreparing(r) {
		return nil
	}
	prepareCtx, cancel := context.WithTimeout(ctx, s.cfg.PrepareTimeout)
	failure := s.cfg.Preparer.Prepare(prepareCtx, r, r.Latest)
	cancel()
	if failure != nil && ctx.Err() != nil {
		return nil //nolint:nilerr // interrupted by Stop: it goes on at the next Start
	}
	if failure != nil {
		s.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "control: a function could not be prepared",
			slog.String("account", t.account), slog.String("function", t.name), slog.Any("error", failure))
	}
	err := s.store(ctx, t, func(now *function.Record) (*function.Record, error) {
		if now == nil || now.UID != r.UID || !needsPreparing(now) || !reflect.DeepEqual(now.Latest, r.Latest) {
			return nil, errSuperseded
		}
		if failure != nil {
			return failed(now, failure), nil //nolint:nilerr // the record tells of it
		}
		return succeeded(now), nil
	})
	if errors.Is(err, errSuperseded) {
		return nil
	}
	return err
}

// store applies an edit to what was prepared.
func (s *Service) store(ctx context.Context, t target, f table.Edit[function.Record]) error {
	if t.version != "" {
		return s.changeVersion(ctx, t, f)
	}
	_, err := s.change(ctx, t.account, t.name, f)
	return err
}

// succeeded makes the latest configuration the one that serves.
func succeeded(now *function.Record) *function.Record {
	next := now.Clone()
	next.State, next.StateReason, next.StateReasonCode = function.Active, "", ""
	next.LastUpdateStatus, next.LastUpdateStatusReason, next.LastUpdateStatusReasonCode = function.UpdateSuccessful, "", ""
	next.Serving = next.Latest.Clone()
	next.Generation++
	return next
}

// failed keeps what serves. A function that has never served is Failed; one
// that has goes on with the configuration before.
func failed(now *function.Record, failure error) *function.Record {
	reason, code := internalReason, internalCode
	if e, ok := errors.AsType[*PrepareError](failure); ok {
		reason, code = e.Reason, e.Code
	}
	next := now.Clone()
	if now.Serving == nil {
		next.State, next.StateReason, next.StateReasonCode = function.Failed, reason, code
	}
	next.LastUpdateStatus, next.LastUpdateStatusReason, next.LastUpdateStatusReasonCode = function.UpdateFailed, reason, code
	return next
}

// target names a function, or a version of one, that may need preparing.
type target struct{ account, name, version string }

// queue holds the functions to prepare: each once, and never one that is
// being prepared, which is taken again after that.
type queue struct {
	mu      sync.Mutex
	changed *sync.Cond
	waiting []target
	state   map[target]queueState
	closed  bool
}

type queueState struct{ waiting, running, again bool }

func newQueue() *queue {
	q := &queue{state: make(map[target]queueState)}
	q.changed = sync.NewCond(&q.mu)
	return q
}

// serve does what is queued until the queue is closed. What fails is reported
// and done again after a while, unless ctx has ended.
func (q *queue) serve(ctx context.Context, do func(context.Context, target) error, report func(target, error)) {
	for {
		t, ok := q.next()
		if !ok {
			return
		}
		if err := do(ctx, t); err != nil && ctx.Err() == nil {
			report(t, err)
			select {
			case <-ctx.Done():
			case <-time.After(retryDelay):
			}
			q.add(t)
		}
		q.done(t)
	}
}

func (q *queue) add(t target) {
	q.mu.Lock()
	defer q.mu.Unlock()
	st := q.state[t]
	switch {
	case st.running:
		st.again = true
	case !st.waiting:
		st.waiting = true
		q.waiting = append(q.waiting, t)
		q.changed.Signal()
	}
	q.state[t] = st
}

// next waits for a target; not ok means that the queue is closed.
func (q *queue) next() (t target, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) == 0 && !q.closed {
		q.changed.Wait()
	}
	if q.closed {
		return target{}, false
	}
	t = q.waiting[0]
	q.waiting = q.waiting[1:]
	q.state[t] = queueState{running: true}
	return t, true
}

func (q *queue) done(t target) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.state[t].again {
		delete(q.state, t)
		return
	}
	q.state[t] = queueState{waiting: true}
	q.waiting = append(q.waiting, t)
	q.changed.Signal()
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.changed.Broadcast()
}
