package gvisor

import (
	"testing"
	"time"

	"hearth/internal/cgroup"
)

func TestThrash(t *testing.T) {
	type sample struct {
		after  time.Duration // the one before
		faults int64         // since the one before
		within bool          // the function's limit
	}
	// repeat is n samples at a distance, with so many faults each.
	repeat := func(n int, after time.Duration, faults int64) []sample {
		var all []sample
		for range n {
			all = append(all, sample{after: after, faults: faults})
		}
		return all
	}
	within := repeat(30, 100*time.Millisecond, 5)
	for i := range within {
		within[i].within = true
	}
	for _, test := range []struct {
		name    string
		samples []sample
		want    bool
	}{
		{"thrashes", repeat(22, 100*time.Millisecond, 1), true},
		{"not for long enough", repeat(20, 100*time.Millisecond, 5), false},
		{"too few faults", repeat(7, 400*time.Millisecond, 1), false},
		{"with pauses", repeat(30, 1100*time.Millisecond, 50), false},
		{"grows without a fault", append(repeat(1, 0, 100), repeat(50, 100*time.Millisecond, 0)...), false},
		{"within its limit", within, false},
		{"within its limit between", append(append(repeat(15, 100*time.Millisecond, 5), within[0]), repeat(15, 100*time.Millisecond, 5)...), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			var th thrash
			got := false
			now := time.Unix(1, 0)
			var u cgroup.Usage
			for _, s := range test.samples {
				now = now.Add(s.after)
				u.MajorFaults += s.faults
				got = got || th.observe(now, u, !s.within)
			}
			if got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}

func TestMemoryExceeded(t *testing.T) {
	var m memory
	m.setLimit(128)
	m.setBaseline(cgroup.Usage{Memory: 20 * mega})
	for mb, want := range map[int64]bool{10: false, 148: false, 149: true, 190: true} {
		if got := m.exceeded(cgroup.Usage{Memory: mb * mega, Charged: 192 * mega}); got != want {
			t.Errorf("%d MB: got %t, want %t", mb, got, want)
		}
	}
}
