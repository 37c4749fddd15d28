package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"hearth/internal/ca"
	"hearth/internal/chunk"
	"hearth/internal/environment"
	"hearth/internal/function"
	"hearth/internal/invocation"
	"hearth/internal/rpc"
)

// Workers finds workers by their names, as those who call them see them.
type Workers struct{ tracker *Tracker }

// NewWorkers makes Workers that are found by a tracker.
func NewWorkers(t *Tracker) *Workers { return &Workers{t} }

// Worker is a worker elsewhere: an assignment.Worker and a frontend.Worker.
func (w *Workers) Worker(id environment.WorkerID) *RemoteWorker {
	return &RemoteWorker{w.tracker, string(id)}
}

// RemoteWorker is a worker elsewhere.
type RemoteWorker struct {
	tracker *Tracker
	name    string
}

func (w *RemoteWorker) conn() (*rpc.Conn, error) {
	n, ok := w.tracker.Node(w.name)
	if !ok || !n.Has(ca.Worker) {
		return nil, environment.ErrAway
	}
	return w.tracker.conn(n.Address, ca.Worker)
}

// reached turns what is known never to have reached the worker into
// environment.ErrAway.
func reached(err error) error {
	if sent, is := rpc.Unreachable(err); is && !sent {
		return errors.Join(environment.ErrAway, err)
	}
	return err
}

func callWorker[Req, Res any](ctx context.Context, w *RemoteWorker, m rpc.Method[Req, Res], most time.Duration, req *Req) (*Res, error) {
	conn, err := w.conn()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	res, err := rpc.Call(ctx, conn, m, req)
	return res, reached(err)
}

const (
	// startFor bounds a start; code that has to be fetched takes its time.
	startFor = 5 * time.Minute
	stopFor  = 30 * time.Second
	listFor  = 2 * time.Second
)

// Start implements assignment.Worker.
func (w *RemoteWorker) Start(ctx context.Context, st *environment.Start) (*environment.Started, error) {
	res, err := callWorker(ctx, w, methodStart, startFor, st)
	if err == nil {
		return &res.Started, nil
	}
	var answered *rpc.RemoteError
	if !errors.As(err, &answered) && !errors.Is(err, environment.ErrAway) {
		// Nobody knows what became of it. If this does not reach the worker
		// either, it is unknown to the leader when that lists it, and is stopped.
		if stopErr := w.Stop(context.WithoutCancel(ctx), st.ID); stopErr != nil {
			err = errors.Join(environment.ErrAway, err)
		}
	}
	return nil, err
}

// Stop implements assignment.Worker.
func (w *RemoteWorker) Stop(ctx context.Context, id environment.ID) error {
	_, err := callWorker(ctx, w, methodStop, stopFor, &environmentRef{ID: id})
	return err
}

// List implements assignment.Worker. It waits a while for a worker that cannot be
// reached, which may be about to be back.
func (w *RemoteWorker) List(ctx context.Context, partition int, epoch uint64) ([]environment.Report, error) {
	res, err := callWorker(rpc.Patient(ctx), w, methodList, listFor, &list{partition, epoch})
	if err != nil {
		return nil, err
	}
	return res.Reports, nil
}

// errLost is why an invoke has no answer: the connection to its worker broke.
var errLost = errors.New("wire: the worker was lost in the invoke")

// Invoke implements frontend.Worker.
func (w *RemoteWorker) Invoke(ctx context.Context, l environment.Lease, req *invocation.Request, unit invocation.Unit) (*invocation.Response, error) {
	return w.invoke(ctx, l, req, unit, nil)
}

// InvokeStream implements frontend.Worker.
func (w *RemoteWorker) InvokeStream(ctx context.Context, l environment.Lease, req *invocation.Request, unit invocation.Unit, to invocation.Sink) (
	*invocation.Response, error,
) {
	return w.invoke(ctx, l, req, unit, to)
}

