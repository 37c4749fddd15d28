package counting

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth/internal/awserr"
)

func reason(err error) string {
	if e, ok := awserr.As(err); ok {
		return e.Reason
	}
	return ""
}

func TestLimitAndRelease(t *testing.T) {
	s, err := New(Config{AccountConcurrency: 2})
	if err != nil {
		t.Fatal(err)
	}
	a, _ := s.Admit("1")
	if _, err := s.Admit("1"); err != nil {
		t.Fatalf("second unit: %v", err)
	}
	if _, err := s.Admit("1"); reason(err) != awserr.ReasonConcurrentInvocationLimit {
		t.Fatalf("third unit: got %v, want the concurrency reason", err)
	}
	if _, err := s.Admit("2"); err != nil {
		t.Fatalf("another account is not concerned: %v", err)
	}
	a.Release()
	if _, err := s.Admit("1"); err != nil {
		t.Fatalf("after a release: %v", err)
	}
	if got := s.InFlight("1"); got != 2 {
		t.Fatalf("in flight: got %d, want 2", got)
	}
}

func TestRate(t *testing.T) {
	now := time.Unix(0, 0)
	s, _ := New(Config{AccountConcurrency: 5, Now: func() time.Time { return now }})
	admit := func() error {
		u, err := s.Admit("1")
		if err == nil {
			u.Release()
		}
		return err
	}
	for i := range 5 * RequestsPerUnit {
		if err := admit(); err != nil {
			t.Fatalf("request %d of the first second: %v", i, err)
		}
	}
	if err := admit(); reason(err) != awserr.ReasonCallerRateLimit {
		t.Fatalf("beyond the burst: got %v, want the rate reason", err)
	}
	now = now.Add(time.Second / (5 * RequestsPerUnit))
	if err := admit(); err != nil {
		t.Fatalf("one interval later: %v", err)
	}
	if err := admit(); reason(err) != awserr.ReasonCallerRateLimit {
		t.Fatalf("only one was due: got %v", err)
	}
	if got := s.InFlight("1"); got != 0 {
		t.Fatalf("refused requests hold %d units, want 0", got)
	}
}

func TestNeverOverLimit(t *testing.T) {
	const limit = 7
	s, _ := New(Config{AccountConcurrency: limit})
	var held, worst atomic.Int64
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 200 {
				u, err := s.Admit("1")
				if err != nil {
					continue
				}
				n := held.Add(1)
				for w := worst.Load(); n > w && !worst.CompareAndSwap(w, n); w = worst.Load() {
				}
				held.Add(-1)
				u.Release()
			}
		})
	}
	wg.Wait()
	if worst.Load() > limit {
		t.Fatalf("held %d units at once, limit %d", worst.Load(), limit)
	}
}

func TestBadConfig(t *testing.T) {
	if _, err := New(Config{AccountConcurrency: -1}); err == nil {
		t.Fatal("a negative limit was accepted")
	}
}

func BenchmarkAdmit(b *testing.B) {
	s, _ := New(Config{AccountConcurrency: 1 << 20})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			u, _ := s.Admit("000000000000")
			u.Release()
		}
	})
}
