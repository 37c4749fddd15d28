package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"hearth/internal/artifact"
	"hearth/internal/awserr"
	"hearth/internal/blockfs"
	"hearth/internal/control"
	"hearth/internal/function"
	"hearth/internal/garbage"
	"hearth/internal/rootdir"
	"hearth/internal/volumefs"
	"hearth/internal/worker"
)

// blockfsOwner is whose leases on volumes the worker's are.
const blockfsOwner = "worker"

// openArtifacts opens what makes volumes of code.
func (h *Hearth) openArtifacts(ctx context.Context) (err error) {
	salt, err := artifact.LoadSalt(ctx, h.client, h.keyring, h.creds.AccountID)
	if err != nil {
		return err
	}
	if err := h.openChunks(ctx, &salt); err != nil {
		return err
	}
	if err := h.makeBuildDir(); err != nil {
		return err
	}
	h.artifacts = artifact.New(artifact.Config{
		Objects: h.objects, Chunks: h.chunks, Puts: h.cfg.chunkPuts(), Keys: h.keyring, Salt: salt,
		Roots: h.garbage, Images: functionImages{h}, Operator: h.creds.AccountID, TempDir: h.buildDir(), Log: h.cfg.Log,
	})
	h.stopLast(h.artifacts.Stop)
	return nil
}

// buildDir is for what builds and openings of volumes need for a moment.
func (h *Hearth) buildDir() string { return filepath.Join(h.dir.Worker(), "builds") }

func (h *Hearth) makeBuildDir() error {
	if err := os.RemoveAll(h.buildDir()); err != nil {
		return err
	}
	return os.Mkdir(h.buildDir(), 0o700)
}

// startBlockfs starts the process that shows volumes.
func (h *Hearth) startBlockfs(ctx context.Context) error {
	chunks, err := json.Marshal(h.cfg.chunks(h.kept(h.dir.Chunks()), h.dir.Cache()))
	if err != nil {
		return err
	}
	build, err := blockfs.Build(string(chunks))
	if err != nil {
		return err
	}
	client, err := blockfs.NewClient(blockfs.ClientConfig{
		Dir: h.dir.Blockfs(), Owner: blockfsOwner, Build: build, Log: h.cfg.Log,
		Command: []string{h.cfg.Program, "blockfs", "--ready", "--dir", h.dir.Blockfs(), "--chunks", string(chunks)},
	})
	if err != nil {
		return err
	}
	if err := client.Start(ctx); err != nil {
		return err
	}
	h.stopLast(func() { h.stopped("blockfs", client.Shutdown(context.WithoutCancel(h.ctx), true)) })
	h.blockfs = client
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

// collectGarbage begins to free chunks. By now the leases of former lives are
// swept, and so are the volumes that no record names.
func (h *Hearth) collectGarbage(context.Context) error {
	h.garbage.Start(h.artifacts, h.machines)
	h.stopLast(h.garbage.Stop)
	return nil
}

// machines are those that functions run on.
type machines interface {
	garbage.Readers
	Prepare(ctx context.Context, account string, cfg *function.Config) error
	// ForgetCode has code unmounted that nothing names any more.
	ForgetCode(ctx context.Context, object string) error
}

// thisMachine is the only one. Its worker keeps some volumes mounted for later.
type thisMachine struct {
	*volumefs.Host
	*worker.Worker
}

// Leave implements garbage.Readers.
func (m thisMachine) Leave() error { return m.RenewCode() }

// ForgetCode implements machines.
func (m thisMachine) ForgetCode(_ context.Context, object string) error {
	return m.Worker.ForgetCode(object)
}

// collectNow is the operator's garbage collection.
func (h *Hearth) collectNow(ctx context.Context, body []byte) (any, error) {
	var o garbage.Options
	if err := json.Unmarshal(body, &o); err != nil {
		return nil, awserr.New("SerializationException", "The body is not a JSON object of this operation's parameters.")
	}
	report, err := h.garbage.Collect(ctx, o)
	if err != nil {
		// It is for the operator, who may know everything.
		return nil, fmt.Errorf("%w: %w", awserr.New("ServiceException", "The cycle ended early, the next one goes on: %v", err), err)
	}
	return report, nil
}

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

// functionVolumes are what is made of code, and what machines have of it.
type functionVolumes struct {
	*artifact.Service
	machines machines
}

// Delete implements control.Volumes: nothing names the object any more.
func (v functionVolumes) Delete(ctx context.Context, object string) error {
	return errors.Join(v.machines.ForgetCode(ctx, object), v.Service.Delete(ctx, object))
}

// progress tells a function's owner how far its code is being stored.
func (h *Hearth) progress(object string) string {
	if p, ok := h.artifacts.Progress(object); ok {
		return p.String()
	}
	return ""
}

// fullReason is why a function is Failed that there was no room for.
const fullReason = "Hearth's disk is full. Free some space where its data directory is, then update the function to try again."

// preparer has the worker prepare what the control plane wants to serve.
type preparer struct{ h *Hearth }

// Prepare implements control.Preparer.
func (p preparer) Prepare(ctx context.Context, r *function.Record, cfg *function.Config) error {
	err := p.h.machines.Prepare(ctx, r.Account, cfg)
	if rootdir.IsFull(err) {
		return fmt.Errorf("%w: %w", &control.PrepareError{Code: "InternalError", Reason: fullReason}, err)
	}
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