func (w *RemoteWorker) invoke(ctx context.Context, l environment.Lease, req *invocation.Request, unit invocation.Unit, to invocation.Sink) (
	*invocation.Response, error,
) {
	conn, err := w.conn()
	if err != nil {
		return nil, err
	}
	q := &invoke{Lease: l, Request: *req, Stream: to != nil}
	if u, ok := unit.(interface{ Key() (string, uint64) }); ok {
		q.Pool, q.Life = u.Key()
	}
	r, err := rpc.Open(context.WithoutCancel(ctx), conn, methodInvoke, q)
	if err != nil {
		return nil, reached(err)
	}
	written := true
	for {
		e, err := r.Receive()
		if err != nil {
			r.Close()
			return nil, w.broken(err, l, unit)
		}
		switch {
		case e.Head != nil && to != nil:
			to.Begin(*e.Head)
		case e.Data != nil && to != nil && written:
			_, err := to.Write(e.Data)
			written = err == nil // a client that is gone: the function runs on
		case e.Answer != nil && e.Ended:
			r.Close()
			unit.Release() // first: the caller may come again at once
			return e.Answer, nil
		case e.Answer != nil:
			go w.awaitEnd(r, l, unit) // which is soon, or when the connection breaks
			return e.Answer, nil
		}
	}
}

// broken is what becomes of an invoke without an answer.
func (w *RemoteWorker) broken(err error, l environment.Lease, unit invocation.Unit) error {
	if u, ok := unit.(interface{ Refused() }); ok && errors.Is(err, environment.ErrUnit) {
		u.Refused()
	}
	if err = reached(err); errors.Is(err, environment.ErrNotAccepted) {
		return err // it keeps its unit
	}
	if _, answered := errors.AsType[*rpc.RemoteError](err); answered {
		unit.Release() // the worker is there, and has nothing of it
		return err
	}
	go w.findOut(l, unit)
	return errors.Join(errLost, err)
}

// awaitEnd gives the unit back when the invoke is over.
func (w *RemoteWorker) awaitEnd(r *rpc.Receiver[invokeEvent], l environment.Lease, unit invocation.Unit) {
	defer r.Close()
	for {
		switch e, err := r.Receive(); {
		case err != nil:
			w.findOut(l, unit)
			return
		case e.Ended:
			unit.Release()
			return
		}
	}
}

const (
	// findOutEvery is how often a worker is asked for an invoke that it was lost
	// with, and longestInvoke after how long its function's time is over for sure.
	findOutEvery  = time.Second
	longestInvoke = 905 * time.Second
)

// findOut keeps a unit until it is known that its invoke is over: until its worker
// says so, or no function can take as long.
func (w *RemoteWorker) findOut(l environment.Lease, unit invocation.Unit) {
	defer unit.Release()
	ctx, cancel := context.WithTimeout(w.tracker.ctx, longestInvoke)
	defer cancel()
	for {
		if wait(ctx, nil, findOutEvery) != nil {
			return
		}
		if res, err := callWorker(ctx, w, methodRunning, listFor, &l); err == nil && !res.Yes {
			return
		}
	}
}

// prepareFor bounds a preparation, which may build what it needs.
const prepareFor = 15 * time.Minute

// Prepare has the worker prepare a configuration.
func (w *RemoteWorker) Prepare(ctx context.Context, account string, cfg *function.Config) error {
	_, err := callWorker(ctx, w, methodPrepare, prepareFor, &prepare{Account: account, Config: cfg})
	return err
}

// ForgetCode has the worker let go of code.
func (w *RemoteWorker) ForgetCode(ctx context.Context, object string) error {
	_, err := callWorker(ctx, w, methodForget, stopFor, &objectRef{Object: object})
	return err
}

// RenewCode has the worker let go of what it keeps mounted for later.
func (w *RemoteWorker) RenewCode(ctx context.Context) error {
	_, err := callWorker(ctx, w, methodRenew, stopFor, &none{})
	return err
}

// Reading says whether volumes of a root are open at the worker.
func (w *RemoteWorker) Reading(ctx context.Context, root chunk.Root) (bool, error) {
	res, err := callWorker(ctx, w, methodReading, listFor, &reading{Root: binary.BigEndian.AppendUint64(nil, uint64(root))})
	return err == nil && res.Yes, err
}

// Unreadable lists the objects of which the worker could not read something.
func (w *RemoteWorker) Unreadable(ctx context.Context) ([]string, error) {
	res, err := callWorker(ctx, w, methodUnreadable, stopFor, &none{})
	if err != nil {
		return nil, err
	}
	return res.Objects, nil
}
