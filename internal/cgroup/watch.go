package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// MemoryWatch tells when a group is short of memory: the kernel takes page
// cache back because the group is at its limit, or kills. It costs a
// descriptor and no thread.
type MemoryWatch struct {
	group *Group
	// file becomes readable with every event: on version 1 an eventfd, on
	// version 2 memory.events itself.
	file   *os.File
	closed atomic.Bool
	last   string // version 2: what the file said
}

// WatchMemory begins to watch the group, which must be there already. The
// watch is to be closed before the group is removed.
func (g *Group) WatchMemory() (*MemoryWatch, error) {
	open := g.memoryEventV1
	if g.v2() {
		open = func() (*os.File, error) { return openPolled(filepath.Join(g.dir(""), "memory.events")) }
	}
	file, err := open()
	if err != nil {
		return nil, fmt.Errorf("cgroup: watch memory of %s: %w", g.path, err)
	}
	return &MemoryWatch{group: g, file: file}, nil
}

// Wait returns nil at the next event; one between two calls is not lost, and
// several may be told as one. After limit, if it is above zero, it returns
// os.ErrDeadlineExceeded, and os.ErrClosed once the watch is closed. It is
// called by one goroutine at a time.
//
// Version 1 tells of a kill before OOMKills counts it: look again a moment
// later. An event may also mean that a group above is short of memory.
func (w *MemoryWatch) Wait(limit time.Duration) error {
	var deadline time.Time // none
	if limit > 0 {
		deadline = time.Now().Add(limit)
	}
	err := w.file.SetReadDeadline(deadline)
	if err == nil {
		err = w.next()
	}
	switch {
	case err == nil:
		return nil
	case w.closed.Load(): // os.File tells it in several ways
		err = os.ErrClosed
	}
	return fmt.Errorf("cgroup: wait for a shortage of memory in %s: %w", w.group.path, err)
}

func (w *MemoryWatch) next() error {
	if w.group.v2() {
		return w.changed()
	}
	var events [8]byte
	_, err := w.file.Read(events[:])
	return err
}

// Close ends the watch, and Wait with it.
func (w *MemoryWatch) Close() error {
	w.closed.Store(true)
	return w.file.Close()
}

// memoryEventV1 returns an eventfd that the kernel signals both when it
// reclaims and when it is about to kill.
func (g *Group) memoryEventV1() (*os.File, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	event := os.NewFile(uintptr(fd), "eventfd")
	err = errors.Join(
		g.register(fd, "memory.oom_control", ""),
		g.register(fd, "memory.pressure_level", " low,local"))
	if err != nil {
		return nil, errors.Join(err, event.Close())
	}
	return event, nil
}

// register has the kernel signal fd on events of a version 1 file, until fd is
// closed.
func (g *Group) register(fd int, file, args string) error {
	f, err := os.Open(filepath.Join(g.dir("memory"), file))
	if err != nil {
		return err
	}
	defer f.Close()
	return g.write("memory", "cgroup.event_control", fmt.Sprintf("%d %d%s", fd, f.Fd(), args))
}

// openPolled opens a file of version 2 that tells by poll when it changes. An
// inotify instance a group would say the same, but a user gets only 128.
func openPolled(path string) (*os.File, error) {
	// Non-blocking, or os.NewFile would not have the Go runtime poll it.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// changed returns when the file says something else than before.
func (w *MemoryWatch) changed() error {
	raw, err := w.file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		var text [4096]byte
		var n int
		if n, failed = unix.Pread(int(fd), text[:], 0); failed != nil {
			return true
		}
		before := w.last
		w.last = string(text[:n])
		return w.last != before
	})
	return errors.Join(err, failed)
}
