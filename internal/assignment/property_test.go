package assignment

import (
	"context"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hearth/internal/environment"
	"hearth/internal/placement"
)

// instantWorker starts environments at once and remembers what runs.
type instantWorker struct{ *fakeWorker }

func newInstantWorker() instantWorker { return instantWorker{newWorker(0)} }

// TestInvariants drives a service with random invokes, ends and updates and
// checks after every step that no environment serves two invokes, none of an
// older generation than asked for is given out, and capacity holds.
func TestInvariants(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newInstantWorker()
		p, _ := placement.New(placement.Config{})
		p.Heartbeat(placement.Status{Worker: "w", CapacityMB: 5 * 128})
		cfg := alone(w, p)
		cfg.Partitions = 2
		s, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		defer s.Stop()
		generation := map[string]uint64{"a": 1, "b": 1, "c": 1}
		busy := map[environment.ID]environment.Lease{}
		var order []environment.ID
		t.Repeat(map[string]func(*rapid.T){
			"invoke": func(t *rapid.T) {
				uid := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "uid")
				l, err := s.Acquire(context.Background(), record(uid, generation[uid]))
				if err != nil {
					if len(busy) < 5 {
						t.Fatalf("refused with %d of 5 busy: %v", len(busy), err)
					}
					return
				}
				if _, twice := busy[l.ID]; twice {
					t.Fatalf("environment %s was given out twice", l.ID)
				}
				if l.Key.UID != uid || l.Key.Generation != generation[uid] {
					t.Fatalf("asked for %s generation %d, got %v", uid, generation[uid], l.Key)
				}
				busy[l.ID] = l
				order = append(order, l.ID)
			},
			"done": func(t *rapid.T) {
				if len(order) == 0 {
					t.Skip("nothing is busy")
				}
				i := rapid.IntRange(0, len(order)-1).Draw(t, "which")
				o := rapid.SampledFrom([]environment.Outcome{environment.OutcomeOK, environment.OutcomeOK, environment.OutcomeCrash}).Draw(t, "outcome")
				s.InvokeDone(busy[order[i]], o, nil)
				delete(busy, order[i])
				order = append(order[:i], order[i+1:]...)
			},
			"update": func(t *rapid.T) {
				uid := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "uid")
				old := record(uid, generation[uid])
				generation[uid]++
				if rapid.Bool().Draw(t, "announced") {
					s.Changed(old, record(uid, generation[uid]))
				}
			},
			"": func(t *rapid.T) {
				for id := range busy {
					found := false
					for _, e := range s.Environments() {
						found = found || (e.ID == id && !e.Idle)
					}
					if !found {
						t.Fatalf("busy environment %s is not the service's any more", id)
					}
				}
			},
		})
	})
}

func BenchmarkWarmPick(b *testing.B) {
	w := newInstantWorker()
	p, _ := placement.New(placement.Config{})
	p.Heartbeat(placement.Status{Worker: "w", CapacityMB: 1 << 20})
	s, err := New(alone(w, p))
	if err != nil {
		b.Fatal(err)
	}
	s.Start()
	defer s.Stop()
	rec := record("f", 1)
	var picks [1 << 16]time.Duration // of the last ones
	n := 0
	b.ReportAllocs()
	for b.Loop() {
		begun := time.Now()
		l, err := s.Acquire(b.Context(), rec)
		if err != nil {
			b.Fatal(err)
		}
		picks[n%len(picks)] = time.Since(begun)
		n++
		s.InvokeDone(l, environment.OutcomeOK, nil)
	}
	last := picks[:min(n, len(picks))]
	slices.Sort(last)
	b.ReportMetric(float64(last[len(last)*99/100]), "p99-ns")
	b.ReportMetric(float64(last[len(last)*999/1000]), "p99.9-ns")
}
