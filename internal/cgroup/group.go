package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Group is one control group. It holds no resources of the process: the
// kernel is its only state.
type Group struct {
	hierarchy *Hierarchy
	path      string
}

// dir is where the group's files of a version 1 controller are, or on
// version 2 where all of them are.
func (g *Group) dir(controller string) string {
	if g.hierarchy.roots == nil {
		return filepath.Join(g.hierarchy.unified, g.path)
	}
	return filepath.Join(g.hierarchy.roots[controller], g.path)
}

// dirs lists the group's directories, each once: two controllers may share a
// hierarchy (cpu,cpuacct).
func (g *Group) dirs() []string {
	if g.hierarchy.roots == nil {
		return []string{g.dir("")}
	}
	var dirs []string
	for _, controller := range controllersV1 {
		if dir := g.dir(controller); !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func (g *Group) v2() bool { return g.hierarchy.roots == nil }

// Start starts cmd inside the group. It is called on a thread of its own
// (osthread.Run): on version 1 a child is born into the groups of the thread
// that forks it.
func (g *Group) Start(cmd *exec.Cmd) error {
	if g.v2() {
		return g.startV2(cmd)
	}
	return g.startFromThread(cmd)
}

func (g *Group) startV2(cmd *exec.Cmd) error {
	dir, err := os.Open(g.dir(""))
	if err != nil {
		return fmt.Errorf("cgroup: start in %s: %w", g.path, err)
	}
	defer dir.Close()
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.UseCgroupFD = true
	cmd.SysProcAttr.CgroupFD = int(dir.Fd())
	return cmd.Start()
}

func (g *Group) startFromThread(cmd *exec.Cmd) error {
	// By 0 a thread names itself. By its number it could be any, and the kernel
	// would first stop every fork and exit on the machine: 5 to 10 ms.
	self := []byte("0")
	for _, dir := range g.dirs() {
		if err := os.WriteFile(filepath.Join(dir, "tasks"), self, 0o644); err != nil {
			return fmt.Errorf("cgroup: join %s: %w", g.path, err)
		}
	}
	return cmd.Start()
}

// Procs lists the processes of the group. On version 1 it asks the pids
// controller's hierarchy; a process of ours is in all of them.
func (g *Group) Procs() ([]int, error) {
	text, err := os.ReadFile(filepath.Join(g.dir("pids"), "cgroup.procs"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cgroup: processes of %s: %w", g.path, err)
	}
	var pids []int
	for field := range strings.FieldsSeq(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("cgroup: processes of %s: %w", g.path, err)
		}
		// While Start runs on version 1 a thread of this very process is in
		// the group.
		if pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// killRetry is how long Kill waits between looks at a group that is emptying.
// A killed sandbox takes a few milliseconds to unmap its memory.
const killRetry = 500 * time.Microsecond

// Kill kills every process of the group and returns when none is left. The
// group has no CPU quota afterwards.
func (g *Group) Kill(ctx context.Context) error {
	for first := true; ; first = false {
		pids, err := g.Procs()
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		if first {
			g.liftCPU()
		}
		if err := g.killOnce(pids); err != nil {
			return fmt.Errorf("cgroup: kill %s: %w", g.path, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cgroup: kill %s: %d processes left: %w", g.path, len(pids), context.Cause(ctx))
		case <-time.After(killRetry):
		}
	}
}

func (g *Group) killOnce(pids []int) error {
	if g.v2() {
		err := g.write("", "cgroup.kill", "1")
		if !errors.Is(err, fs.ErrNotExist) {
			return err // cgroup.kill came with Linux 5.14
		}
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

// Remove removes the group's directories. It must hold no process.
func (g *Group) Remove() error {
	var all error
	for _, dir := range g.dirs() {
		// The last process may be gone from cgroup.procs but not yet
		// accounted for: rmdir says EBUSY for a moment.
		err := retryBusy(func() error { return os.Remove(dir) })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			all = errors.Join(all, fmt.Errorf("cgroup: remove: %w", err))
		}
	}
	return all
}

func retryBusy(do func() error) error {
	err := do()
	for range 200 {
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		time.Sleep(killRetry)
		err = do()
	}
	return err
}

func (g *Group) write(controller, file, value string) error {
	path := filepath.Join(g.dir(controller), file)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(value); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}

func (g *Group) read(controller, file string) (string, error) {
	text, err := os.ReadFile(filepath.Join(g.dir(controller), file))
	return strings.TrimSpace(string(text)), err
}
