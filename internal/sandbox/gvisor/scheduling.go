package gvisor

import (
	"fmt"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"

	"hearth/internal/osthread"
)

// timerSlack is how late the kernel may be with the timers of a sandbox, so
// that several are served by one wake-up. A sandbox has a Go runtime in the
// sentry and often others inside, and each has a monitor thread that sleeps
// for 20 µs at a time while anything runs. With the kernel's usual 50 µs these
// wake-ups alone take a sixth of a core from every sandbox in an invoke
// (docs/benchmarks.md); a function sees that its sleeps end up to this later.
const timerSlack = 500 * time.Microsecond

// startScheduled starts cmd in the sandbox's group and as a batch job: a thread
// of a sandbox that wakes up does not push aside one that runs, Hearth's or a
// sandbox's. A sandbox is many threads that wake each other dozens of times in
// an invoke; so each comes to its end before the other begins.
func (s *instance) startScheduled(cmd *exec.Cmd) error {
	// A child inherits both from the thread that forks it.
	return osthread.Run(func() error {
		if err := unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(timerSlack.Nanoseconds()), 0, 0, 0); err != nil { //nolint:gosec // half a millisecond fits
			return fmt.Errorf("set timer slack: %w", err)
		}
		batch := unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_BATCH}
		if err := unix.SchedSetAttr(0, &batch, 0); err != nil {
			return fmt.Errorf("set scheduling policy: %w", err)
		}
		return s.group.Start(cmd)
	})
}
