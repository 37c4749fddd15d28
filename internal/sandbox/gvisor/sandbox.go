package gvisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"hearth/internal/cgroup"
	"hearth/internal/mount"
	"hearth/internal/netns"
	"hearth/internal/sandbox"
)

var (
	errEnded     = errors.New("gvisor: the sandbox has ended")
	errDestroyed = errors.New("gvisor: the sandbox is destroyed")
)

// instance is one sandbox.
type instance struct {
	driver  *Driver
	id, dir string
	group   *cgroup.Group
	control *control         // nil when boot failed before it
	network *netns.Namespace // nil without egress
	sentry  sentry
	watched bool // done will be closed by watch
	done    chan struct{}
	exit    sandbox.Exit // set before done is closed
	memory  memory
	killer  *killer // nil when boot failed before it

	// mu is held for reading by whoever uses the sandbox, for writing by
	// Destroy.
	mu        sync.RWMutex
	dying     bool // Destroy has begun
	destroyed bool // Destroy has succeeded
}

var _ sandbox.Sandbox = (*instance)(nil)

// newSandbox makes the sandbox's directory. It returns an instance to destroy
// also with an error.
func (d *Driver) newSandbox(spec sandbox.Spec) (*instance, error) {
	s := &instance{
		driver: d,
		id:     spec.ID,
		dir:    filepath.Join(d.sandboxesDir(), spec.ID),
		done:   make(chan struct{}),
	}
	s.sentry.socket = filepath.Join(d.runDir(), "runsc-"+spec.ID+".sock")
	var err error
	if s.group, err = d.cgroups.Group(d.group() + "/" + spec.ID); err != nil {
		return s, err
	}
	return s, os.Mkdir(s.dir, 0o700)
}

func (s *instance) path(name string) string { return filepath.Join(s.dir, name) }

// use keeps Destroy away until the returned function is called.
func (s *instance) use() (func(), error) {
	s.mu.RLock()
	if s.dying {
		s.mu.RUnlock()
		return nil, errDestroyed
	}
	return s.mu.RUnlock, nil
}

// Control implements sandbox.Sandbox.
func (s *instance) Control(ctx context.Context) (net.Conn, error) {
	conn, err := s.control.take(ctx, s.done)
	if errors.Is(err, errEnded) {
		return nil, fmt.Errorf("%w: %s", err, s.exit.Detail)
	}
	return conn, err
}

// Relayed implements sandbox.Sandbox.
func (s *instance) Relayed() net.Listener { return s.control.listener }

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// Attach implements sandbox.Sandbox.
func (s *instance) Attach(_ context.Context, name, dir string, readOnly bool) error {
	if !namePattern.MatchString(name) {
		return fmt.Errorf("gvisor: attach: %q is not a name", name)
	}
	release, err := s.use()
	if err != nil {
		return err
	}
	defer release()
	target := filepath.Join(s.path("late"), name)
	if err := os.Mkdir(target, 0o755); err != nil {
		return fmt.Errorf("gvisor: attach %s: %w", name, err)
	}
	if err := mount.Bind(dir, target, readOnly); err != nil {
		return errors.Join(fmt.Errorf("gvisor: attach %s: %w", name, err), os.Remove(target))
	}
	return nil
}

// Limit implements sandbox.Sandbox.
func (s *instance) Limit(_ context.Context, l sandbox.Limits) error {
	release, err := s.use()
	if err != nil {
		return err
	}
	defer release()
	return s.limit(l)
}

func (s *instance) limit(l sandbox.Limits) error {
	if l.MemoryMB > 0 {
		if err := s.group.SetMemory(int64(l.MemoryMB+overheadMB) << 20); err != nil {
			return err
		}
		s.memory.setLimit(l.MemoryMB)
	}
	if l.Weight > 0 {
		if err := s.group.SetWeight(l.Weight); err != nil {
			return err
		}
	}
	if l.MilliCPU > 0 {
		if err := s.group.SetCPU(l.MilliCPU); err != nil {
			return err
		}
	}
	if l.Pids > 0 {
		return s.group.SetPids(l.Pids)
	}
	return nil
}

// Pause implements sandbox.Sandbox.
func (s *instance) Pause(ctx context.Context) error {
	release, err := s.use()
	if err != nil {
		return err
	}
	defer release()
	return s.sentry.pause(ctx)
}

// Resume implements sandbox.Sandbox.
func (s *instance) Resume(ctx context.Context) error {
	release, err := s.use()
	if err != nil {
		return err
	}
	defer release()
	return s.sentry.resume(ctx)
}

// Stats implements sandbox.Sandbox.
func (s *instance) Stats(context.Context) (sandbox.Usage, error) {
	release, err := s.use()
	if err != nil {
		return sandbox.Usage{}, err
	}
	defer release()
	usage, err := s.group.Usage()
	if err != nil {
		return sandbox.Usage{}, err
	}
	now, peak := s.memory.observe(usage)
	return sandbox.Usage{MemoryBytes: now, MemoryPeakBytes: peak, OutOfMemory: s.outOfMemory(), CPU: usage.CPU}, nil
}

// Done implements sandbox.Sandbox.
func (s *instance) Done() <-chan struct{} { return s.done }

// Exit implements sandbox.Sandbox.
func (s *instance) Exit() sandbox.Exit {
	select {
	case <-s.done:
		return s.exit
	default:
		return sandbox.Exit{}
	}
}

// ended records how the sandbox has ended.
func (s *instance) ended() {
	s.exit.Detail = s.lastWords()
	// What cannot be read counts as zero: the group may be gone already.
	if refused, _ := s.group.PidsRefused(); refused > 0 {
		s.exit.Detail = "the limit of processes was hit: " + s.exit.Detail
	}
	if s.outOfMemory() {
		s.exit.OutOfMemory = true
		s.exit.Detail = "the memory limit was hit: " + s.exit.Detail
	}
	if s.exit.Detail == "" {
		s.exit.Detail = "the sandbox's kernel process ended"
	}
	close(s.done)
}
