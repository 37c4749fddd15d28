package gvisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"golang.org/x/sys/unix"

	"hearth/internal/cgroup"
	"hearth/internal/netns"
	"hearth/internal/sandbox"
)

// Config says where the driver finds and keeps things. All but Resolvers are
// required.
type Config struct {
	// Runsc and Init are the host paths of gVisor's runsc and of the static
	// hearth-init.
	Runsc, Init string
	// Dir holds all state of the driver, and nothing else.
	Dir string
	// Instance names what lies outside Dir (cgroups, network devices): a few
	// letters and digits that differ between any two Hearths of a machine.
	Instance string
	// Resolvers are the name servers of sandboxes with egress: IPv4 addresses
	// outside the host.
	Resolvers []netip.Addr
	Log       *slog.Logger
}

var (
	instancePattern = regexp.MustCompile(`^[a-z0-9]{1,8}$`)
	idPattern       = regexp.MustCompile(`^[0-9a-f]{16}$`)
)

func (c Config) validate() error {
	var all error
	for _, path := range []string{c.Runsc, c.Init, c.Dir} {
		if !filepath.IsAbs(path) {
			all = errors.Join(all, fmt.Errorf("path %q is not absolute", path))
		}
	}
	for _, program := range []string{c.Runsc, c.Init} {
		if err := unix.Access(program, unix.X_OK); err != nil {
			all = errors.Join(all, fmt.Errorf("program %s: %w; build it with: make build", program, err))
		}
	}
	if !instancePattern.MatchString(c.Instance) {
		all = errors.Join(all, fmt.Errorf("instance %q is not 1 to 8 of a-z0-9", c.Instance))
	}
	if c.Log == nil {
		all = errors.Join(all, errors.New("no logger"))
	}
	return all
}

// Driver makes gVisor sandboxes. It implements sandbox.Driver.
type Driver struct {
	cfg     Config
	cgroups *cgroup.Hierarchy
	network *netns.Network // of sandboxes with egress

	mu   sync.Mutex
	live map[string]bool // ids in use
}

var _ sandbox.Driver = (*Driver)(nil)

// New returns a driver. It creates no sandbox and removes none; call Sweep
// before the first Create.
func New(cfg Config) (*Driver, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("gvisor: configuration: %w", err)
	}
	cgroups, err := cgroup.Detect()
	if err != nil {
		return nil, fmt.Errorf("gvisor: %w", err)
	}
	d := &Driver{
		cfg:     cfg,
		cgroups: cgroups,
		network: netns.New(cfg.Instance, cfg.Dir, cfg.Resolvers...),
		live:    make(map[string]bool),
	}
	if err := d.makeDirs(); err != nil {
		return nil, fmt.Errorf("gvisor: %w", err)
	}
	return d, nil
}

func (d *Driver) runDir() string       { return filepath.Join(d.cfg.Dir, "run") }
func (d *Driver) sandboxesDir() string { return filepath.Join(d.cfg.Dir, "sandboxes") }

// group is the parent of the cgroups of all our sandboxes.
func (d *Driver) group() string { return "hearth/" + d.cfg.Instance }

func (d *Driver) makeDirs() error {
	if err := os.MkdirAll(d.cfg.Dir, 0o711); err != nil {
		return err
	}
	for _, dir := range []string{d.runDir(), d.sandboxesDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	return makeSkeleton(d.cfg.Dir)
}

// reserve claims an id for a sandbox about to be made.
func (d *Driver) reserve(id string) error {
	if !idPattern.MatchString(id) {
		return fmt.Errorf("gvisor: sandbox id %q is not 16 lower-case hexadecimal digits", id)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.live[id] {
		return fmt.Errorf("gvisor: sandbox %s exists", id)
	}
	d.live[id] = true
	return nil
}

func (d *Driver) release(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.live, id)
}

// Create implements sandbox.Driver.
func (d *Driver) Create(ctx context.Context, spec sandbox.Spec) (sandbox.Sandbox, error) {
	if err := d.reserve(spec.ID); err != nil {
		return nil, err
	}
	s, err := d.newSandbox(spec)
	if err == nil {
		err = s.boot(ctx, spec)
	}
	if err == nil {
		return s, nil
	}
	err = fmt.Errorf("gvisor: create sandbox %s: %w", spec.ID, err)
	// The caller's context may be why we are here: clean up regardless.
	return nil, errors.Join(err, s.Destroy(context.WithoutCancel(ctx)))
}
