package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"hearth/internal/api"
	"hearth/internal/artifact"
	"hearth/internal/ca"
	"hearth/internal/chunk"
	"hearth/internal/control"
	"hearth/internal/environment"
	"hearth/internal/frontend"
	"hearth/internal/function"
	"hearth/internal/journal"
	"hearth/internal/objectstore"
	"hearth/internal/wire"
	"hearth/internal/worker"
)

// leader is what one frontend of the cluster does for all: the control plane, the
// registry, builds of volumes, garbage collection, and the keeping of logs.
type leader struct {
	*Hearth
	handler http.Handler
}

// controlTerm is how long the control plane is led that nobody hears of.
const controlTerm = 5 * time.Second

// controlLog is where it is settled who leads the control plane; nothing is
// appended.
func (n *Node) controlLog() *journal.Etcd { return journal.NewEtcd(n.client, "control") }

// lead leads the control plane whenever nobody else does.
func (n *Node) lead(front *frontend.Service) {
	log := n.controlLog()
	// Nobody else has the name: it is that of a former life.
	_ = journal.EvictHolder(n.ctx, log, n.id.Name) // else it lapses by itself
	for n.ctx.Err() == nil {
		err := n.leadOnce(log, front)
		if err == nil || n.ctx.Err() != nil {
			continue
		}
		n.cfg.Log.Error("control plane: cannot lead", "error", err)
		select {
		case <-time.After(time.Second):
		case <-n.ctx.Done():
		}
	}
}

func (n *Node) leadOnce(log *journal.Etcd, front *frontend.Service) (err error) {
	term, err := log.Lead(n.ctx, []byte(n.id.Name), controlTerm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, term.Resign(context.WithoutCancel(n.ctx))) }()
	l, err := n.take(front)
	if err != nil {
		return fmt.Errorf("take over: %w", err)
	}
	n.cfg.Log.Info("control plane: this process leads")
	n.leading.Store(l)
	select {
	case <-term.Lost():
		n.cfg.Log.Warn("control plane: another leads now, or nobody can be told apart from another")
	case <-n.ctx.Done():
	}
	n.leading.Store(nil)
	l.unwind()
	return nil
}

// take starts what the leader has beyond other frontends.
func (n *Node) take(front *frontend.Service) (_ *leader, err error) {
	h := &Hearth{
		cfg: n.Hearth.cfg, dir: n.dir, creds: n.creds, client: n.client, keyring: n.keyring, audit: n.audit, people: n.people, kms: n.kms,
		catalog: n.catalog, runtimes: n.runtimes, machines: n.machines, provisioner: n.provisioner, listen: n.listen, url: n.url,
	}
	h.begin(n.ctx)
	l := &leader{Hearth: h}
	defer func() {
		if err != nil {
			l.unwind()
		}
	}()
	for _, step := range []func(context.Context) error{
		h.openObjects, h.openLogs, h.openImages, h.openArtifacts, h.sweepRuntimes, h.openControl, h.collectGarbage,
	} {
		if err := step(n.ctx); err != nil {
			return nil, err
		}
	}
	if l.handler, err = h.handler(front); err != nil {
		return nil, err
	}
	for _, end := range h.ending {
		h.stopLast(end)
	}
	return l, nil
}

// serveWorkers answers what workers ask frontends.
func (n *Node) serveWorkers() {
	f := &wire.Frontend{
		Find: n.find,
		Started: func(ctx context.Context, ref worker.CodeRef, touched []uint32) error {
			l := n.leading.Load()
			if l == nil {
				return environment.ErrNotLeading
			}
			return l.artifacts.Record(ctx, artifact.Ref(ref), touched)
		},
		Image: func(ctx context.Context, runtime string) (worker.Image, error) {
			l := n.leading.Load()
			if l == nil {
				return worker.Image{}, environment.ErrNotLeading
			}
			return images{l.Hearth}.Image(ctx, runtime)
		},
		Append: func(account, group, stream string, at time.Time, requestID string, line []byte) bool {
			l := n.leading.Load()
			if l == nil {
				return false
			}
			l.logs.Append(account, group, stream, at, requestID, line)
			return true
		},
	}
	f.Register(n.rpc)
}

// find finds a volume for a worker. Who does not lead knows those that there are.
func (n *Node) find(ctx context.Context, ref worker.CodeRef) (*artifact.Volume, error) {
	if ref.File != "" {
		// Managed runtimes are the operator's; where its file is here, the worker
		// cannot know.
		ref.Account = n.creds.AccountID
		digest, ok := strings.CutPrefix(ref.Object, worker.RuntimePrefix)
		if !ok {
			return nil, errors.New("cluster: the volume is of no runtime")
		}
		for _, name := range n.runtimes.Names() {
			if img, ok := n.runtimes.Lookup(name); ok && img.Digest == digest {
				ref.File = img.Path
			}
		}
	}
	if l := n.leading.Load(); l != nil {
		return l.artifacts.Find(ctx, artifact.Ref(ref), nil)
	}
	v, err := n.artifacts.Lookup(ctx, artifact.Ref(ref))
	if errors.Is(err, objectstore.ErrNotFound) {
		return nil, environment.ErrNotLeading // the leader has it built
	}
	return v, err
}

