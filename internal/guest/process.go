package guest

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// program is what to start, and as whom.
type program struct {
	path     string
	args     []string // without the program's own name
	env      []string
	dir      string
	uid, gid int
	files    []uintptr // the child's descriptors 0, 1, 2, …
}

// process is a started program.
type process struct {
	pid    int
	exited chan struct{}
	status syscall.WaitStatus // valid once exited is closed
}

// processes are all processes of the PID namespace but hearth-init itself.
type processes struct {
	mu   sync.Mutex
	main map[int]*process // started by us and not yet reaped
}

func newProcesses() *processes { return &processes{main: make(map[int]*process)} }

// reapForever collects whatever ends, children of ours and orphans alike.
func (p *processes) reapForever() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGCHLD)
	for range signals {
		p.mu.Lock()
		for p.reap(unix.WNOHANG) {
		}
		p.mu.Unlock()
	}
}

// reap waits for one child and says whether there was one. The lock is held.
func (p *processes) reap(options int) bool {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, options, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return false
		}
		if proc := p.main[pid]; proc != nil {
			proc.status = status
			delete(p.main, pid)
			close(proc.exited)
		}
		return true
	}
}

// start starts a program in a session of its own, without privileges and
// without a way to gain any.
func (p *processes) start(prog program) (*process, error) {
	p.mu.Lock() // so that it is not reaped before it is known
	defer p.mu.Unlock()
	// no_new_privs belongs to the thread and is inherited by what it forks.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("set no_new_privs: %w", err)
	}
	pid, err := syscall.ForkExec(prog.path, append([]string{prog.path}, prog.args...), &syscall.ProcAttr{
		Dir:   prog.dir,
		Env:   prog.env,
		Files: prog.files,
		Sys: &syscall.SysProcAttr{
			Setsid: true,
			// Leaving user 0 clears every capability set but the bounding one,
			// which no_new_privs makes moot.
			Credential: &syscall.Credential{Uid: uint32(prog.uid), Gid: uint32(prog.gid)}, //nolint:gosec // positive: see Assign
		},
	})
	if err != nil {
		return nil, &os.PathError{Op: "fork/exec", Path: prog.path, Err: err}
	}
	proc := &process{pid: pid, exited: make(chan struct{})}
	p.main[pid] = proc
	return proc, nil
}

// killAll kills every process but process 1 and returns once they are gone.
// Whatever is forked while a signal goes around is an orphan's child, or an
// orphan, by the time its parent is reaped: hence a new round after each.
func (p *processes) killAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		_ = unix.Kill(-1, unix.SIGKILL) // fails when there is none
		if !p.reap(0) {
			return
		}
	}
}

// setLimits sets the resource limits that everything started later inherits.
// hearth-init itself is above the one on processes, as root, and content with
// the one on files. A limit that is already lower stays: raising one takes a
// capability that not every sandbox leaves us.
func setLimits(files, procs int) error {
	for _, l := range []struct{ what, limit int }{
		{unix.RLIMIT_NOFILE, files}, {unix.RLIMIT_NPROC, procs}, {unix.RLIMIT_CORE, 0},
	} {
		var now unix.Rlimit
		if err := unix.Getrlimit(l.what, &now); err != nil {
			return fmt.Errorf("read resource limit %d: %w", l.what, err)
		}
		v := min(now.Max, uint64(l.limit)) //nolint:gosec // positive: see Assign
		// Not prlimit: package syscall must learn of it, or it would give
		// children the limit that hearth-init was started with.
		if err := unix.Setrlimit(l.what, &unix.Rlimit{Cur: v, Max: v}); err != nil {
			return fmt.Errorf("set resource limit %d to %d: %w", l.what, v, err)
		}
	}
	return nil
}
