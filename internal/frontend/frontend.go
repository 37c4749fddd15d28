package frontend

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/singleflight"

	"hearth/internal/awserr"
	"hearth/internal/environment"
	"hearth/internal/function"
	"hearth/internal/invocation"
)

// attempts bounds how many environments are tried for one invoke, and aways how
// many of workers that turn out not to be there: after each, assignment knows.
const (
	attempts = 4
	aways    = 64
)

// Catalog resolves functions and their versions from memory.
type Catalog interface {
	Lookup(account, name string) (*function.Record, bool)
	Version(account, name, version string) (*function.Record, bool)
}

// Counter admits invokes.
type Counter interface {
	// Admit takes a unit of concurrency of the function for what runs: the
	// function itself or a version of it.
	Admit(ctx context.Context, fn, run *function.Record) (invocation.Unit, error)
}

// Assigner leases environments.
type Assigner interface {
	Acquire(context.Context, *function.Record) (environment.Lease, error)
	// Refused says that the worker did not accept the lease's invoke, and why.
	Refused(l environment.Lease, why error)
}

// Worker runs an invoke in an environment. It releases the unit exactly
// once, when the invoke is over, which may be after it has returned the
// answer; an invoke that it has not accepted keeps its unit.
type Worker interface {
	Invoke(ctx context.Context, l environment.Lease, req *invocation.Request, unit invocation.Unit) (*invocation.Response, error)
	// InvokeStream gives the answer to the sink as it comes and returns when
	// that has taken all of it.
	InvokeStream(ctx context.Context, l environment.Lease, req *invocation.Request, unit invocation.Unit, to invocation.Sink) (*invocation.Response, error)
}

// Config is what a Service needs.
type Config struct {
	Catalog  Catalog
	Counter  Counter
	Assigner Assigner
	Worker   func(environment.WorkerID) Worker
	// CatchUp brings the catalog up to date, if another process may have changed
	// what it holds; it may be nil.
	CatchUp func(context.Context) error
	Region  string
	Log     *slog.Logger
}

// Service answers invokes.
type Service struct {
	cfg      Config
	catching singleflight.Group
}

// New makes a Service.
func New(cfg Config) (*Service, error) {
	if cfg.Catalog == nil || cfg.Counter == nil || cfg.Assigner == nil || cfg.Worker == nil {
		return nil, errors.New("frontend: a catalog, a counter, an assigner and workers are needed")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Service{cfg: cfg}, nil
}

// Check says whether the function could be invoked now; it is what a DryRun
// asks.
func (s *Service) Check(ctx context.Context, account, name, qualifier string) error {
	_, err := s.find(ctx, account, name, qualifier)
	return err
}

// catchUpFor bounds how long an invoke waits for the catalog.
const catchUpFor = 2 * time.Second

// find is resolve, by a catalog that is up to date if it has no answer: the caller
// may have just heard from another frontend that the function is there.
func (s *Service) find(ctx context.Context, account, name, qualifier string) (target, error) {
	to, err := s.resolve(account, name, qualifier)
	if err == nil || s.cfg.CatchUp == nil {
		return to, err
	}
	// Many who ask for what is not there make one read.
	_, failure, _ := s.catching.Do("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), catchUpFor)
		defer cancel()
		return nil, s.cfg.CatchUp(ctx)
	})
	if failure != nil {
		return to, err // by what is known
	}
	return s.resolve(account, name, qualifier)
}

// target is what an invoke is for.
type target struct {
	// fn is the function, whose concurrency counts.
	fn *function.Record
	// run is what runs: the function itself or a version.
	run *function.Record
}

// resolve finds what a qualifier names and whether it can run.
func (s *Service) resolve(account, name, qualifier string) (target, error) {
	fn, ok := s.cfg.Catalog.Lookup(account, name)
	if !ok {
		return target{}, s.notFound(account, name, qualifier)
	}
	version := qualifier
	if a := fn.Aliases[qualifier]; a != nil {
		version = route(a)
	}
	run := fn
	if version != "" && version != function.LatestVersion {
		if run, ok = s.cfg.Catalog.Version(account, name, version); !ok {
			return target{}, s.notFound(account, name, qualifier)
		}
	}
	if run.State != function.Active || run.Serving == nil {
		return target{}, awserr.New("ResourceConflictException",
			"The operation cannot be performed at this time. The function is currently in the following state: %s", run.State)
	}
	return target{fn, run}, nil
}

// route picks a version of an alias by its weights.
func route(a *function.Alias) string {
	if len(a.Weights) > 0 {
		dice := rand.Float64() //nolint:gosec // it spreads load and keeps no secret
		for version, weight := range a.Weights {
			if dice < weight {
				return version
			}
			dice -= weight
		}
	}
	return a.Version
}

