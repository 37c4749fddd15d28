package guest

import (
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"hearth/internal/controlstream"
)

// Config says where things are. The zero values of Mount aside, every field
// is needed; DefaultConfig has those of a sandbox.
type Config struct {
	// API is the address of the Runtime API, on loopback.
	API string
	// Endpoint is the address at which a function reaches Hearth's API; none
	// if it is empty. What is not of 127/8 is given to the loopback device.
	Endpoint string
	// Control is the path of the Unix socket on which the worker listens.
	Control string
	// RuntimeDir, TaskDir and OptDir hold the runtime, the function's code
	// and its layers.
	RuntimeDir, TaskDir, OptDir string
	// PrewarmUID and PrewarmGID are the user of a prewarmed runtime.
	PrewarmUID, PrewarmGID int
	// Files and Processes are the resource limits until an assignment says
	// otherwise.
	Files, Processes int
	// Mount binds a late directory to its place.
	Mount func(controlstream.Mount) error
}

// DefaultConfig is the configuration inside a sandbox.
func DefaultConfig() Config {
	return Config{
		API:        "127.0.0.1:9001",
		Endpoint:   controlstream.Endpoint,
		Control:    "/.hearth/ctl/s",
		RuntimeDir: "/var/runtime",
		TaskDir:    "/var/task",
		OptDir:     "/opt",
		PrewarmUID: 993, // AWS's sbx_user1051
		PrewarmGID: 990,
		Files:      1024,
		Processes:  1024,
		Mount:      bindMount,
	}
}

// errNotProcessOne guards whoever runs the binary by hand.
var errNotProcessOne = errors.New("hearth-init is process 1 of a sandbox and ends every process it can see: " +
	"it does not run anywhere else")

// guest is hearth-init.
type guest struct {
	cfg   Config
	life  *lifecycle
	warm  *prewarmed // until the first start
	fn    *controlstream.Assignment
	procs *processes

	poller *poller
	stream *controlstream.Guest

	endpoint chan error // gets one thing: whether the endpoint is there
}

// Run is the life of hearth-init. It returns when the worker has asked for
// the end, with nil, or when the connection to it is gone; either way every
// other process is dead.
func Run(cfg Config) error {
	if os.Getpid() != 1 {
		return errNotProcessOne
	}
	unix.Umask(0o022)
	// What this process was started with must not reach the function.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("keep descriptors to myself: %w", err)
	}
	if err := setLimits(cfg.Files, cfg.Processes); err != nil {
		return err
	}
	g := &guest{cfg: cfg, procs: newProcesses(), endpoint: make(chan error, 1)}
	go g.procs.reapForever()
	defer g.procs.killAll()

	poller, err := newPoller()
	if err != nil {
		return err
	}
	g.poller = poller
	go poller.run()
	srv, err := newServer(poller, cfg.API)
	if err != nil {
		return fmt.Errorf("serve the Runtime API: %w", err)
	}
	g.life = &lifecycle{poller: poller, procs: g.procs, launch: g.launch, closeConns: srv.closeConns}
	srv.start(g.life)

	// Dialled first: what the sandbox uses by now is its own, and what it uses
	// beyond is counted as the function's, the runtime included.
	nc, err := dialUnix(poller, cfg.Control)
	if err != nil {
		return fmt.Errorf("dial the worker: %w", err)
	}
	ready, err := g.prewarm()
	if err != nil {
		return err
	}
	stream, err := controlstream.Accept(nc, controlstream.Hello{Protocol: controlstream.Version, Prewarmed: ready})
	if err != nil {
		return err
	}
	g.stream, g.life.worker = stream, stream
	// It takes a millisecond of the sandbox's kernel, while the worker has
	// things to do before it assigns.
	go func() { g.endpoint <- startEndpoint(poller, cfg.Endpoint, cfg.Control) }()
	return stream.Serve(g)
}

// Assign implements controlstream.Handler.
func (g *guest) Assign(a *controlstream.Assignment) error {
	if a.UID <= 0 || a.GID <= 0 {
		return fmt.Errorf("the function's user is %d:%d: must not be root", a.UID, a.GID)
	}
	if a.Files <= 0 || a.Processes <= 0 {
		return fmt.Errorf("resource limits are %d files, %d processes: must be positive", a.Files, a.Processes)
	}
	for _, m := range a.Mounts {
		if err := g.cfg.Mount(m); err != nil {
			return fmt.Errorf("mount %s: %w", m.Target, err)
		}
	}
	if err := <-g.endpoint; err != nil { // Assign is called at most once
		return fmt.Errorf("offer Hearth's API at %s: %w", g.cfg.Endpoint, err)
	}
	if err := setLimits(a.Files, a.Processes); err != nil {
		return err
	}
	g.fn = a
	return nil
}

// Init implements controlstream.Handler.
func (g *guest) Init(limit time.Duration) *controlstream.InitReport { return g.life.init(limit) }

// Invoke implements controlstream.Handler.
func (g *guest) Invoke(in *controlstream.Invoke, payload []byte) error {
	return g.life.beginInvoke(in, payload)
}

// Expire implements controlstream.Handler.
func (g *guest) Expire(id string) { g.life.expire(id) }

// Credit implements controlstream.Handler.
func (g *guest) Credit(id string, n int) { g.life.credit(id, n) }

// Shutdown implements controlstream.Handler.
func (g *guest) Shutdown(time.Duration) { g.life.shutdown() }

// bindMount makes m.Source appear at m.Target.
func bindMount(m controlstream.Mount) error {
	if err := unix.Mount(m.Source, m.Target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", m.Source, err)
	}
	if !m.ReadOnly {
		return nil
	}
	const flags = unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV
	if err := unix.Mount("", m.Target, "", flags, ""); err != nil {
		return fmt.Errorf("make read-only: %w", err)
	}
	return nil
}
