package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"time"

	"hearth/internal/environment"
	"hearth/internal/function"
	"hearth/internal/sandbox"
)

// Image is a managed runtime's root file system.
type Image struct {
	// Path is the ext4 image file.
	Path string
	// Digest names its content.
	Digest string
	// Version is the runtime's version as the log shows it, and ARN its name.
	Version string
	ARN     string
}

// Images finds the image of a runtime.
type Images interface {
	Image(ctx context.Context, runtime string) (Image, error)
}

// CodeRef names the code of a function, or a layer.
type CodeRef struct {
	// Account owns it, Object is its key.
	Account, Object string
	// Image is a container image by its digest; empty for an archive.
	Image string
	// File is a managed runtime's file system; empty for code.
	File string
}

// Code finds the volumes that code is in.
type Code interface {
	// Open finds a volume, or has it made.
	Open(ctx context.Context, ref CodeRef) (Volume, error)
}

// Volume is an immutable file system.
type Volume interface {
	// Mount mounts it read-only at dir, which it makes.
	Mount(dir string) error
	// Image is what a container image says itself; nil for an archive.
	Image() *function.ImageConfig
	// Lost is closed when what is mounted cannot be read any more.
	Lost() <-chan struct{}
	// Started is called after the first start from it.
	Started(ctx context.Context)
	// Release gives it back, once it is unmounted.
	Release(ctx context.Context) error
}

// Volumes makes directories that sandboxes can be given.
type Volumes interface {
	// Overlay lays directories over each other at dir, which it makes; the first
	// hides the others.
	Overlay(dir string, layers []string) error
	// Unmount undoes any mount.
	Unmount(dir string) error
	// MakeScratch makes an empty file system of sizeMB below dir, which it
	// creates; its content does not count as memory.
	MakeScratch(ctx context.Context, dir string, sizeMB int) (Scratch, error)
	// Sweep undoes every mount below dir, whoever made it.
	Sweep(dir string) error
}

// Scratch is a mounted /tmp volume.
type Scratch interface {
	// Path is where it is mounted on the host.
	Path() string
	// Remove unmounts and deletes it; it may be repeated.
	Remove() error
}

// Logs keeps what functions write. Append must not block on I/O.
type Logs interface {
	Append(account, group, stream string, at time.Time, requestID string, line []byte)
}

// Reporter hears how invokes ended and which idle environments died.
type Reporter interface {
	InvokeDone(l environment.Lease, outcome environment.Outcome, payload []byte)
	Lost(uid string, id environment.ID)
}

// Config is what a Worker needs; zero fields take their defaults.
type Config struct {
	ID     environment.WorkerID
	Dir    string // all of the worker's files; disposable
	Driver sandbox.Driver
	Images Images
	Code   Code
	// API is what functions reach at their endpoint; they have none if it is
	// nil.
	API      http.Handler
	Volumes  Volumes
	Logs     Logs
	Reporter Reporter
	Log      *slog.Logger
	Region   string

	// Egress lets functions reach the outside world.
	Egress bool
	// CapacityMB is the memory for environments in all.
	CapacityMB int
	// Pool is the most sandboxes kept booted per runtime; 0 keeps none.
	Pool int
	// PoolWindow is how long a start counts as demand; default 10 min.
	PoolWindow time.Duration
	// Boots bounds sandboxes being booted at once; default twice the cores.
	Boots int
	// BootTimeout bounds the boot of a sandbox; default 30 s.
	BootTimeout time.Duration
	// InitTimeout bounds the init phase; default 10 s, as AWS.
	InitTimeout time.Duration
	// FreezeAfter is how long an environment idles before it is frozen;
	// default 200 ms, negative never.
	FreezeAfter time.Duration
	// SpareMounts is how many volumes stay mounted that no environment uses;
	// default 128.
	SpareMounts int
}

func (c *Config) fill() error {
	if c.ID == "" || c.Dir == "" || c.Driver == nil || c.Images == nil || c.Code == nil ||
		c.Volumes == nil || c.Logs == nil || c.Reporter == nil {
		return errors.New("worker: an id, a directory, a driver, images, code, volumes, logs and a reporter are needed")
	}
	if c.CapacityMB < 128 {
		return fmt.Errorf("worker: a capacity of %d MB is too small for the smallest function (128 MB)", c.CapacityMB)
	}
	if c.Pool < 0 {
		return fmt.Errorf("worker: pool size %d is negative", c.Pool)
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Boots == 0 {
		c.Boots = 2 * runtime.NumCPU()
	}
	if c.SpareMounts == 0 {
		c.SpareMounts = 128
	}
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{
		{&c.PoolWindow, 10 * time.Minute},
		{&c.BootTimeout, 30 * time.Second},
		{&c.InitTimeout, 10 * time.Second},
		{&c.FreezeAfter, 200 * time.Millisecond},
	} {
		if *d.v == 0 {
			*d.v = d.d
		}
	}
	return nil
}

// The function's user and limits inside a sandbox, as AWS has them.
const (
	functionUID       = 993
	functionGID       = 990
	functionFiles     = 1024
	functionProcesses = 1024
	// hostPids bounds threads on the host: the function's own and those that
	// the sandbox's kernel runs them on.
	hostPids = 2*functionProcesses + 256
	// defaultScratchMB is the size of /tmp that pooled sandboxes come with.
	defaultScratchMB = 512
)

// milliCPU is the CPU share of a memory size: 1,769 MB is one core, as AWS.
func milliCPU(cfg *function.Config) int {
	return max(1, cfg.MemorySize*1000/1769)
}
