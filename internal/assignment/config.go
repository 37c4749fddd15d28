package assignment

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"hearth/internal/environment"
	"hearth/internal/function"
	"hearth/internal/journal"
)

// Placer grants places on workers.
type Placer interface {
	Place(environment.PlaceRequest) (environment.Place, error)
	Return(environment.ID)
	// Down says that a worker could not be reached; it may be heard of again.
	Down(environment.WorkerID)
}

// Worker starts and stops environments. It refuses whoever comes with an older
// epoch of a partition than it has seen, with environment.ErrStale.
type Worker interface {
	// Start returns when the environment can take its first invoke. On error
	// nothing of it is left.
	Start(context.Context, *environment.Start) (*environment.Started, error)
	// Stop ends an environment that is idle or unusable. It returns when
	// nothing of it is left, and is harmless for one that is gone.
	Stop(context.Context, environment.ID) error
	// List tells of a partition's environments. From then on no older epoch is
	// obeyed.
	List(ctx context.Context, partition int, epoch uint64) ([]environment.Report, error)
}

// Secrets opens what the functions that are started get to know in confidence. An
// error that an invoke's caller is to see is an *awserr.Error: that the
// function's role is gone is one.
type Secrets interface {
	// Open says it for a record that keys are to stand for until a time.
	Open(ctx context.Context, rec *function.Record, until time.Time) (environment.Secrets, error)
}

// Functions finds functions and versions in memory.
type Functions interface {
	Lookup(account, name string) (*function.Record, bool)
	Version(account, name, version string) (*function.Record, bool)
}

// Tuning is what a Partition goes by; zero fields take their defaults.
type Tuning struct {
	// IdleTimeout ends environments that no invoke has used; default 10 min.
	IdleTimeout time.Duration
	// LeaseMargin is how long before its lease's end an environment is no
	// longer given out; default 1 min.
	LeaseMargin time.Duration
	// StartsPerFunction bounds environments of one function being started at
	// once; default 64.
	StartsPerFunction int
	// ScalingRate is how many environments of one function may be started in
	// ten seconds; default 1,000, as AWS.
	ScalingRate int
	// Backoff is the pause after a second failed init in a row; it doubles
	// with each further one up to MaxBackoff. Defaults 250 ms and 10 s.
	Backoff    time.Duration
	MaxBackoff time.Duration
	// ZoneOf is a worker's availability zone; nil if there are none.
	ZoneOf func(environment.WorkerID) string
	// NewID makes environment ids; default random.
	NewID func() environment.ID
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Config is what a Service needs; zero fields take their defaults.
type Config struct {
	Tuning

	Placer    Placer
	Functions Functions
	// Secrets may be nil: functions have none then.
	Secrets Secrets
	// Worker finds a worker by its id, Workers lists all.
	Worker  func(environment.WorkerID) Worker
	Workers func() []environment.WorkerID
	// Journal is a partition's.
	Journal func(partition int) journal.Log
	// Prefer says whether this process, of those that live, should lead a
	// partition; nil if there is no other. Who should not hands over to who
	// should.
	Prefer func(partition int) bool
	// Name is this process's in the journals: only one at a time has it.
	Name string
	Log  *slog.Logger

	// Partitions spreads functions over leaders; DefaultPartitions if zero. The journals are
	// made for a number, which cannot change.
	Partitions int
	// Starts bounds environments being started at once; default 64.
	Starts int
	// Patience is how long an invoke waits for an environment before it is
	// throttled; default 1 min.
	Patience time.Duration
	// StartGrace is how long an invoke waits for an environment that is busy before
	// one is started for it. In a cluster the caller of an invoke may hear its
	// answer before assignment hears of its end.
	StartGrace time.Duration
	// Janitor is how often idle environments are looked through; default 1 s.
	Janitor time.Duration
	// Check is how often workers are asked how their environments are; default
	// 15 s.
	Check time.Duration
	// Term is how long a leader that is not heard of leads; default 5 s.
	Term time.Duration
	// CheckpointEvery is how many entries of a journal come between two
	// checkpoints; default 256.
	CheckpointEvery int
}

// DefaultPartitions is how many partitions there are.
const DefaultPartitions = 16

func setDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Fill gives what is zero its default.
func (t *Tuning) Fill() error {
	setDefault(&t.StartsPerFunction, 64)
	setDefault(&t.ScalingRate, 1000)
	setDefault(&t.IdleTimeout, 10*time.Minute)
	setDefault(&t.LeaseMargin, time.Minute)
	setDefault(&t.Backoff, 250*time.Millisecond)
	setDefault(&t.MaxBackoff, 10*time.Second)
	if t.NewID == nil {
		t.NewID = environment.NewID
	}
	if t.Now == nil {
		t.Now = time.Now
	}
	if t.StartsPerFunction < 1 || t.ScalingRate < 1 {
		return fmt.Errorf("assignment: starts per function (%d) and scaling rate (%d) must be at least 1", t.StartsPerFunction, t.ScalingRate)
	}
	return nil
}

func (c *Config) fill() error {
	setDefault(&c.Partitions, DefaultPartitions)
	setDefault(&c.Starts, 64)
	setDefault(&c.CheckpointEvery, 256)
	setDefault(&c.Patience, time.Minute)
	setDefault(&c.Janitor, time.Second)
	setDefault(&c.Check, 15*time.Second)
	setDefault(&c.Term, 5*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Placer == nil || c.Worker == nil || c.Workers == nil || c.Functions == nil || c.Journal == nil || c.Name == "" {
		return errors.New("assignment: a placer, workers, functions, journals and a name are needed")
	}
	if c.Partitions < 1 || c.Starts < 1 || c.CheckpointEvery < 1 {
		return fmt.Errorf("assignment: partitions (%d), starts (%d) and entries between checkpoints (%d) must be at least 1",
			c.Partitions, c.Starts, c.CheckpointEvery)
	}
	return c.Tuning.Fill()
}
