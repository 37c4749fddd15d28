package gvisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"hearth/internal/mount"
	"hearth/internal/sandbox"
)

// Limits of a sandbox that waits for its function, until the worker sets the
// function's own. CPU is unlimited: a quota while booting would only stretch
// the start (measured: 2.3 times at half a core). The weight is small: running
// functions come before those that start.
var waitingLimits = sandbox.Limits{MemoryMB: 512, Pids: 1024, Weight: 100}

// boot makes everything that the sandbox needs and starts it.
func (s *instance) boot(ctx context.Context, spec sandbox.Spec) error {
	for _, sub := range []string{"root", "ctl", "late"} {
		// 0700 and root's: inside, only sandbox-root can enter ctl and late.
		if err := os.Mkdir(s.path(sub), 0o700); err != nil {
			return err
		}
	}
	if err := s.mountRoot(spec.Root); err != nil {
		return err
	}
	if err := mount.Shared(s.path("late")); err != nil {
		return err
	}
	if spec.Egress {
		var err error
		if s.network, err = s.driver.network.Open(s.path("netns")); err != nil {
			return err
		}
		if err := s.writeResolvers(); err != nil {
			return err
		}
	}
	if err := s.writeBundle(); err != nil {
		return err
	}
	if _, err := s.driver.cgroups.Create(s.driver.group() + "/" + s.id); err != nil {
		return err
	}
	if err := s.limit(waitingLimits); err != nil {
		return err
	}
	var err error
	if s.killer, err = s.startKiller(ctx); err != nil {
		return err
	}
	if s.control, err = listenControl(s.path("ctl"), s.setBaseline); err != nil {
		return fmt.Errorf("listen for hearth-init: %w", err)
	}
	return s.start(ctx)
}

// flags are what runsc is given. The network is always gVisor's own stack:
// with egress on the interface of the namespace, without on a loopback device
// alone, in an empty namespace.
func (s *instance) flags() []string {
	network := "none"
	if s.network != nil {
		network = "sandbox"
	}
	return []string{
		"--root=" + s.driver.runDir(),
		"--platform=systrap",
		"--network=" + network,
		"--host-uds=open",
		"--overlay2=none",  // the root is read-only already
		"--ignore-cgroups", // it is started in ours
		"--host-settings=ignore",
	}
}

// start runs runsc, which returns when hearth-init has been started, and
// watches the sandbox from then on.
func (s *instance) start(ctx context.Context) error {
	stderr, err := os.OpenFile(s.path("stderr"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer stderr.Close()
	pidFile := s.path("pid")
	args := append(s.flags(), "run", "-detach", "-bundle="+s.dir, "-pid-file="+pidFile, s.id)
	cmd := exec.CommandContext(ctx, s.driver.cfg.Runsc, args...)
	cmd.Env = []string{} // nothing of the host's environment goes near a sandbox
	cmd.Stderr = stderr  // a file: a pipe would break, or block, without us
	if err := s.startScheduled(cmd); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return errors.Join(context.Cause(ctx), fmt.Errorf("runsc: %w: %s", err, s.lastWords()))
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("%s: %w", pidFile, err)
	}
	return s.watch(pid)
}

// lastWordsSize bounds what is quoted of runsc's and hearth-init's stderr.
const lastWordsSize = 4096

// lastWords returns the end of what runsc and hearth-init have written to
// stderr.
func (s *instance) lastWords() string {
	f, err := os.Open(s.path("stderr"))
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > lastWordsSize {
		if _, err := f.Seek(-lastWordsSize, io.SeekEnd); err != nil {
			return ""
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, lastWordsSize))
	if err != nil {
		return ""
	}
	return strings.ToValidUTF8(strings.TrimSpace(string(text)), "?")
}

// watch arranges for done to be closed when the process ends. It is no child
// of ours, so a pidfd tells; the Go runtime polls it, no thread waits.
func (s *instance) watch(pid int) error {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("the sandbox ended at once: %s", s.lastWords())
	}
	if err != nil {
		return fmt.Errorf("open pidfd: %w", err)
	}
	pidfd := os.NewFile(uintptr(fd), "pidfd")
	raw, err := pidfd.SyscallConn()
	if err != nil {
		return errors.Join(err, pidfd.Close())
	}
	s.watched = true
	go func() {
		defer pidfd.Close()
		// The error is that of a closed file; nobody else closes it.
		_ = raw.Read(func(fd uintptr) bool { return exited(int(fd)) })
		s.ended()
	}()
	return nil
}

// exited reports whether a pidfd's process has ended.
func exited(pidfd int) bool {
	poll := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}} //nolint:gosec // descriptors are small
	n, err := unix.Poll(poll, 0)
	return err == nil && n == 1
}

// stateFiles are what runsc keeps for the sandbox below its root.
func (s *instance) stateFiles() ([]string, error) {
	// IDs have a fixed length and alphabet: no pattern, no prefix of another.
	return filepath.Glob(filepath.Join(s.driver.runDir(), "*"+s.id+"*"))
}
