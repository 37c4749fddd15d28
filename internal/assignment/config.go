package assignment

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"hearth/internal/environment"
	"hearth/internal/function"
)

// Placer grants places on workers.
type Placer interface {
	Place(environment.PlaceRequest) (environment.Place, error)
	Return(environment.ID)
}

// Worker starts and stops environments.
type Worker interface {
	// Start returns when the environment can take its first invoke. On error
	// nothing of it is left.
	Start(context.Context, *environment.Start) (*environment.Started, error)
	// Stop ends an environment that is idle or unusable. It returns when
	// nothing of it is left, and is harmless for one that is gone.
	Stop(context.Context, environment.ID) error
}

// Functions finds functions and versions in memory.
type Functions interface {
	Lookup(account, name string) (*function.Record, bool)
	Version(account, name, version string) (*function.Record, bool)
}

// Config is what a Service needs; zero fields take their defaults.
type Config struct {
	Placer    Placer
	Functions Functions
	// Worker finds a worker by its id.
	Worker func(environment.WorkerID) Worker
	Log    *slog.Logger

	// Epoch is this leader's epoch; workers refuse a lower one than they know.
	Epoch uint64
	// Partitions spreads functions over locks; default 16.
	Partitions int
	// IdleTimeout ends environments that no invoke has used; default 10 min.
	IdleTimeout time.Duration
	// LeaseMargin is how long before its lease's end an environment is no
	// longer given out; default 1 min.
	LeaseMargin time.Duration
	// StartsPerFunction and Starts bound environments being started at once,
	// for one function and in all; defaults 64 and 64.
	StartsPerFunction int
	Starts            int
	// ScalingRate is how many environments of one function may be started in
	// ten seconds; default 1,000, as AWS.
	ScalingRate int
	// Backoff is the pause after a second failed init in a row; it doubles
	// with each further one up to MaxBackoff. Defaults 250 ms and 10 s.
	Backoff    time.Duration
	MaxBackoff time.Duration
	// Patience is how long an invoke waits for an environment before it is
	// throttled; default 1 min.
	Patience time.Duration
	// Janitor is how often idle environments are looked through; default 1 s.
	Janitor time.Duration

	// NewID makes environment ids; default random.
	NewID func() environment.ID
}

func (c *Config) fill() error {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	defDuration := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.Partitions, 16)
	def(&c.StartsPerFunction, 64)
	def(&c.Starts, 64)
	def(&c.ScalingRate, 1000)
	defDuration(&c.IdleTimeout, 10*time.Minute)
	defDuration(&c.LeaseMargin, time.Minute)
	defDuration(&c.Backoff, 250*time.Millisecond)
	defDuration(&c.MaxBackoff, 10*time.Second)
	defDuration(&c.Patience, time.Minute)
	defDuration(&c.Janitor, time.Second)
	if c.NewID == nil {
		c.NewID = environment.NewID
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Placer == nil || c.Worker == nil || c.Functions == nil {
		return errors.New("assignment: a placer, workers and functions are needed")
	}
	if c.Partitions < 1 || c.StartsPerFunction < 1 || c.Starts < 1 || c.ScalingRate < 1 {
		return fmt.Errorf("assignment: partitions (%d), starts per function (%d), starts (%d) and scaling rate (%d) must be at least 1",
			c.Partitions, c.StartsPerFunction, c.Starts, c.ScalingRate)
	}
	return nil
}
