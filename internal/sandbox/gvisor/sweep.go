package gvisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hearth/internal/mount"
)

// Sweep implements sandbox.Driver. It goes by names and places only: cgroups
// and processes of this instance, mounts and loop devices below Dir.
func (d *Driver) Sweep(ctx context.Context) error {
	d.mu.Lock()
	live := len(d.live)
	d.mu.Unlock()
	if live > 0 {
		return fmt.Errorf("gvisor: sweep: %d sandboxes are in use", live)
	}
	if err := d.sweep(ctx); err != nil {
		return fmt.Errorf("gvisor: sweep: %w", err)
	}
	return nil
}

func (d *Driver) sweep(ctx context.Context) error {
	if err := errors.Join(d.killGroups(ctx), d.killStrays(ctx)); err != nil {
		return err
	}
	if err := errors.Join(d.removeGroups(), d.network.Sweep(), mount.UnmountBelow(d.cfg.Dir), d.detachLoops()); err != nil {
		return err
	}
	// Nothing is mounted below any more, so removal stays in Dir.
	for _, dir := range []string{d.sandboxesDir(), d.runDir()} {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	return d.makeDirs()
}

func (d *Driver) killGroups(ctx context.Context) error {
	ids, err := d.cgroups.Children(d.group())
	if err != nil {
		return err
	}
	if len(ids) > 0 {
		d.cfg.Log.Warn("destroying sandboxes of a former life", "sandboxes", len(ids))
	}
	var all error
	for _, id := range ids {
		group, err := d.cgroups.Group(d.group() + "/" + id)
		if err != nil {
			return err
		}
		all = errors.Join(all, group.Kill(ctx))
	}
	return all
}

func (d *Driver) removeGroups() error {
	ids, err := d.cgroups.Children(d.group())
	if err != nil {
		return err
	}
	var all error
	for _, path := range append(ids, ".") {
		group, err := d.cgroups.Group(filepath.Join(d.group(), path))
		if err != nil {
			return err
		}
		all = errors.Join(all, group.Remove())
	}
	return all
}

// strayRetry is how long killStrays waits for what it has killed to go.
const strayRetry = time.Millisecond

// killStrays kills processes of runsc that work on our state directory but
// are in none of our cgroups: a command that somebody ran by hand.
func (d *Driver) killStrays(ctx context.Context) error {
	for {
		pids, err := d.strays()
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			d.cfg.Log.Warn("killing a stray process of runsc", "pid", pid)
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("kill process %d: %w", pid, err)
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d processes of runsc do not die: %w", len(pids), context.Cause(ctx))
		case <-time.After(strayRetry):
		}
	}
}

// strays lists processes that have our state directory as an argument.
func (d *Driver) strays() ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// Empty for a zombie, gone for one that has ended meanwhile.
		cmdline, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if err == nil && runsOn(cmdline, d.runDir()) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// runsOn reports whether a command line is one of runsc's with --root=dir.
func runsOn(cmdline []byte, dir string) bool {
	args := bytes.Split(bytes.TrimSuffix(cmdline, []byte{0}), []byte{0})
	if !strings.HasPrefix(filepath.Base(string(args[0])), "runsc") {
		return false
	}
	return slices.ContainsFunc(args, func(arg []byte) bool {
		value, found := bytes.CutPrefix(bytes.TrimLeft(arg, "-"), []byte("root="))
		return found && string(value) == dir
	})
}

func (d *Driver) detachLoops() error {
	devices, err := mount.LoopsBelow(d.cfg.Dir)
	if err != nil {
		return err
	}
	var all error
	for _, device := range devices {
		if err := mount.DetachLoop(device); err != nil && !errors.Is(err, fs.ErrNotExist) {
			all = errors.Join(all, err)
		}
	}
	return all
}
