package controlstream

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Invoke hands the runtime an event and returns its answer, or how it failed.
// Its time limit is in.DeadlineMs; that of ctx should be somewhat later.
// WaitDone must follow.
func (s *Session) Invoke(ctx context.Context, in *Invoke, payload []byte) (*Response, []byte, error) {
	return s.invoke(ctx, in, payload, nil)
}

// InvokeStream is Invoke for an answer that may come in pieces: these go to
// st, which another goroutine empties, and then a Response without a payload
// ends the answer, or one that says how it failed.
func (s *Session) InvokeStream(ctx context.Context, in *Invoke, payload []byte, st *Stream) (*Response, []byte, error) {
	defer st.end()
	in.Window = Window
	st.credit = func(n int) { s.sendCredit(in.RequestID, n) }
	return s.invoke(ctx, in, payload, st)
}

func (s *Session) invoke(ctx context.Context, in *Invoke, payload []byte, st *Stream) (*Response, []byte, error) {
	s.invokeMu.Lock()
	defer s.invokeMu.Unlock()
	if s.current != "" {
		return nil, nil, fmt.Errorf("invoke: %w", ErrBusy)
	}
	defer s.watch(ctx)()
	s.current = in.RequestID
	s.in.expect(in.RequestID, st)
	if in.DeadlineMs > 0 {
		s.expiry.set(s, in.RequestID, time.Until(time.UnixMilli(in.DeadlineMs)))
	}
	s.sendMu.Lock()
	err := s.out.finish(frameInvoke, appendInvoke(s.out.begin(), in), payload)
	s.sendMu.Unlock()
	if err != nil {
		s.expiry.stop()
		return nil, nil, fmt.Errorf("invoke: %w", s.failed(err))
	}
	select {
	case r := <-s.in.responses:
		return r.Response, r.payload, nil
	case <-s.closed:
		s.expiry.stop()
		return nil, nil, fmt.Errorf("invoke: %w", s.reason())
	}
}

// DoneSoon waits at most d for the end of the invoke and says whether it has
// come: then WaitDone returns at once. Unlike a context that ends, the wait
// leaves the session as it was. It is called between Invoke and WaitDone.
func (s *Session) DoneSoon(d time.Duration) bool {
	s.invokeMu.Lock()
	defer s.invokeMu.Unlock()
	if s.early != nil {
		return true
	}
	if s.soon == nil {
		s.soon = time.NewTimer(d)
	} else {
		s.soon.Reset(d)
	}
	defer s.soon.Stop()
	select {
	case s.early = <-s.in.dones:
		return true
	case <-s.soon.C:
	case <-s.closed:
	}
	return false
}

// WaitDone returns when the runtime has asked for the next event or has
// ended, and every log byte up to then was given to Options.Logs.
func (s *Session) WaitDone(ctx context.Context) (*Done, error) {
	s.invokeMu.Lock()
	defer s.invokeMu.Unlock()
	done, err := s.waitDone(ctx)
	if err != nil {
		return nil, fmt.Errorf("wait for the end of the invoke: %w", err)
	}
	s.expiry.stop()
	s.current, s.early = "", nil
	return done, nil
}

func (s *Session) waitDone(ctx context.Context) (*Done, error) {
	if s.early != nil {
		return s.early, nil
	}
	defer s.watch(ctx)()
	select {
	case done := <-s.in.dones:
		return done, nil
	case <-s.closed:
		return nil, s.reason()
	}
}

// expiry tells hearth-init when the time of the invoke is up. The timer is
// the worker's because timers are dear inside a sandbox, and clocks there may
// be stale.
type expiry struct {
	mu    sync.Mutex
	id    string // "" when none is under way
	at    time.Time
	timer *time.Timer
}

func (e *expiry) set(s *Session, id string, in time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.id, e.at = id, time.Now().Add(in)
	if e.timer == nil {
		e.timer = time.AfterFunc(in, s.expire)
		return
	}
	e.timer.Reset(in)
}

func (e *expiry) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.timer != nil {
		e.timer.Stop()
	}
	e.id = ""
}

// due is the id of the request whose time is up. A timer that fires as it is
// set anew finds none.
func (e *expiry) due() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if time.Now().Before(e.at) {
		return ""
	}
	return e.id
}

// sendCredit lets the answer go on. The request may be over by now, and the
// next one sent: hence the id.
func (s *Session) sendCredit(id string, n int) {
	s.sendMu.Lock()
	err := s.out.finish(frameCredit, appendCredit(s.out.begin(), id, n), nil)
	s.sendMu.Unlock()
	if err != nil {
		s.fail(err)
	}
}

// expire sends the expiry. hearth-init passes it over if the request has
// ended meanwhile.
func (s *Session) expire() {
	id := s.expiry.due()
	if id == "" {
		return
	}
	s.sendMu.Lock()
	err := s.out.finish(frameExpire, appendString(s.out.begin(), id), nil)
	s.sendMu.Unlock()
	if err != nil {
		s.fail(err)
	}
}