// invokes makes the handler of invokes, which every frontend serves.
func (n *Node) invokes(front *frontend.Service) (http.Handler, error) {
	return api.New(api.Config{
		KMS: n.kms,
		Functions: control.New(control.Config{
			Catalog: n.catalog, Objects: n.objects, Sealer: n.kms, Log: n.cfg.Log, Region: n.cfg.Region,
			Limits: control.Limits{Concurrency: n.cfg.AccountConcurrency},
		}),
		Invoker: front, Provisioner: n.provisioner, Keys: n.people, Access: n.people, Identities: n.people,
		URLs: n.catalog, URLBase: n.cfg.urlBase(portOf(n.listen)), Audit: n.audit.Record, Region: n.cfg.Region,
		Runtimes: n.runtimes.Names(), Concurrency: n.cfg.AccountConcurrency, Log: n.cfg.Log,
	})
}

// fleet are the workers of the cluster.
type fleet struct{ n *Node }

// each asks all workers at once; errors are joined.
func (f *fleet) each(ctx context.Context, do func(context.Context, *wire.RemoteWorker) error) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	for _, w := range f.n.tracker.Nodes(ca.Worker, f.n.id.Zone) {
		wg.Go(func() {
			if err := do(ctx, f.n.workers.Worker(environment.WorkerID(w.Name))); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("worker %s: %w", w.Name, err))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// Prepare implements control.Preparer: one worker at least can start it.
func (f *fleet) Prepare(ctx context.Context, account string, cfg *function.Config) error {
	// What can be wrong with its code is found here, in the words for its owner.
	if l := f.n.leading.Load(); l != nil {
		for _, ref := range worker.Refs(account, cfg) {
			if _, err := l.artifacts.Find(ctx, artifact.Ref(ref), nil); err != nil {
				return err
			}
		}
	}
	for {
		err := f.prepareOne(ctx, account, cfg)
		if !errors.Is(err, environment.ErrAway) {
			return err
		}
		// They come up, or come back.
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return err
		}
	}
}

// prepareOne has all workers prepare it and returns when the first has; ErrAway says
// that none could be asked.
func (f *fleet) prepareOne(ctx context.Context, account string, cfg *function.Config) error {
	workers := f.n.tracker.Nodes(ca.Worker, f.n.id.Zone)
	results := make(chan error, len(workers))
	for _, w := range workers {
		f.n.wg.Go(func() { results <- f.n.workers.Worker(environment.WorkerID(w.Name)).Prepare(f.n.ctx, account, cfg) })
	}
	failure := fmt.Errorf("cluster: no worker is there: %w", environment.ErrAway)
	for range workers {
		select {
		case err := <-results:
			switch {
			case err == nil:
				return nil // the others have it by and by
			case !errors.Is(err, environment.ErrAway):
				failure = err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return failure
}

// ForgetCode implements machines. Workers that are away keep it until they need
// the room.
func (f *fleet) ForgetCode(ctx context.Context, object string) error {
	err := f.each(ctx, func(ctx context.Context, w *wire.RemoteWorker) error { return w.ForgetCode(ctx, object) })
	if errors.Is(err, environment.ErrAway) {
		return nil
	}
	return err
}

// Reading implements garbage.Readers: of whoever cannot be asked it is not known.
func (f *fleet) Reading(root chunk.Root) bool {
	var mu sync.Mutex
	some := false
	err := f.each(f.n.ctx, func(ctx context.Context, w *wire.RemoteWorker) error {
		yes, err := w.Reading(ctx, root)
		mu.Lock()
		defer mu.Unlock()
		some = some || yes
		return err
	})
	return some || err != nil
}

// Leave implements garbage.Readers.
func (f *fleet) Leave() error {
	return f.each(f.n.ctx, func(ctx context.Context, w *wire.RemoteWorker) error { return w.RenewCode(ctx) })
}

// Unreadable implements garbage.Readers.
func (f *fleet) Unreadable(ctx context.Context) (all []string, err error) {
	var mu sync.Mutex
	err = f.each(ctx, func(ctx context.Context, w *wire.RemoteWorker) error {
		some, err := w.Unreadable(ctx)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, some...)
		return err
	})
	return all, err
}
