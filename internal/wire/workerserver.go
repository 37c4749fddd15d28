package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"

	"hearth/internal/ca"
	"hearth/internal/chunk"
	"hearth/internal/counting"
	"hearth/internal/environment"
	"hearth/internal/invocation"
	"hearth/internal/rpc"
	"hearth/internal/worker"
)

// Worker is what the worker role serves others with.
type Worker struct {
	Worker *worker.Worker
	// Volumes are those that are open on its machine.
	Volumes interface {
		Reading(root chunk.Root) bool
		Unreadable(ctx context.Context) ([]string, error)
	}

	units units
}

// Register has a server answer for a worker.
func (w *Worker) Register(s *rpc.Server) {
	assignments, frontends := []ca.Role{ca.Assignment}, []ca.Role{ca.Frontend}
	rpc.Handle(s, methodStart, assignments, func(ctx context.Context, st *environment.Start) (*startResult, error) {
		started, err := w.Worker.Start(ctx, st)
		if err != nil {
			return nil, err
		}
		return &startResult{*started}, nil
	})
	rpc.Handle(s, methodStop, assignments, func(ctx context.Context, q *environmentRef) (*none, error) {
		return nil, w.Worker.Stop(ctx, q.ID)
	})
	rpc.Handle(s, methodList, assignments, func(ctx context.Context, q *list) (*reports, error) {
		all, err := w.Worker.List(ctx, q.Partition, q.Epoch)
		return &reports{all}, err
	})
	rpc.HandleStream(s, methodInvoke, frontends, w.invoke)
	rpc.Handle(s, methodRunning, frontends, func(_ context.Context, l *environment.Lease) (*answered, error) {
		return &answered{w.Worker.Running(*l)}, nil
	})
	rpc.Handle(s, methodFence, assignments, func(_ context.Context, f *counting.Front) (*busyUnits, error) {
		return &busyUnits{w.units.fence(*f)}, nil
	})
	rpc.Handle(s, methodPrepare, frontends, func(ctx context.Context, q *prepare) (*none, error) {
		if q.Config == nil {
			return nil, errors.New("wire: no configuration to prepare")
		}
		return nil, w.Worker.Prepare(ctx, q.Account, q.Config)
	})
	rpc.Handle(s, methodForget, frontends, func(_ context.Context, q *objectRef) (*none, error) {
		return nil, w.Worker.ForgetCode(q.Object)
	})
	rpc.Handle(s, methodRenew, frontends, func(context.Context, *none) (*none, error) { return nil, w.Worker.RenewCode() })
	rpc.Handle(s, methodReading, frontends, func(_ context.Context, q *reading) (*answered, error) {
		if len(q.Root) != 8 {
			return nil, errors.New("wire: no root of chunks")
		}
		return &answered{w.Volumes.Reading(chunk.Root(binary.BigEndian.Uint64(q.Root)))}, nil
	})
	rpc.Handle(s, methodUnreadable, frontends, func(ctx context.Context, _ *none) (*objects, error) {
		all, err := w.Volumes.Unreadable(ctx)
		return &objects{all}, err
	})
}

// pieceSize is the most of a streamed answer in one message.
const pieceSize = 256 << 10

// ended is the unit of an invoke whose frontend is elsewhere: it hears when the
// invoke is over.
type ended struct {
	once sync.Once
	over chan struct{}
	end  func()
}

// Release implements invocation.Unit.
func (e *ended) Release() {
	e.once.Do(func() {
		e.end()
		close(e.over)
	})
}

// units are those of the invokes under way at a worker, and the frontends' lives
// that are over.
type units struct {
	mu     sync.Mutex
	fenced map[string]uint64
	busy   map[counting.Front]map[string]int // by pool
}

// begin counts an invoke, unless its frontend's life is over.
func (u *units) begin(f counting.Front, pool string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if f.Life <= u.fenced[f.Name] {
		return false
	}
	if u.busy == nil {
		u.busy = make(map[counting.Front]map[string]int)
	}
	if u.busy[f] == nil {
		u.busy[f] = make(map[string]int)
	}
	u.busy[f][pool]++
	return true
}

func (u *units) end(f counting.Front, pool string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.busy[f][pool]--; u.busy[f][pool] == 0 {
		delete(u.busy[f], pool)
	}
	if len(u.busy[f]) == 0 {
		delete(u.busy, f)
	}
}

// fence ends a frontend's lives up to one, and returns what of them is under way.
func (u *units) fence(f counting.Front) map[string]int {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.fenced == nil {
		u.fenced = make(map[string]uint64)
	}
	u.fenced[f.Name] = max(u.fenced[f.Name], f.Life)
	all := make(map[string]int)
	for other, pools := range u.busy {
		if other.Name == f.Name && other.Life <= f.Life {
			for pool, n := range pools {
				all[pool] += n
			}
		}
	}
	return all
}

// relay is an invocation.Sink that sends on.
type relay struct {
	send func(*invokeEvent) error
	err  error
}

// Begin implements invocation.Sink.
func (r *relay) Begin(h invocation.StreamHead) { r.err = r.send(&invokeEvent{Head: &h}) }

// Write implements invocation.Sink.
func (r *relay) Write(p []byte) (n int, err error) {
	for len(p) > 0 && r.err == nil {
		piece := p[:min(len(p), pieceSize)]
		if r.err = r.send(&invokeEvent{Data: piece}); r.err == nil {
			n, p = n+len(piece), p[len(piece):]
		}
	}
	return n, r.err
}

// invoke runs an invoke to its end, whether or not the frontend stays.
func (w *Worker) invoke(ctx context.Context, q *invoke, send func(*invokeEvent) error) error {
	caller, err := rpc.Caller(ctx)
	if err != nil {
		return err
	}
	front := counting.Front{Name: caller.Name, Life: q.Life}
	if !w.units.begin(front, q.Pool) {
		return environment.ErrUnit
	}
	run := context.WithoutCancel(ctx)
	unit := &ended{over: make(chan struct{}), end: func() { w.units.end(front, q.Pool) }}
	var res *invocation.Response
	if q.Stream {
		res, err = w.Worker.InvokeStream(run, q.Lease, &q.Request, unit, &relay{send: send})
	} else {
		res, err = w.Worker.Invoke(run, q.Lease, &q.Request, unit)
	}
	if err != nil {
		unit.Release() // nothing has begun
		return err
	}
	over := false
	select {
	case <-unit.over: // nearly always
		over = true
	default:
	}
	if err := send(&invokeEvent{Answer: res, Ended: over}); err != nil || over {
		return nil //nolint:nilerr // the frontend is gone, and so is who could be told
	}
	select {
	case <-unit.over:
	case <-ctx.Done():
		return nil
	}
	return send(&invokeEvent{Ended: true})
}
