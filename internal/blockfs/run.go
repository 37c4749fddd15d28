package blockfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// readyWord is what a server's process writes to its parent when it serves.
// Anything else is why it does not.
const readyWord = "ready\n"

// takenWord is what it writes if another serves the directory.
const takenWord = "taken\n"

// readyFD is the descriptor that a Client's child has that pipe at.
const readyFD = 3

const (
	startTimeout = 10 * time.Second
	stopTimeout  = 10 * time.Second
)

// Run is the life of a server's process. When the context ends, or a signal
// asks for it, the process ends as soon as its volumes are not used; a second
// signal ends it at once. With ready it tells its parent, at descriptor 3,
// that it serves.
func Run(ctx context.Context, cfg Config, ready bool) error {
	if err := harden(); err != nil {
		return err
	}
	tell := func(string) {}
	if ready {
		pipe := os.NewFile(readyFD, "ready")
		unix.CloseOnExec(readyFD)
		tell = func(word string) {
			_, _ = pipe.WriteString(word) // a parent that is gone need not know
			_ = pipe.Close()
		}
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	s, err := NewServer(cfg)
	if err != nil {
		tell(err.Error())
		return err
	}
	starting, cancel := context.WithTimeout(ctx, startTimeout)
	err = s.Start(starting)
	cancel()
	if errors.Is(err, errTaken) {
		tell(takenWord)
		return err
	}
	if err != nil {
		tell(err.Error())
		return err
	}
	tell(readyWord)
	s.untilDone(ctx, signals)
	return s.stopWithin(stopTimeout)
}

// untilDone returns when the server is to be stopped.
func (s *Server) untilDone(ctx context.Context, signals <-chan os.Signal) {
	asked := ctx.Done()
	for n := 0; ; {
		select {
		case <-s.Done():
			return
		case <-asked:
			asked = nil
			s.Retire()
		case <-signals:
			if n++; n > 1 {
				return
			}
			s.Retire()
		}
	}
}

// stopWithin stops the server, but does not wait for ever for sources that hang:
// the process ends and they with it.
func (s *Server) stopWithin(limit time.Duration) error {
	result := make(chan error, 1)
	go func() { result <- s.Stop() }()
	select {
	case err := <-result:
		return err
	case <-time.After(limit):
		return fmt.Errorf("blockfs: not stopped within %v: %w", limit, errStalled)
	}
}

// harden keeps the memory of the process, which holds keys, from the disk, and
// the process from being the first to go when memory is short: all that is
// mounted would go with it.
func harden() error {
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("blockfs: forbid core dumps: %w", err)
	}
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-900"), 0) // only root may
	return nil
}
