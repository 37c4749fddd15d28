package assignment

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/environment"
	"hearth/internal/function"
	"hearth/internal/placement"
)

// vault gives every function the same secrets, or none.
type vault struct {
	err   error
	until time.Time
}

func (v *vault) Open(_ context.Context, _ *function.Record, until time.Time) (environment.Secrets, error) {
	v.until = until
	return environment.Secrets{Variables: map[string]string{"A": "b"}}, v.err
}

func TestSecretsGoToTheWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorker(time.Second)
		places, err := placement.New(placement.Config{Random: func(int64) int64 { return 0 }})
		if err != nil {
			t.Fatal(err)
		}
		places.Heartbeat(placement.Status{Worker: "w", CapacityMB: 1024})
		cfg := alone(w, places)
		v := &vault{}
		cfg.Secrets = v
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		defer s.Stop()
		rec := record("f", 1)
		began := time.Now()
		l, err := s.Acquire(t.Context(), rec)
		if err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		got := w.running[l.ID].Secrets.Variables["A"]
		w.mu.Unlock()
		if got != "b" {
			t.Errorf("the worker got the variable %q, want b", got)
		}
		if life := v.until.Sub(began); life < 2*time.Hour+environment.Outlive || life > 2*time.Hour+environment.Outlive+time.Second {
			t.Errorf("keys live %v, want the lease and %v", life, environment.Outlive)
		}

		// Nothing starts without them, and the caller hears why.
		v.err = awserr.New("AccessDeniedException", "no role")
		before := w.starts
		_, err = s.Acquire(t.Context(), rec) // the first environment is leased
		if e, ok := awserr.As(err); !ok || e.Code != "AccessDeniedException" || w.starts != before {
			t.Errorf("got %v after %d starts, want the role's error and none", err, w.starts-before)
		}
	})
}