func (s *Service) notFound(account, name, qualifier string) error {
	if qualifier == "" {
		qualifier = function.LatestVersion
	}
	return awserr.New("ResourceNotFoundException", "Function not found: arn:aws:lambda:%s:%s:function:%s:%s", s.cfg.Region, account, name, qualifier)
}

// Invoke runs the function and returns its answer and where the time went.
func (s *Service) Invoke(ctx context.Context, account, name, qualifier string, req *invocation.Request) (*invocation.Response, *invocation.Timeline, error) {
	return s.invoke(ctx, account, name, qualifier, req, nil)
}

// InvokeStream runs the function and gives its answer to the sink as it comes;
// an answer that the function did not stream is given in one piece. The
// Response says how it ended: its Payload is that of the failure, if there was
// one. A failure before the first byte leaves the sink untouched.
func (s *Service) InvokeStream(ctx context.Context, account, name, qualifier string, req *invocation.Request, sink invocation.Sink) (
	*invocation.Response, *invocation.Timeline, error,
) {
	return s.invoke(ctx, account, name, qualifier, req, sink)
}

// invoke gives the answer to the sink unless that is nil.
func (s *Service) invoke(ctx context.Context, account, name, qualifier string, req *invocation.Request, sink invocation.Sink) (
	*invocation.Response, *invocation.Timeline, error,
) {
	var t invocation.Timeline
	to, err := s.find(ctx, account, name, qualifier)
	if err != nil {
		return nil, &t, err
	}
	rec := to.run
	clock := time.Now()
	unit, err := s.admit(ctx, to.fn, rec)
	if err != nil {
		return nil, &t, err
	}
	t.Count = time.Since(clock)

	for try, away := 1, 0; ; try++ {
		clock = time.Now()
		lease, err := s.cfg.Assigner.Acquire(ctx, rec)
		t.Assign += time.Since(clock)
		if err != nil {
			unit.Release()
			res, err := s.refused(rec, req, err)
			return res, &t, err
		}
		t.Cold = lease.Cold

		clock = time.Now()
		res, err := run(ctx, s.cfg.Worker(lease.Worker), lease, req, unit, sink)
		t.Run = time.Since(clock)
		if err == nil {
			return res, &t, nil
		}
		if !errors.Is(err, environment.ErrNotAccepted) {
			s.cfg.Log.Error("invoke failed", "request", req.ID, "function", rec.ARN(), "error", err)
			return nil, &t, awserr.Internal()
		}
		s.cfg.Assigner.Refused(lease, err)
		if errors.Is(err, environment.ErrUnit) {
			unit.Release()
			if unit, err = s.admit(ctx, to.fn, rec); err != nil {
				return nil, &t, err
			}
		}
		if errors.Is(err, environment.ErrAway) && away < aways {
			away++
			try--
		}
		if try == attempts {
			unit.Release()
			s.cfg.Log.Error("no worker accepted the invoke", "request", req.ID, "function", rec.ARN(), "attempts", try)
			return nil, &t, awserr.Internal()
		}
		// The function may have changed while the invoke waited.
		if now, ok := s.cfg.Catalog.Version(account, name, rec.Version); ok && now.UID == rec.UID && now.Serving != nil {
			rec = now
		}
	}
}

// admit takes a unit. A failure that is not the caller's is not told.
func (s *Service) admit(ctx context.Context, fn, run *function.Record) (invocation.Unit, error) {
	unit, err := s.cfg.Counter.Admit(ctx, fn, run)
	if _, told := awserr.As(err); err != nil && !told {
		s.cfg.Log.Error("invokes cannot be counted", "function", run.ARN(), "error", err)
		return nil, awserr.Internal()
	}
	return unit, err
}

func run(ctx context.Context, w Worker, l environment.Lease, req *invocation.Request, unit invocation.Unit, sink invocation.Sink) (
	*invocation.Response, error,
) {
	if sink == nil {
		return w.Invoke(ctx, l, req, unit)
	}
	return w.InvokeStream(ctx, l, req, unit, sink)
}

// refused turns a failure to get an environment into what the caller sees.
func (s *Service) refused(rec *function.Record, req *invocation.Request, err error) (*invocation.Response, error) {
	if back, ok := errors.AsType[*environment.BackoffError](err); ok {
		return &invocation.Response{
			Payload: back.Payload, FunctionError: "Unhandled", Version: rec.VersionName(),
			Outcome: environment.OutcomeInitError,
		}, nil
	}
	if e, ok := awserr.As(err); ok {
		return nil, e
	}
	s.cfg.Log.Error("no environment", "request", req.ID, "function", rec.ARN(), "error", err)
	return nil, awserr.Internal()
}
