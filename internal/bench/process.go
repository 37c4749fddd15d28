package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

func serveUntil(ctx context.Context, s *http.Server, listening func(addr string)) error {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	listening(l.Addr().String())
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// process is a child of the bench that says on stderr when it is ready.
type process struct {
	cmd   *exec.Cmd
	ready string // what followed the prefix
	last  string // the last lines of its stderr
	ended chan struct{}
}

// start runs this program with other arguments, and variables besides its own,
// until a line on its stderr begins with prefix.
func start(ctx context.Context, env []string, prefix string, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(context.WithoutCancel(ctx), self, args...), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	found := make(chan string, 1)
	go func() {
		defer close(p.ended)
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			if rest, ok := strings.CutPrefix(lines.Text(), prefix); ok {
				found <- rest
			}
			p.last = lines.Text()
		}
		_ = p.cmd.Wait()
	}()
	select {
	case p.ready = <-found:
		return p, nil
	case <-p.ended:
		return nil, fmt.Errorf("bench: hearth %s ended: %s", args[0], p.last)
	case <-ctx.Done():
		p.stop()
		return nil, context.Cause(ctx)
	}
}

// stop ends the process and waits for it.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.ended
}

// residentMB is the process's resident memory.
func (p *process) residentMB() (int, error) { return statusMB(p.cmd.Process.Pid, "VmRSS:") }

// statusMB reads a line of a process's status.
func statusMB(pid int, line string) (int, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, err
	}
	for l := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(l, line); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			return kb >> 10, err
		}
	}
	return 0, errors.New("bench: the kernel does not tell the process's memory")
}
