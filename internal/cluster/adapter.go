package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"hearth/internal/control"
	"hearth/internal/environment"
	"hearth/internal/function"
	"hearth/internal/iam"
	"hearth/internal/kms"
	"hearth/internal/mount"
	"hearth/internal/netns"
	"hearth/internal/s3"
	"hearth/internal/sandbox"
	"hearth/internal/sandbox/gvisor"
	"hearth/internal/scratch"
	"hearth/internal/worker"
)

// The types in this file give services what they ask for in the words that
// others offer it in.

// newDriver makes the sandbox driver. Its instance names everything on the
// machine that is not below the data directory, so that two Hearths with two
// data directories never touch each other's.
func (h *Hearth) newDriver() (sandbox.Driver, error) {
	sum := sha256.Sum256([]byte(h.dir.Path()))
	cfg := gvisor.Config{
		Runsc: h.cfg.Runsc, Init: h.cfg.Init, Dir: filepath.Join(h.dir.Worker(), "sandboxes"),
		Instance: hex.EncodeToString(sum[:4]), Log: h.cfg.Log,
	}
	if h.cfg.Egress {
		var err error
		if cfg.Resolvers, err = netns.HostResolvers(); err != nil {
			return nil, err
		}
		if len(cfg.Resolvers) == 0 {
			h.cfg.Log.Warn("functions can look up no names: /etc/resolv.conf has no name server outside this host with an IPv4 address")
		}
	}
	return gvisor.New(cfg)
}

// images offers managed runtimes to the worker.
type images struct{ h *Hearth }

func (i images) Image(ctx context.Context, runtime string) (worker.Image, error) {
	img, err := i.h.runtimes.Ensure(ctx, runtime, i.h.cfg.Progress)
	if err != nil {
		return worker.Image{}, err
	}
	return worker.Image{Path: img.Path, Digest: img.Digest, Version: img.Version, ARN: i.h.runtimeARN(img.Digest)}, nil
}

// runtimeARN names a runtime's version as AWS does: by a hash.
func (h *Hearth) runtimeARN(digest string) string {
	return "arn:aws:lambda:" + h.cfg.Region + "::runtime:" + digest
}

func (h *Hearth) runtimeVersion(runtime string) string {
	img, ok := h.runtimes.Lookup(runtime)
	if !ok {
		return ""
	}
	return img.Digest
}

// openBuckets makes the client of the S3 endpoint; nil if there is none.
func (h *Hearth) openBuckets() (control.Buckets, error) {
	if h.cfg.S3.Endpoint == "" {
		return nil, nil
	}
	client, err := s3.New(h.cfg.S3)
	if err != nil {
		return nil, err
	}
	h.stopLast(client.Close)
	return client, nil
}

// volumes offers mounts to the worker.
type volumes struct{ scratch *scratch.Maker }

// Sweep undoes every mount below a directory that a former life left.
func (volumes) Sweep(dir string) error {
	if err := mount.UnmountBelow(dir); err != nil {
		return err
	}
	// A loop device whose mount never came to be goes with its mount, as a
	// rule; one that was made a moment before the kill has none.
	devices, err := mount.LoopsBelow(dir)
	for _, d := range devices {
		err = errors.Join(err, mount.DetachLoop(d))
	}
	return err
}

func (volumes) Unmount(dir string) error { return mount.Unmount(dir) }

func (volumes) Overlay(dir string, layers []string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := mount.Overlay(dir, layers...); err != nil {
		return errors.Join(err, os.Remove(dir))
	}
	return nil
}

func (v volumes) MakeScratch(ctx context.Context, dir string, sizeMB int) (worker.Scratch, error) {
	vol, err := v.scratch.Make(ctx, dir, sizeMB)
	if err != nil {
		return nil, err
	}
	return scratchVolume{vol}, nil
}

// scratchVolume offers where a volume is mounted as a method.
type scratchVolume struct{ *scratch.Volume }

func (v scratchVolume) Path() string { return v.Dir }

// secrets opens functions' variables, and makes keys of their roles.
type secrets struct {
	kms    *kms.Service
	people *iam.Service
}

// Open implements assignment.Secrets. The session is named after the function,
// as on AWS.
func (s secrets) Open(ctx context.Context, rec *function.Record, until time.Time) (opened environment.Secrets, err error) {
	if sealed := rec.Serving.Sealed; !sealed.IsZero() {
		if opened.Variables, err = s.kms.OpenEnvironment(ctx, rec.Account, rec.ARN(), sealed.Sealed); err != nil {
			return environment.Secrets{}, err
		}
	}
	c, err := s.people.FunctionSession(ctx, rec.Serving.Role, rec.ARN(), time.Until(until))
	if err != nil {
		return environment.Secrets{}, fmt.Errorf("credentials of the function's role: %w", err)
	}
	opened.Keys = environment.Keys{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}
	return opened, nil
}

// inside is the API as functions see it. The worker comes before the API does:
// a function that is quicker still is told to try again, which SDKs do.
type inside struct{ handler atomic.Pointer[http.Handler] }

func (i *inside) serve(handler http.Handler) { i.handler.Store(&handler) }

// ServeHTTP implements http.Handler.
func (i *inside) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := i.handler.Load()
	if h == nil {
		http.Error(w, "Hearth is starting.", http.StatusServiceUnavailable)
		return
	}
	(*h).ServeHTTP(w, r)
}
