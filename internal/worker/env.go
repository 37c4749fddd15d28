package worker

import (
	"context"
	"errors"
	"sync"
	"time"

	"hearth/internal/environment"
	"hearth/internal/sandbox"
)

// state is what an environment is doing.
type state uint8

const (
	starting state = iota
	idle
	busy
	gone
)

// env is one environment.
type env struct {
	*booted
	w          *Worker
	start      *environment.Start
	report     report
	code       *codeEntry
	layers     *codeEntry // nil if there are none
	ownScratch Scratch    // /tmp, if it is not the one that the sandbox came with
	initOOM    bool       // the sandbox died of memory in its init
	ended      chan struct{}
	door       *door // to the API; nil without

	mu    sync.Mutex
	state state
	// The lease of the last invoke.
	epoch, seq uint64
	frozen     bool
	// doomed says that no further invoke is to run here.
	doomed bool
	// destroyed says that destroy has begun.
	destroyed bool
	freezer   *time.Timer
	// initTime is reported with the first invoke, then 0.
	initTime time.Duration
	// memoryMB was measured at memoryAt.
	memoryMB int
	memoryAt time.Time
}

// accept takes the invoke of a lease if the environment is idle.
func (e *env) accept(ctx context.Context, l environment.Lease) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch e.state {
	case busy:
		return environment.ErrBusy
	case starting, gone:
		return environment.ErrGone
	case idle:
	}
	if e.freezer != nil {
		e.freezer.Stop()
	}
	if e.frozen {
		if err := e.sb.Resume(ctx); err != nil {
			e.w.cfg.Log.Error("environment cannot be thawed", "environment", e.start.ID, "error", err)
			return environment.ErrGone
		}
		e.frozen = false
	}
	e.state, e.epoch, e.seq = busy, l.Epoch, l.Seq
	return nil
}

// settle makes the environment idle and has it frozen if it stays so. It
// returns false for one that is of no more use.
func (e *env) settle() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state == gone || e.doomed {
		e.state = gone
		return false
	}
	e.state = idle
	switch {
	case e.w.cfg.FreezeAfter < 0 || e.initOOM:
	case e.freezer == nil:
		e.freezer = time.AfterFunc(e.w.cfg.FreezeAfter, e.freeze)
	default:
		e.freezer.Reset(e.w.cfg.FreezeAfter)
	}
	return true
}

// freeze stops every process of an idle environment, as AWS does between
// invokes: background work neither runs nor is billed.
func (e *env) freeze() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.state != idle || e.frozen {
		return
	}
	if err := e.sb.Pause(e.w.ctx); err != nil {
		// Whether it is frozen nobody knows now: it is of no more use.
		e.state = gone
		if e.w.ctx.Err() == nil {
			e.w.cfg.Log.Warn("environment cannot be frozen", "environment", e.start.ID, "error", err)
			e.w.wg.Go(func() { e.w.cfg.Reporter.Lost(e.start.Record.UID, e.start.ID) }) // not under our lock
		}
		return
	}
	e.frozen = true
}

// watch reports an environment that dies while it is idle, or whose code
// cannot be read any more. One that is busy then is given up after its invoke.
func (e *env) watch() {
	select {
	case <-e.ended:
		return
	case <-e.session.Closed():
	case <-e.code.whenLost():
	}
	e.mu.Lock()
	e.doomed = true
	wasIdle := e.state == idle
	if wasIdle {
		e.state = gone
	}
	e.mu.Unlock()
	if wasIdle {
		e.w.cfg.Reporter.Lost(e.start.Record.UID, e.start.ID)
	}
}

// destroy removes every trace of the environment, however far it has come.
func (e *env) destroy() error {
	e.mu.Lock()
	e.state = gone
	if e.freezer != nil {
		e.freezer.Stop()
	}
	first := !e.destroyed
	e.destroyed = true
	e.mu.Unlock()
	if !first {
		return nil
	}
	close(e.ended)
	cfg := e.start.Record.Serving
	var errs []error
	if e.door != nil {
		e.door.shut()
	}
	if e.booted != nil {
		// The sandbox first: /tmp is in use until it is dead.
		errs = append(errs, e.session.Close(), e.sb.Destroy(context.WithoutCancel(e.w.ctx)))
		if e.ownScratch != nil {
			errs = append(errs, e.ownScratch.Remove())
		}
		errs = append(errs, e.w.discard(e.booted))
	}
	for _, code := range []*codeEntry{e.code, e.layers} {
		if code != nil {
			errs = append(errs, e.w.code.release(code))
		}
	}
	e.w.unreserve(cfg.MemorySize)
	return errors.Join(errs...)
}

// exited tells how the sandbox ended, if it does so within a moment: the
// control connection breaks a little before the end is known.
func (e *env) exited(ctx context.Context) (sandbox.Exit, bool) {
	t := time.NewTimer(2 * time.Second)
	defer t.Stop()
	select {
	case <-e.sb.Done():
		return e.sb.Exit(), true
	case <-t.C:
	case <-ctx.Done():
	}
	return sandbox.Exit{}, false
}

// outOfMemory reports whether the memory limit has killed any of the sandbox.
func (e *env) outOfMemory() bool {
	u, err := e.sb.Stats(e.w.ctx)
	return err == nil && u.OutOfMemory
}

// memorySample is how old a measurement of memory may be. The figure is a
// peak: what a faster series of invokes misses, the next one shows.
const memorySample = 200 * time.Millisecond

// maxMemoryMB is the most memory the environment has used.
func (e *env) maxMemoryMB() int {
	now := time.Now()
	e.mu.Lock()
	if now.Sub(e.memoryAt) < memorySample {
		defer e.mu.Unlock()
		return e.memoryMB
	}
	e.mu.Unlock()
	u, err := e.sb.Stats(e.w.ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.memoryAt = now
	if err == nil {
		e.memoryMB = max(e.memoryMB, int((u.MemoryPeakBytes+1<<20-1)>>20))
	}
	return min(e.memoryMB, e.start.Record.Serving.MemorySize)
}
