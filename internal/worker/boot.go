package worker

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"hearth/internal/controlstream"
	"hearth/internal/environment"
	"hearth/internal/sandbox"
)

// booted is a sandbox that runs hearth-init and knows no function.
type booted struct {
	id      string
	runtime string
	image   Image // of the managed runtime
	root    *codeEntry
	sb      sandbox.Sandbox
	session *controlstream.Session
	logs    *sink
	scratch Scratch // the default /tmp
	since   time.Time
}

// bootRuntime boots a sandbox of a managed runtime.
func (w *Worker) bootRuntime(ctx context.Context, runtime string) (*booted, error) {
	img, root, err := w.root(ctx, runtime)
	if err != nil {
		return nil, err
	}
	return w.boot(ctx, &booted{runtime: runtime, image: img, root: root})
}

// bootImage boots a sandbox of a container image.
func (w *Worker) bootImage(ctx context.Context, code []CodeRef) (*booted, error) {
	root, err := w.code.acquire(ctx, code)
	if err != nil {
		return nil, err
	}
	return w.boot(ctx, &booted{root: root})
}

// boot makes b a sandbox over its root; on error nothing of it is left, and the
// root is given back.
func (w *Worker) boot(ctx context.Context, b *booted) (_ *booted, err error) {
	defer func() {
		if err != nil {
			err = errors.Join(err, w.discard(b))
		}
	}()
	select {
	case w.boots <- struct{}{}:
		defer func() { <-w.boots }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, w.cfg.BootTimeout, fmt.Errorf("worker: the sandbox did not boot within %v", w.cfg.BootTimeout))
	defer cancel()
	// Sandboxes have ids of their own: they exist before their environment.
	b.id, b.logs, b.since = string(environment.NewID()), &sink{}, time.Now()
	if err := w.make(ctx, b); err != nil {
		return nil, err
	}
	conn, err := b.sb.Control(ctx)
	if err != nil {
		return nil, fmt.Errorf("worker: control connection: %w", err)
	}
	if b.session, _, err = controlstream.Open(ctx, conn, controlstream.Options{Logs: b.logs.take}); err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	return b, nil
}

// make makes the sandbox and its /tmp, both at once: neither needs the other.
func (w *Worker) make(ctx context.Context, b *booted) error {
	var scratchErr error
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.scratch, scratchErr = w.cfg.Volumes.MakeScratch(ctx, w.scratchDir(b.id), defaultScratchMB)
	}()
	var err error
	if b.sb, err = w.cfg.Driver.Create(ctx, sandbox.Spec{ID: b.id, Root: b.root.dir, Egress: w.cfg.Egress}); err != nil {
		err = fmt.Errorf("worker: create sandbox: %w", err)
	}
	<-done
	if scratchErr != nil {
		err = errors.Join(err, fmt.Errorf("worker: make /tmp: %w", scratchErr))
	}
	return err
}

// discard destroys a sandbox and everything made for it.
func (w *Worker) discard(b *booted) error {
	var errs []error
	if b.session != nil {
		errs = append(errs, b.session.Close())
	}
	if b.sb != nil {
		errs = append(errs, b.sb.Destroy(context.WithoutCancel(w.ctx)))
	}
	if b.scratch != nil {
		errs = append(errs, b.scratch.Remove())
	}
	return errors.Join(append(errs, w.code.release(b.root))...)
}

func (w *Worker) scratchDir(id string) string { return filepath.Join(w.cfg.Dir, "scratch", id) }
