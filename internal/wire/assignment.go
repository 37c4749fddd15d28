package wire

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"hearth/internal/environment"
	"hearth/internal/function"
	"hearth/internal/placement"
	"hearth/internal/rpc"
)

// Status is a worker's heartbeat.
type Status = placement.Status

// Assigner is assignment for a process of another role.
type Assigner struct {
	tracker *Tracker
	// partition finds the partition of a function.
	partition func(uid string) int
	log       *slog.Logger

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// NewAssigner makes an Assigner. Stop ends what it has under way.
func NewAssigner(t *Tracker, partition func(uid string) int, log *slog.Logger) *Assigner {
	a := &Assigner{tracker: t, partition: partition, log: log}
	a.ctx, a.cancel = context.WithCancel(context.Background())
	return a
}

// Stop ends reports under way.
func (a *Assigner) Stop() {
	a.cancel()
	a.wg.Wait()
}

// errMoved is why a call ends whose leader leads no more.
var errMoved = errors.New("wire: another leads the partition now")

// ask calls the leader of a partition, and whoever leads after it, until one has
// answered or the context ends.
func ask[Req, Res any](ctx context.Context, t *Tracker, partition int, m rpc.Method[Req, Res], req *Req) (*Res, error) {
	for {
		c, changed := t.leader(partition)
		if c == nil {
			if err := wait(ctx, changed, 0); err != nil {
				return nil, err
			}
			continue
		}
		res, err := askLeader(ctx, c, m, req)
		_, unreachable := rpc.Unreachable(err)
		switch {
		case ctx.Err() != nil:
			return res, err
		case errors.Is(err, errMoved):
		case unreachable || errors.Is(err, environment.ErrNotLeading):
			// It says so itself in a moment, or another does.
			if err := wait(ctx, changed, 20*time.Millisecond); err != nil {
				return nil, err
			}
		default:
			return res, err
		}
	}
}

// askLeader calls a leader for as long as it leads: errMoved.
func askLeader[Req, Res any](ctx context.Context, c *claim, m rpc.Method[Req, Res], req *Req) (*Res, error) {
	call, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.over, func() { cancel(errMoved) })()
	return rpc.Call(call, c.peer.conn, m, req)
}

// wait waits for a change, at most as long as it says if that is not zero.
func wait(ctx context.Context, changed <-chan struct{}, most time.Duration) error {
	var late <-chan time.Time
	if most > 0 {
		timer := time.NewTimer(most)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case <-changed:
	case <-late:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// patience is how long an invoke waits for an environment; the leader itself
// gives up a little earlier.
const patience = 65 * time.Second

// Acquire implements frontend.Assigner.
func (a *Assigner) Acquire(ctx context.Context, rec *function.Record) (environment.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	l, err := ask(ctx, a.tracker, a.partition(rec.UID), methodAcquire,
		&acquire{Account: rec.Account, Name: rec.Name, Version: rec.Version, Key: rec.Key()})
	if err != nil {
		return environment.Lease{}, err
	}
	return *l, nil
}

// reportFor is how long a report is tried to be given: later the leader has found
// out by itself.
const reportFor = 10 * time.Second

// report tells the leader of a partition something, in its own time.
func report[Req any](a *Assigner, partition int, m rpc.Method[Req, none], req *Req) {
	a.wg.Go(func() {
		ctx, cancel := context.WithTimeout(a.ctx, reportFor)
		defer cancel()
		if _, err := ask(ctx, a.tracker, partition, m, req); err != nil && a.ctx.Err() == nil {
			a.log.Warn("wire: a report has not reached assignment", "method", string(m), "error", err)
		}
	})
}

// Refused implements frontend.Assigner.
func (a *Assigner) Refused(l environment.Lease, why error) {
	r := &refusal{Lease: l, Kind: rpc.KindOf(why)}
	// The next try is to see what comes of it.
	ctx, cancel := context.WithTimeout(a.ctx, time.Second)
	defer cancel()
	_, _ = ask(ctx, a.tracker, l.Partition, methodRefused, r) // the leader finds out by itself
}

// InvokeDone implements worker.Reporter.
func (a *Assigner) InvokeDone(l environment.Lease, outcome environment.Outcome, payload []byte) {
	if outcome != environment.OutcomeInitError {
		payload = nil // only of that one it is needed
	}
	report(a, l.Partition, methodDone, &done{Lease: l, Outcome: outcome, Payload: payload})
}

// Lost implements worker.Reporter.
func (a *Assigner) Lost(uid string, id environment.ID) {
	report(a, a.partition(uid), methodLost, &lost{UID: uid, ID: id})
}

// Provisioned implements api.Provisioner.
func (a *Assigner) Provisioned(version *function.Record) (allocated, available int, failure string) {
	ctx, cancel := context.WithTimeout(a.ctx, 2*time.Second)
	defer cancel()
	p, err := ask(ctx, a.tracker, a.partition(version.UID), methodProvisioned,
		&versionRef{Account: version.Account, Name: version.Name, Version: version.Version})
	if err != nil {
		return 0, 0, "Nobody leads the partition of this function at the moment. Ask again."
	}
	return p.Allocated, p.Available, p.Failure
}
