package counting

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/function"
)

// of is a function of an account.
func of(account string) *function.Record {
	return &function.Record{Account: account, UID: "f" + account, Latest: &function.Config{}}
}

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
	a, _ := s.Admit(t.Context(), of("1"), of("1"))
	if _, err := s.Admit(t.Context(), of("1"), of("1")); err != nil {
		t.Fatalf("second unit: %v", err)
	}
	if _, err := s.Admit(t.Context(), of("1"), of("1")); reason(err) != awserr.ReasonConcurrentInvocationLimit {
		t.Fatalf("third unit: got %v, want the concurrency reason", err)
	}
	if _, err := s.Admit(t.Context(), of("2"), of("2")); err != nil {
		t.Fatalf("another account is not concerned: %v", err)
	}
	a.Release()
	if _, err := s.Admit(t.Context(), of("1"), of("1")); err != nil {
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
		u, err := s.Admit(t.Context(), of("1"), of("1"))
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
				u, err := s.Admit(t.Context(), of("1"), of("1"))
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
	f := of("000000000000")
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			u, _ := s.Admit(b.Context(), f, f)
			u.Release()
		}
	})
}

func TestReserved(t *testing.T) {
	s, err := New(Config{AccountConcurrency: 3})
	if err != nil {
		t.Fatal(err)
	}
	plain, mine := of("1"), of("1")
	reserved := 2
	mine.UID, mine.Reserved = "mine", &reserved
	s.Changed(nil, plain)
	s.Changed(nil, mine)

	u, err := s.Admit(t.Context(), plain, plain)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Admit(t.Context(), plain, plain); reason(err) != awserr.ReasonConcurrentInvocationLimit {
		t.Errorf("what is reserved was given to another: %v", err)
	}
	for range reserved {
		if _, err := s.Admit(t.Context(), mine, mine); err != nil {
			t.Errorf("within what is reserved: %v", err)
		}
	}
	if _, err := s.Admit(t.Context(), mine, mine); reason(err) != awserr.ReasonReservedConcurrentInvocationLimit {
		t.Errorf("beyond what is reserved: %v", err)
	}
	none := 0
	closed := mine.Clone()
	closed.Reserved = &none
	s.Changed(mine, closed)
	if _, err := s.Admit(t.Context(), closed, closed); reason(err) != awserr.ReasonReservedConcurrentInvocationLimit {
		t.Errorf("with nothing reserved: %v", err)
	}
	if _, err := s.Admit(t.Context(), plain, plain); err != nil {
		t.Errorf("what is not reserved any more: %v", err)
	}
	u.Release()
	s.Changed(closed, nil)
	if got := s.InFlight("1"); got != 1 {
		t.Errorf("in flight: got %d, want 1", got)
	}
}

func TestProvisioned(t *testing.T) {
	s, err := New(Config{AccountConcurrency: 3})
	if err != nil {
		t.Fatal(err)
	}
	fn, version := of("1"), of("1")
	version.Version, version.UID = "7", "f7"
	fn.Aliases = map[string]*function.Alias{"live": {Name: "live", Version: "7"}}
	fn.Provisioned = map[string]*function.Provisioned{"live": {Requested: 2}}
	s.Changed(nil, fn)

	if _, err := s.Admit(t.Context(), fn, fn); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Admit(t.Context(), fn, fn); err == nil {
		t.Error("what is provisioned for a version was given to another")
	}
	for range 2 {
		if _, err := s.Admit(t.Context(), fn, version); err != nil {
			t.Errorf("within what is provisioned: %v", err)
		}
	}
	if _, err := s.Admit(t.Context(), fn, version); reason(err) != awserr.ReasonConcurrentInvocationLimit {
		t.Errorf("beyond what is provisioned, and nothing is left: %v", err)
	}
}
