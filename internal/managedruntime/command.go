package managedruntime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// outputLimit bounds how much of a tool's output is kept, and outputLines how
// many of its last lines an error shows.
const (
	outputLimit = 1 << 20
	outputLines = 8
)

// command is a tool of the machine to run.
type command struct {
	name  string
	args  []string
	pkg   string   // the Debian package that has it
	env   []string // the whole environment; nil for Hearth's own
	dir   string
	stdin string
	// hint is the next step if the tool fails for a reason unknown.
	hint string
}

// run runs a tool. The tool and its children end
// when ctx does, and the tool when Hearth is killed.
func run(ctx context.Context, c command) error {
	path, err := exec.LookPath(c.name)
	if err != nil {
		return fmt.Errorf("%s is not installed: run `apt-get install -y %s`", c.name, c.pkg)
	}
	cmd := exec.CommandContext(ctx, path, c.args...)
	out := &tail{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Stdin = strings.NewReader(c.stdin)
	cmd.Dir = c.dir
	cmd.Env = c.env
	if cmd.Env == nil {
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive")
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second

	// The kernel sends Pdeathsig when the thread that started the process
	// ends, so that thread must live as long.
	runtime.LockOSThread()
	err = cmd.Run()
	runtime.UnlockOSThread()
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		if cmd.Process != nil { // whatever did not heed the signal
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
		return fmt.Errorf("%s: %w", c.name, context.Cause(ctx))
	}
	return c.failure(err, out.String())
}

// failure explains why a tool failed, with the next step.
func (c command) failure(err error, output string) error {
	hint := c.hint
	switch {
	case strings.Contains(output, "No space left on device"):
		hint = "the disk is full: free some space, or set " + CacheEnv + " to a directory on a larger disk"
	case errors.Is(err, os.ErrPermission):
		hint = "run as root"
	}
	if hint != "" {
		hint = "; " + hint
	}
	lines := strings.Split(strings.TrimSpace(output), "\n")
	lines = lines[max(0, len(lines)-outputLines):]
	return fmt.Errorf("%s: %w%s; it said:\n\t%s", c.name, err, hint, strings.Join(lines, "\n\t"))
}

// tail keeps the last bytes written to it.
type tail struct{ buf bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	if t.buf.Len() > outputLimit {
		t.buf.Next(t.buf.Len() - outputLimit/2)
	}
	return t.buf.Write(p)
}

func (t *tail) String() string { return t.buf.String() }
