package blockfs

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
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hearth/internal/mount"
)

// maxLog is the length from which on a log is begun anew.
const maxLog = 1 << 20

// spawn starts a server's process, in a session of its own, and waits until it
// serves.
func (c *Client) spawn(ctx context.Context) error {
	log, err := openLog(filepath.Join(c.cfg.Dir, logName))
	if err != nil {
		return err
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), c.cfg.Command[0], c.cfg.Command[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	_ = w.Close()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = r.SetReadDeadline(time.Now()) })
	defer stop()
	word, err := io.ReadAll(io.LimitReader(r, 4<<10))
	if string(word) == readyWord {
		c.child = cmd
		return nil
	}
	reap(cmd, 0)
	switch {
	case string(word) == takenWord:
		return errTaken
	case err != nil:
		return fmt.Errorf("start %s: %w", c.cfg.Command[0], errors.Join(context.Cause(ctx), err))
	case len(word) == 0:
		return fmt.Errorf("start %s: it ended without a word; see %s", c.cfg.Command[0], log.Name())
	}
	return fmt.Errorf("start %s: %s", c.cfg.Command[0], strings.TrimSpace(string(word)))
}

func openLog(path string) (*os.File, error) {
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND | unix.O_NOFOLLOW
	if info, err := os.Lstat(path); err == nil && info.Size() > maxLog {
		flags |= os.O_TRUNC
	}
	return os.OpenFile(path, flags, 0o600)
}

// reap waits for a child that is ending, and kills it if that takes too long.
func reap(cmd *exec.Cmd, patience time.Duration) {
	kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	_ = cmd.Wait() // it is told by its pipe why it ends
}

// killHung ends a server that holds the lock and the socket, but does not
// answer: stopped, out of memory, or stuck in the kernel on its own mount.
func (c *Client) killHung(ctx context.Context, pid int) error {
	lock := filepath.Join(c.cfg.Dir, lockName)
	f, err := tryLock(lock)
	if err == nil {
		return f.Close() // it has just ended
	}
	if !errors.Is(err, unix.EAGAIN) {
		return err
	}
	b, err := os.ReadFile(lock)
	if err != nil {
		return err
	}
	if holder, err := strconv.Atoi(strings.TrimSpace(string(b))); err != nil || holder != pid {
		return fmt.Errorf("blockfs: process %d does not answer at %s, and is not who has locked it; end it", pid, c.cfg.Dir)
	}
	c.cfg.Log.Error("ending a blockfs that does not answer", "pid", pid)
	p, err := os.FindProcess(pid)
	if err != nil {
		return err
	}
	defer func() { _ = p.Release() }()
	if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("blockfs: end process %d: %w", pid, err)
	}
	// A thread that waits for its own mount ends only when that does.
	if err := mount.Abort(filepath.Join(c.cfg.Dir, mountName)); err != nil {
		return err
	}
	free, err := awaitLock(ctx, c.cfg.Dir)
	if err != nil {
		return err
	}
	return free.Close()
}
