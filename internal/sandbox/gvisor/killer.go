package gvisor

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"hearth/internal/cgroup"
)

// killer ends the whole sandbox as soon as it is out of memory. The kernel
// alone can take very long, for two reasons, both measured with a Python
// function of 128 MB (72/1000 of a core) that fills its memory in 4 s.
//
// After its kill: another thread of the sandbox is in the kernel and wants
// memory too. It tries again and again, until the dying process has given its
// own back, and uses up the CPU quota that the dying process needs to exit.
// After 2 s the kernel takes what it can by itself; then the used time has to
// be made good. 28 s from kill to end in half of the runs, 1 s in the others;
// 0.1 s with all processes killed and the quota lifted.
//
// Before its kill: if page cache of programs (runsc's, the image's) is on the
// sandbox's account, as with the first sandbox after they were built, the
// kernel takes it back, page by page as the function grows. Soon every few
// instructions have to be read from disk again, within the CPU quota, and
// that counts as success: no kill in 120 s. Hence invariant 6: what
// is over its limit and thrashes is out of memory.
type killer struct {
	watch   *cgroup.MemoryWatch
	stopped chan struct{}
	ended   chan struct{}
	// killed is set before the sandbox is killed.
	killed atomic.Bool
}

const (
	// lookFirst is how long after an event the sandbox is looked at: there may
	// be hundreds of events a second while a file is written. It is looked at
	// again after twice that time, and so on up to lookLast.
	lookFirst = 10 * time.Millisecond
	lookLast  = time.Second
)

// startKiller is called once the sandbox's cgroup is there.
func (s *instance) startKiller(ctx context.Context) (*killer, error) {
	watch, err := s.group.WatchMemory()
	if err != nil {
		return nil, err
	}
	k := &killer{watch: watch, stopped: make(chan struct{}), ended: make(chan struct{})}
	ctx = context.WithoutCancel(ctx) // that of Create, which ends earlier
	go func() {
		defer close(k.ended)
		err := k.wait(s)
		if err == nil {
			k.killed.Store(true)
			err = s.group.Kill(ctx)
		}
		if err != nil && !errors.Is(err, os.ErrClosed) {
			s.driver.cfg.Log.Warn("sandbox out of memory may be slow to end", "sandbox", s.id, "error", err)
		}
	}()
	return k, nil
}

// wait returns nil when the sandbox is out of memory.
func (k *killer) wait(s *instance) error {
	var look time.Duration // until an event
	var t thrash
	for {
		err := k.watch.Wait(look)
		switch {
		case err == nil:
			look = lookFirst
			select {
			case <-k.stopped:
			case <-time.After(lookFirst):
			}
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return err
		case look < lookLast:
			look *= 2
		default:
			look = 0
		}
		out, err := s.kernelKilled()
		if err != nil || out {
			return err
		}
		usage, err := s.group.Usage()
		if err != nil || t.observe(time.Now(), usage, s.memory.exceeded(usage)) {
			return err
		}
	}
}

// stop is called when no process is left; it may be repeated.
func (k *killer) stop() {
	select {
	case <-k.stopped:
	default:
		close(k.stopped)
		_ = k.watch.Close() // nothing was written
	}
	<-k.ended
}

// thrash finds out whether a sandbox goes on only by reading its programs back
// from disk.
type thrash struct {
	since  time.Time // zero while there is none
	last   time.Time
	faults int64
	seen   int64
}

// A sandbox over its limit thrashes if it has had major faults for thrashTime
// without a pause of thrashPause, at least thrashFaults in all. Measured: a
// thrashing one has 5 to 15 a second at the least quota; one that grows until
// the kernel kills it has 1 to 4 in its last second; one at its ease has none.
const (
	thrashTime   = 2 * time.Second
	thrashPause  = time.Second
	thrashFaults = 8
)

// observe is told what the sandbox uses at some time and whether that is over
// its limit; it returns true when it has thrashed long enough.
func (t *thrash) observe(now time.Time, u cgroup.Usage, exceeded bool) bool {
	faulted := u.MajorFaults > t.seen
	t.seen = u.MajorFaults
	switch {
	case !exceeded:
		t.since = time.Time{}
	case faulted && (t.since.IsZero() || now.Sub(t.last) > thrashPause):
		t.since, t.last, t.faults = now, now, u.MajorFaults
	case faulted:
		t.last = now
	}
	return !t.since.IsZero() && t.last.Sub(t.since) >= thrashTime && u.MajorFaults-t.faults >= thrashFaults
}

// kernelKilled reports whether the kernel has killed any of the sandbox for
// memory.
func (s *instance) kernelKilled() (bool, error) {
	kills, err := s.group.OOMKills()
	return kills > 0, err
}

// outOfMemory reports whether the sandbox was killed for memory, by the kernel
// or by its killer. What cannot be read counts as no: the group may be gone.
func (s *instance) outOfMemory() bool {
	killed, _ := s.kernelKilled()
	return killed || s.killer != nil && s.killer.killed.Load()
}
