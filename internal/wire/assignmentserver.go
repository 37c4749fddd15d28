package wire

import (
	"context"
	"errors"
	"time"

	"hearth/internal/assignment"
	"hearth/internal/awserr"
	"hearth/internal/ca"
	"hearth/internal/environment"
	"hearth/internal/function"
	"hearth/internal/placement"
	"hearth/internal/rpc"
)

// Assignment is what the assignment role serves others with.
type Assignment struct {
	Service   *assignment.Service
	Placement *placement.Service
	Directory *Directory
	Counting  *Counting
	// Find finds a function or version; Current makes sure that what Find finds is
	// no older than now.
	Find    func(account, name, version string) (*function.Record, bool)
	Current func(context.Context) error
}

// Register has a server answer for assignment.
func (a *Assignment) Register(s *rpc.Server) {
	frontends, workers, all := []ca.Role{ca.Frontend}, []ca.Role{ca.Worker}, ca.Roles
	rpc.Handle(s, methodAcquire, frontends, a.acquire)
	rpc.Handle(s, methodRefused, frontends, a.refused)
	rpc.Handle(s, methodProvisioned, frontends, a.provisioned)
	rpc.Handle(s, methodDone, workers, a.done)
	rpc.Handle(s, methodLost, workers, a.lost)
	rpc.Handle(s, methodHeartbeat, workers, a.heartbeat)
	rpc.Handle(s, methodJoin, all, a.join)
	rpc.HandleStream(s, methodWatch, all, a.watch)
}

// find finds a record that is at least as new as the caller's.
func (a *Assignment) find(ctx context.Context, account, name, version string, key *function.Key) (*function.Record, error) {
	for try := 0; ; try++ {
		r, ok := a.Find(account, name, version)
		if ok && r.Serving != nil && (key == nil || r.UID == key.UID && r.Generation >= key.Generation) {
			return r, nil
		}
		if try == 1 {
			return nil, awserr.New("ResourceConflictException", "The function was deleted or replaced while it was invoked.")
		}
		if err := a.Current(ctx); err != nil {
			return nil, err
		}
	}
}

func (a *Assignment) acquire(ctx context.Context, q *acquire) (*environment.Lease, error) {
	rec, err := a.find(ctx, q.Account, q.Name, q.Version, &q.Key)
	if err != nil {
		return nil, err
	}
	caller, err := rpc.Caller(ctx)
	if err != nil {
		return nil, err
	}
	l, err := a.Service.AcquireLed(ctx, rec, caller.Zone)
	if errors.Is(err, assignment.ErrStopped) {
		err = environment.ErrNotLeading // another is about to
	}
	return &l, err
}

func (a *Assignment) refused(_ context.Context, r *refusal) (*none, error) {
	why := rpc.OfKind(r.Kind)
	if why == nil {
		why = environment.ErrNotAccepted
	}
	a.Service.Refused(r.Lease, why)
	return nil, nil
}

func (a *Assignment) provisioned(ctx context.Context, q *versionRef) (*provisioned, error) {
	rec, err := a.find(ctx, q.Account, q.Name, q.Version, nil)
	if err != nil {
		return nil, err
	}
	p := &provisioned{}
	p.Allocated, p.Available, p.Failure = a.Service.Provisioned(rec)
	return p, nil
}

// own says whether an environment is at the worker that speaks of it.
func (a *Assignment) own(ctx context.Context, uid string, id environment.ID) (bool, error) {
	caller, err := rpc.Caller(ctx)
	return err == nil && a.Service.Owns(uid, id, environment.WorkerID(caller.Name)), err
}

func (a *Assignment) done(ctx context.Context, d *done) (*none, error) {
	if !a.Service.Leads(d.Lease.Partition) {
		return nil, environment.ErrNotLeading
	}
	own, err := a.own(ctx, d.Lease.Key.UID, d.Lease.ID)
	if own {
		a.Service.InvokeDone(d.Lease, d.Outcome, d.Payload)
	}
	return nil, err
}

func (a *Assignment) lost(ctx context.Context, l *lost) (*none, error) {
	own, err := a.own(ctx, l.UID, l.ID)
	if own {
		a.Service.Lost(l.UID, l.ID)
	}
	return nil, err
}

func (a *Assignment) heartbeat(ctx context.Context, s *placement.Status) (*none, error) {
	caller, err := rpc.Caller(ctx)
	if err != nil {
		return nil, err
	}
	s.Worker, s.Zone = environment.WorkerID(caller.Name), caller.Zone
	a.Placement.Heartbeat(*s)
	if s.Draining {
		a.Service.WorkerAway(s.Worker) // what is under way there ends there
	} else {
		a.Service.WorkerHeard(s.Worker)
	}
	return nil, nil
}

func (a *Assignment) join(ctx context.Context, n *Node) (*none, error) {
	caller, err := rpc.Caller(ctx)
	if err != nil {
		return nil, err
	}
	n.Name, n.Zone, n.Roles = caller.Name, caller.Zone, caller.Roles
	return nil, a.Directory.Put(ctx, *n)
}

// watch sends what changes, and signs of life.
func (a *Assignment) watch(ctx context.Context, _ *none, send func(*news) error) error {
	caller, err := rpc.Caller(ctx)
	if err != nil {
		return err
	}
	if caller.Has(ca.Frontend) {
		defer a.Counting.Watching(caller.Name)()
	}
	tick := time.NewTicker(sign)
	defer tick.Stop()
	var told uint64 // the version of the nodes
	for {
		led, ledChanged := a.Service.Led()
		nodes, version, nodesChanged := a.Directory.All()
		n := &news{Led: led}
		if version != told {
			n.Nodes, told = nodes, version
		}
		if err := send(n); err != nil {
			return err
		}
		select {
		case <-ledChanged:
		case <-nodesChanged:
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
