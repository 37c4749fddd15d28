package wire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"hearth/internal/artifact"
	"hearth/internal/ca"
	"hearth/internal/chunk"
	"hearth/internal/environment"
	"hearth/internal/rpc"
	"hearth/internal/volume"
	"hearth/internal/worker"
)

// Frontend is what the frontend role serves workers with: they have neither keys
// nor etcd.
type Frontend struct {
	// Find finds the volume of code or of a runtime, or has it built; Started
	// records what a start from it has read.
	Find    func(ctx context.Context, ref worker.CodeRef) (*artifact.Volume, error)
	Started func(ctx context.Context, ref worker.CodeRef, touched []uint32) error
	Image   func(ctx context.Context, runtime string) (worker.Image, error)
	// Append keeps lines of functions' logs; it is false if another frontend does.
	Append func(account, group, stream string, at time.Time, requestID string, line []byte) bool
}

// Register has a server answer for a frontend.
func (f *Frontend) Register(s *rpc.Server) {
	workers := []ca.Role{ca.Worker}
	rpc.Handle(s, methodOpenVolume, workers, func(ctx context.Context, ref *worker.CodeRef) (*Volume, error) {
		v, err := f.Find(ctx, *ref)
		if err != nil {
			return nil, err
		}
		return &Volume{Encoded: v.Encoded, DataKey: v.DataKey, Extra: v.Extra[:], Image: v.Image, Profile: v.Profile}, nil
	})
	rpc.Handle(s, methodStarted, workers, func(ctx context.Context, q *started) (*none, error) {
		return nil, f.Started(ctx, q.Ref, q.Touched)
	})
	rpc.Handle(s, methodImage, workers, func(ctx context.Context, q *runtimeRef) (*worker.Image, error) {
		image, err := f.Image(ctx, q.Runtime)
		return &image, err
	})
	rpc.Handle(s, methodLogs, workers, func(_ context.Context, q *logLines) (*none, error) {
		for _, l := range q.Lines {
			if !f.Append(l.Account, l.Group, l.Stream, l.At, l.RequestID, l.Line) {
				return nil, environment.ErrNotLeading
			}
		}
		return nil, nil
	})
}

// Frontends are the frontends as a worker sees them: a volumefs.Finder,
// worker.Images and worker.Logs.
type Frontends struct {
	tracker *Tracker
	zone    string
	log     *slog.Logger

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	lines  chan logLine
	lost   sync.Once
}

// pendingLines is how many lines of logs wait to be sent.
const pendingLines = 1 << 16

// NewFrontends makes Frontends, of which those in a zone are asked first. Stop
// sends what is pending.
func NewFrontends(t *Tracker, zone string, log *slog.Logger) *Frontends {
	f := &Frontends{tracker: t, zone: zone, log: log, lines: make(chan logLine, pendingLines)}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.wg.Go(f.ship)
	return f
}

// Stop sends what logs are pending, for a moment, and ends.
func (f *Frontends) Stop() {
	close(f.lines)
	stop := time.AfterFunc(2*time.Second, f.cancel)
	defer stop.Stop()
	f.wg.Wait()
	f.cancel()
}

// errNoFrontend is why nothing could be asked.
var errNoFrontend = errors.New("wire: no frontend can be reached; it is tried again with the next start")

// lookFor is how long it is looked for a frontend that answers: they come up with
// the cluster, and another may be about to lead.
const lookFor = 10 * time.Second

// askFrontends asks one frontend after the other until one has answered.
func askFrontends[Req, Res any](ctx context.Context, f *Frontends, m rpc.Method[Req, Res], most time.Duration, req *Req) (*Res, error) {
	for began := time.Now(); ; {
		res, err := askEach(ctx, f, m, most, req)
		if !errors.Is(err, errNoFrontend) || time.Since(began) > lookFor || wait(ctx, nil, 2*redial) != nil {
			return res, err
		}
	}
}

func askEach[Req, Res any](ctx context.Context, f *Frontends, m rpc.Method[Req, Res], most time.Duration, req *Req) (*Res, error) {
	failure := errNoFrontend
	for _, n := range f.tracker.Nodes(ca.Frontend, f.zone) {
		conn, err := f.tracker.conn(n.Address, ca.Frontend)
		if err != nil {
			return nil, err
		}
		call, cancel := context.WithTimeout(ctx, most)
		res, err := rpc.Call(call, conn, m, req)
		cancel()
		if _, unreachable := rpc.Unreachable(err); !unreachable && !errors.Is(err, environment.ErrNotLeading) {
			return res, err
		}
		failure = errors.Join(errNoFrontend, err)
	}
	return nil, failure
}

// Find implements volumefs.Finder.
func (f *Frontends) Find(ctx context.Context, ref artifact.Ref, hold func(chunk.Root)) (*artifact.Volume, error) {
	code := worker.CodeRef(ref)
	v, err := askFrontends(ctx, f, methodOpenVolume, prepareFor, &code)
	if err != nil {
		return nil, err
	}
	found := &artifact.Volume{Encoded: v.Encoded, DataKey: v.DataKey, Extra: new(chunk.Extra), Image: v.Image, Profile: v.Profile}
	if len(v.Extra) != chunk.ExtraSize {
		return nil, fmt.Errorf("wire: volume of %s: %d bytes are no extra of keys", ref.Object, len(v.Extra))
	}
	copy(found.Extra[:], v.Extra)
	if found.Manifest, err = volume.Decode(v.Encoded); err != nil {
		return nil, fmt.Errorf("wire: volume of %s: %w", ref.Object, err)
	}
	if hold != nil {
		hold(found.Manifest.Root)
	}
	return found, nil
}

// Record implements volumefs.Finder.
func (f *Frontends) Record(ctx context.Context, ref artifact.Ref, touched []uint32) error {
	_, err := askFrontends(ctx, f, methodStarted, stopFor, &started{Ref: worker.CodeRef(ref), Touched: touched})
	return err
}

// Image implements worker.Images.
func (f *Frontends) Image(ctx context.Context, runtime string) (worker.Image, error) {
	image, err := askFrontends(ctx, f, methodImage, prepareFor, &runtimeRef{Runtime: runtime})
	if err != nil {
		return worker.Image{}, err
	}
	return *image, nil
}

// Append implements worker.Logs.
func (f *Frontends) Append(account, group, stream string, at time.Time, requestID string, line []byte) {
	l := logLine{Account: account, Group: group, Stream: stream, At: at, RequestID: requestID, Line: append([]byte(nil), line...)}
	select {
	case f.lines <- l:
	default:
		f.lost.Do(func() {
			f.log.Error("wire: lines of logs are dropped, for no frontend takes them", "pending", pendingLines)
		})
	}
}

const (
	// batchLines and batchBytes bound what is sent of logs at once.
	batchLines = 1000
	batchBytes = 1 << 20
)

// ship sends lines of logs in the order that they came in.
func (f *Frontends) ship() {
	for l := range f.lines {
		batch := &logLines{Lines: []logLine{l}}
		size := len(l.Line)
	more:
		for len(batch.Lines) < batchLines && size < batchBytes {
			select {
			case l, ok := <-f.lines:
				if !ok {
					break more
				}
				batch.Lines, size = append(batch.Lines, l), size+len(l.Line)
			default:
				break more
			}
		}
		for {
			_, err := askFrontends(f.ctx, f, methodLogs, stopFor, batch)
			if err == nil || f.ctx.Err() != nil {
				break
			}
			if wait(f.ctx, nil, redial) != nil {
				break
			}
		}
	}
}
