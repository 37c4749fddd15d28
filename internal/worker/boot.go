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
	image   *mountedImage
	sb      sandbox.Sandbox
	session *controlstream.Session
	logs    *sink
	scratch Scratch // the default /tmp
	since   time.Time
}

// boot makes one; on error nothing of it is left.
func (w *Worker) boot(ctx context.Context, runtime string) (_ *booted, err error) {
	select {
	case w.boots <- struct{}{}:
		defer func() { <-w.boots }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, w.cfg.BootTimeout, fmt.Errorf("worker: the sandbox did not boot within %v", w.cfg.BootTimeout))
	defer cancel()
	img, err := w.images.get(ctx, runtime)
	if err != nil {
		return nil, err
	}
	// Sandboxes have ids of their own: they exist before their environment.
	b := &booted{id: string(environment.NewID()), runtime: runtime, image: img, logs: &sink{}, since: time.Now()}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.discard(b))
		}
	}()
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
	if b.sb, err = w.cfg.Driver.Create(ctx, sandbox.Spec{ID: b.id, Root: b.image.root, Egress: w.cfg.Egress}); err != nil {
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
	return errors.Join(errs...)
}

func (w *Worker) scratchDir(id string) string { return filepath.Join(w.cfg.Dir, "scratch", id) }
