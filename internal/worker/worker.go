package worker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"hearth/internal/environment"
	"hearth/internal/function"
)

// Worker runs environments on this machine.
type Worker struct {
	cfg   Config
	code  *codeCache
	pool  *pool
	boots chan struct{}
	// endpoint is nil if functions have none.
	endpoint *endpoint

	terms     terms
	startings startings

	ctx    context.Context
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	usedMB int
	envs   sync.Map // environment.ID → *env
}

// errStopped is why things end when the worker does.
var errStopped = errors.New("worker: stopping")

// New makes a Worker; Start starts it.
func New(cfg Config) (*Worker, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	w := &Worker{cfg: cfg, boots: make(chan struct{}, cfg.Boots)}
	w.pool = newPool(w)
	if cfg.API != nil {
		w.endpoint = newEndpoint(cfg.API, cfg.Log)
	}
	w.ctx, w.cancel = context.WithCancelCause(context.Background())
	w.code = newCodeCache(w.ctx, &cfg)
	return w, nil
}

// Open sweeps away what a former life left and makes the worker ready.
func (w *Worker) Open(ctx context.Context) error {
	if err := w.cfg.Driver.Sweep(ctx); err != nil {
		return fmt.Errorf("worker: sweep: %w", err)
	}
	if err := w.cfg.Volumes.Sweep(w.cfg.Dir); err != nil {
		return fmt.Errorf("worker: sweep: %w", err)
	}
	for _, dir := range []string{"code", "scratch"} {
		path := filepath.Join(w.cfg.Dir, dir)
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("worker: sweep: %w", err)
		}
		if err := os.MkdirAll(path, 0o700); err != nil {
			return fmt.Errorf("worker: %w", err)
		}
	}
	w.wg.Go(func() {
		tick := time.NewTicker(w.cfg.PoolWindow / 10)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				w.pool.trim()
				w.expire(time.Now())
			case <-w.ctx.Done():
				return
			}
		}
	})
	return nil
}

// RenewCode has environments that start from now on have their code as it is
// found then, and lets go of what is mounted for later.
func (w *Worker) RenewCode() error { return w.code.renew() }

// ForgetCode lets go of what is mounted of an archive or image that no function
// has any more, or as soon as environments of it are gone.
func (w *Worker) ForgetCode(object string) error { return w.code.forget(object) }

// Close destroys every environment and pooled sandbox and unmounts what the
// worker mounted.
func (w *Worker) Close() error {
	w.cancel(errStopped)
	w.pool.close()
	var endpointErr error
	if w.endpoint != nil {
		endpointErr = w.endpoint.refuse()
	}
	var all sync.WaitGroup
	w.envs.Range(func(_, v any) bool {
		all.Go(func() {
			if err := w.Stop(context.WithoutCancel(w.ctx), v.(*env).start.ID); err != nil {
				w.cfg.Log.Error("environment not destroyed cleanly", "environment", v.(*env).start.ID, "error", err)
			}
		})
		return true
	})
	all.Wait()
	w.wg.Wait()
	if w.endpoint != nil {
		w.endpoint.wait() // the invokes that were asked for there have ended
	}
	// What the driver keeps for all sandboxes together goes too.
	return errors.Join(endpointErr, w.cfg.Driver.Sweep(context.WithoutCancel(w.ctx)), w.code.close())
}

// Prepare makes sure that environments of a configuration can be started: its
// runtime's image, its code and its layers can be mounted. It also has a sandbox
// booted, as the first invoke is likely to follow.
func (w *Worker) Prepare(ctx context.Context, account string, cfg *function.Config) error {
	if cfg.Image == nil {
		_, root, err := w.root(ctx, cfg.Runtime)
		if err != nil {
			return err
		}
		if err := w.code.release(root); err != nil {
			return err
		}
	}
	for _, refs := range [][]CodeRef{codeOf(account, cfg), layersOf(cfg)} {
		if len(refs) == 0 {
			continue
		}
		code, err := w.code.acquire(ctx, refs)
		if err != nil {
			return err
		}
		if err := w.code.release(code); err != nil {
			return err
		}
	}
	if w.ctx.Err() == nil && cfg.Image == nil {
		w.pool.expect(cfg.Runtime)
		w.pool.refill(cfg.Runtime)
	}
	return nil
}

// reserve promises memory to an environment.
func (w *Worker) reserve(mb int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.usedMB+mb > w.cfg.CapacityMB {
		return fmt.Errorf("worker: %w: %d MB of %d MB are promised", environment.ErrNoCapacity, w.usedMB, w.cfg.CapacityMB)
	}
	w.usedMB += mb
	return nil
}

func (w *Worker) unreserve(mb int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.usedMB -= mb
}

// Stop destroys an environment, also one that is being started. It is harmless
// for one that is gone.
func (w *Worker) Stop(_ context.Context, id environment.ID) error {
	w.startings.callOff(id)
	v, ok := w.envs.LoadAndDelete(id)
	if !ok {
		return nil
	}
	return v.(*env).destroy()
}

// Busy says whether an invoke is under way.
func (w *Worker) Busy() bool {
	busy := false
	w.envs.Range(func(_, v any) bool {
		busy = v.(*env).tell().Busy
		return !busy
	})
	return busy
}

// Running says whether the invoke of a lease is under way.
func (w *Worker) Running(l environment.Lease) bool {
	v, ok := w.envs.Load(l.ID)
	if !ok {
		return false
	}
	r := v.(*env).tell()
	return r.Busy && r.Epoch == l.Epoch && r.Seq == l.Seq
}

// Environments is how many environments there are.
func (w *Worker) Environments() int {
	n := 0
	w.envs.Range(func(any, any) bool { n++; return true })
	return n
}
