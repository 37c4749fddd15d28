package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"hearth/internal/artifact"
	"hearth/internal/blockfs"
	"hearth/internal/chunk"
	"hearth/internal/chunkstore/origin"
	"hearth/internal/control"
	"hearth/internal/function"
	"hearth/internal/volumefs"
	"hearth/internal/worker"
)

// blockfsOwner is whose leases on volumes the worker's are.
const blockfsOwner = "worker"

// openVolumes opens what makes volumes of code, and starts the process that
// shows them.
func (h *Hearth) openVolumes(ctx context.Context) (err error) {
	if h.chunks, err = origin.OpenDir(h.dir.Chunks()); err != nil {
		return err
	}
	h.stopLast(func() { h.stopped("chunk store", h.chunks.Close()) })
	salt, err := artifact.LoadSalt(ctx, h.etcd.Client(), h.keyring, h.creds.AccountID)
	if err != nil {
		return err
	}
	temp := h.buildDir()
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	if err := os.Mkdir(temp, 0o700); err != nil {
		return err
	}
	h.artifacts = artifact.New(artifact.Config{
		Objects: h.objects, Chunks: chunkBuilds{h.chunks}, Keys: h.keyring, Salt: salt,
		Roots: oneRoot{}, Images: functionImages{h}, TempDir: temp, Log: h.cfg.Log,
	})
	h.stopLast(h.artifacts.Stop)
	return h.startBlockfs(ctx)
}

// buildDir is for what builds and openings of volumes need for a moment.
func (h *Hearth) buildDir() string { return filepath.Join(h.dir.Worker(), "builds") }

func (h *Hearth) startBlockfs(ctx context.Context) error {
	build, err := blockfs.Build()
	if err != nil {
		return err
	}
	client, err := blockfs.NewClient(blockfs.ClientConfig{
		Dir: h.dir.Blockfs(), Owner: blockfsOwner, Build: build, Log: h.cfg.Log,
		Command: []string{h.cfg.Program, "blockfs", "--ready", "--dir", h.dir.Blockfs(), "--chunks", h.dir.Chunks()},
	})
	if err != nil {
		return err
	}
	if err := client.Start(ctx); err != nil {
		return err
	}
	h.stopLast(func() { h.stopped("blockfs", client.Shutdown(context.WithoutCancel(h.ctx), true)) })
	h.blockfs = client
	h.volumes = volumefs.NewHost(h.artifacts, client, h.buildDir(), h.cfg.Log)
	return nil
}

// sweepRuntimes forgets the volumes of runtimes that have been built anew since.
func (h *Hearth) sweepRuntimes(ctx context.Context) error {
	built := make(map[string]bool)
	for _, name := range h.runtimes.Names() {
		if img, ok := h.runtimes.Lookup(name); ok {
			built[worker.RuntimePrefix+img.Digest] = true
		}
	}
	objects, err := h.artifacts.Objects(ctx, worker.RuntimePrefix)
	if err != nil {
		return err
	}
	for _, object := range objects {
		if !built[object] {
			if err := h.artifacts.Delete(ctx, object); err != nil {
				return err
			}
		}
	}
	return nil
}

// chunkBuilds stores the chunks of builds in a directory.
type chunkBuilds struct{ dir *origin.Dir }

// NewBulk implements artifact.Store.
func (c chunkBuilds) NewBulk() artifact.Bulk { return c.dir.NewBulk(0) }

// oneRoot is the root that everything is in.
type oneRoot struct{}

// Begin implements artifact.Roots.
func (oneRoot) Begin(context.Context) (chunk.Root, func(), error) { return 1, func() {}, nil }

// code offers the worker the volumes of functions' code, and of runtimes, which
// are the operator's.
type code struct{ h *Hearth }

// Open implements worker.Code.
func (c code) Open(ctx context.Context, ref worker.CodeRef) (worker.Volume, error) {
	if ref.File != "" {
		ref.Account = c.h.creds.AccountID
	}
	v, err := c.h.volumes.Open(ctx, artifact.Ref(ref))
	if err != nil {
		return nil, err
	}
	return v, nil
}

// preparer has the worker prepare what the control plane wants to serve.
type preparer struct{ h *Hearth }

// Prepare implements control.Preparer.
func (p preparer) Prepare(ctx context.Context, r *function.Record, cfg *function.Config) error {
	err := p.h.worker.Prepare(ctx, r.Account, cfg)
	refused, ok := errors.AsType[*artifact.RefusedError](err)
	if !ok {
		return err
	}
	code := "InvalidZipFileException"
	switch {
	case refused.NotFound:
		code = "ImageDeleted"
	case refused.NoAccess:
		code = "ImageAccessDenied"
	case cfg.Image != nil:
		code = "InvalidImage"
	}
	return fmt.Errorf("%w: %w", &control.PrepareError{Code: code, Reason: refused.Reason}, err)
}
