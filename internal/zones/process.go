package zones

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hearth/internal/ca"
	"hearth/internal/mount"
)

// process is a role of a zone.
type process struct {
	zone string
	role ca.Role
	dir  string

	mu     sync.Mutex
	wanted bool // it is to run
	cmd    *exec.Cmd
	parent *os.File // the process ends when this is closed
	wake   chan struct{}
	done   chan struct{} // its supervision has ended
}

const (
	// again is the pause before a process that has ended is started again.
	again = time.Second
	// stopFor is how long a process has to stop.
	stopFor = 40 * time.Second
)

// begin supervises the process until the cluster stops.
func (p *process) begin(c *Cluster) {
	p.wanted, p.wake, p.done = true, make(chan struct{}, 1), make(chan struct{})
	c.wg.Go(func() {
		defer close(p.done)
		for c.ctx.Err() == nil {
			if p.runs() {
				p.live(c)
			}
			timer := time.NewTimer(again)
			select {
			case <-timer.C:
			case <-p.wake:
				timer.Stop()
			case <-c.ctx.Done():
				timer.Stop()
			}
		}
	})
}

func (p *process) runs() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.wanted
}

// live is one life of the process.
func (p *process) live(c *Cluster) {
	log, err := os.OpenFile(p.dir+".log", os.O_CREATE|os.O_WRONLY|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		c.log.Error("a process has no log and is not started", "zone", p.zone, "role", p.role, "error", err)
		return
	}
	defer func() { _ = log.Close() }() // the process has its own
	read, write, err := os.Pipe()
	if err != nil {
		c.log.Error("a process is not started", "zone", p.zone, "role", p.role, "error", err)
		return
	}
	cmd := exec.CommandContext(context.WithoutCancel(c.ctx), c.cfg.Program, "serve", "--data", p.dir, "--until-eof")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = read, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is the supervisor's
	p.mu.Lock()
	err = c.fabric.Start(p.zone, cmd)
	_ = read.Close() // the process has its own
	if err == nil {
		p.cmd, p.parent = cmd, write
	}
	p.mu.Unlock()
	if err != nil {
		_ = write.Close() // nobody reads
		c.log.Error("a process is not started", "zone", p.zone, "role", p.role, "error", err)
		return
	}
	err = cmd.Wait()
	p.mu.Lock()
	p.cmd = nil
	_ = p.parent.Close() // nobody reads
	wanted := p.wanted
	p.mu.Unlock()
	if wanted && c.ctx.Err() == nil {
		c.log.Error("a process has ended and is started again", "zone", p.zone, "role", p.role, "error", err, "log", p.dir+".log")
	}
}

// signal sends a signal to the process, if it runs.
func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(s) // it has ended, if that fails
	}
}

// strike ends the process at once and keeps it so; what it has started is left.
func (p *process) strike() {
	p.mu.Lock()
	p.wanted = false
	p.mu.Unlock()
	p.signal(syscall.SIGKILL)
}

// kill ends processes at the same moment, as the power would go, and then what they
// have started.
func kill(processes ...*process) {
	for _, p := range processes {
		p.strike()
	}
	for _, p := range processes {
		killLeft(p.dir)
	}
}

// pause has the process stand still with all that it has started, or go on.
func (p *process) pause(paused bool) {
	s := syscall.SIGSTOP
	if !paused {
		s = syscall.SIGCONT
	}
	each(p.dir, func(pid int) { _ = unix.Kill(pid, s) }) // it has ended, if that fails
}

// heal has the process run again.
func (p *process) heal() {
	p.pause(false)
	p.mu.Lock()
	p.wanted = true
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// restart has the process stop in an orderly way and start again.
func (p *process) restart() {
	p.signal(syscall.SIGTERM)
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// stop ends the process in an orderly way, or in the end without.
func (p *process) stop() {
	if p.done == nil {
		return
	}
	p.pause(false)
	p.signal(syscall.SIGTERM)
	timer := time.NewTimer(stopFor)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		kill(p)
		<-p.done
	}
}

// stopProcesses stops the roles in the order in which they need each other.
func (c *Cluster) stopProcesses() {
	for _, role := range []ca.Role{ca.Frontend, ca.Assignment, ca.Worker, ca.State} {
		var wg sync.WaitGroup
		for _, p := range c.processes {
			if p.role == role {
				wg.Go(p.stop)
			}
		}
		wg.Wait()
	}
	for _, p := range c.processes {
		if err := sweep(p.dir); err != nil {
			c.log.Error("a process was killed, and not all that it left could be removed", "zone", p.zone, "role", p.role, "error", err)
		}
	}
}

// sweep ends what a process that was killed, and did not start again, has left: what
// it had started, and what it had mounted.
func sweep(dir string) error {
	killLeft(dir)
	err := mount.UnmountBelow(dir)
	devices, listErr := mount.LoopsBelow(dir)
	for _, d := range devices {
		err = errors.Join(err, mount.DetachLoop(d))
	}
	return errors.Join(err, listErr)
}

// each finds the processes that were started for a directory: its path is in
// their command lines.
func each(dir string, do func(pid int)) (found int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0
	}
	self := os.Getpid()
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == self {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || !belongs(line, dir) {
			continue
		}
		found++
		do(pid)
	}
	return found
}

// belongs says whether a command line names a directory or something below it.
func belongs(line []byte, dir string) bool {
	for at := 0; ; {
		i := bytes.Index(line[at:], []byte(dir))
		if i < 0 {
			return false
		}
		at += i + len(dir)
		if at == len(line) || strings.IndexByte("/\x00\"=, ", line[at]) >= 0 {
			return true
		}
	}
}

// killLeft kills what was started for a directory, and what that has started.
func killLeft(dir string) {
	for range 100 {
		if each(dir, func(pid int) { _ = unix.Kill(pid, unix.SIGKILL) }) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond) // they die
	}
}
