package placement

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hearth/internal/environment"
)

func TestPlace(t *testing.T) {
	now := time.Unix(1000, 0)
	s, err := New(Config{Lease: time.Hour, Now: func() time.Time { return now }, Random: func(n int64) int64 { return n - 1 }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Place(ask("e0", 128)); !errors.Is(err, environment.ErrNoCapacity) {
		t.Fatalf("without workers: got %v", err)
	}
	s.Heartbeat(Status{Worker: "big", CapacityMB: 1000})
	s.Heartbeat(Status{Worker: "small", CapacityMB: 300})

	steps := []struct {
		id   environment.ID
		mb   int
		want environment.WorkerID
	}{
		{"e1", 200, "small"}, // best fit
		{"e2", 200, "big"},   // small has 100 left
		{"e3", 100, "small"},
		{"e4", 800, "big"},
	}
	for _, st := range steps {
		g, err := s.Place(ask(st.id, st.mb))
		if err != nil || g.Worker != st.want {
			t.Fatalf("%s: got %v, %v; want %s", st.id, g.Worker, err, st.want)
		}
		if want := now.Add(54 * time.Minute); !g.LeaseEnd.Equal(want) {
			t.Fatalf("%s: lease ends %v, want %v (a tenth before an hour)", st.id, g.LeaseEnd, want)
		}
	}
	if _, err := s.Place(ask("e5", 1)); !errors.Is(err, environment.ErrNoCapacity) {
		t.Fatalf("when full: got %v", err)
	}
	s.Return("e4")
	s.Return("e4")
	if g, err := s.Place(ask("e6", 800)); err != nil || g.Worker != "big" {
		t.Fatalf("after a return: got %v, %v", g, err)
	}
}

// TestRelearns: what workers tell of counts, whoever granted it, and a grant that
// they do not tell of any more is over.
func TestRelearns(t *testing.T) {
	now := time.Unix(1000, 0)
	s, _ := New(Config{Silence: time.Hour, Now: func() time.Time { return now }})
	type promises = map[environment.ID]environment.Promise
	beat := func(envs promises) {
		s.Heartbeat(Status{Worker: "w", CapacityMB: 1000, Environments: envs})
	}
	room := func(what string, mb int) {
		t.Helper()
		if got := s.workers["w"].room(); got != mb {
			t.Errorf("%s: %d MB are free, want %d", what, got, mb)
		}
	}
	beat(promises{"another's": {MemoryMB: 300}})
	room("another's", 700)
	if _, err := s.Place(ask("mine", 200)); err != nil {
		t.Fatal(err)
	}
	beat(promises{"another's": {MemoryMB: 300}})
	room("on its way there", 500)
	beat(promises{"another's": {MemoryMB: 300}, "mine": {MemoryMB: 200}})
	beat(promises{"mine": {MemoryMB: 200}})
	room("another's has ended", 800)
	s.Return("mine")
	room("returned", 1000)
	beat(promises{"mine": {MemoryMB: 200}})
	room("a heartbeat that was on its way", 1000)
	beat(nil)
	if _, err := s.Place(ask("given up", 200)); err != nil {
		t.Fatal(err)
	}
	now = now.Add(unclaimed + time.Second)
	beat(nil)
	room("given up", 1000)
	if len(s.grants)+len(s.workers["w"].grants) > 0 {
		t.Errorf("left: %v", s.grants)
	}
}

// TestZones: each function has its share in each zone, as long as there is room.
func TestZones(t *testing.T) {
	s, _ := New(Config{})
	for _, w := range []environment.WorkerID{"a1", "a2", "b1", "c1"} {
		s.Heartbeat(Status{Worker: w, Zone: string(w[:1]), CapacityMB: 1000})
	}
	place := func(id environment.ID, function string, want environment.WorkerID) {
		t.Helper()
		got, err := s.Place(environment.PlaceRequest{ID: id, Promise: environment.Promise{Function: function, MemoryMB: 400}})
		if err != nil || got.Worker != want {
			t.Errorf("%s: got %s, %v, want %s", id, got.Worker, err, want)
		}
	}
	place("f1", "f", "a1")
	place("f2", "f", "b1")
	place("g1", "g", "c1") // where the least is used
	place("f3", "f", "c1")
	place("f4", "f", "a1") // best fit in the zone
	place("f5", "f", "b1")
	s.Heartbeat(Status{Worker: "c1", Zone: "c", CapacityMB: 1000, Draining: true})
	place("f6", "f", "a2") // no room anywhere else
}

func TestUnhealthyWorkersGetNothing(t *testing.T) {
	now := time.Unix(1000, 0)
	s, _ := New(Config{Silence: 10 * time.Second, Now: func() time.Time { return now }})
	s.Heartbeat(Status{Worker: "w", CapacityMB: 1000})
	now = now.Add(11 * time.Second)
	if _, err := s.Place(ask("e1", 1)); !errors.Is(err, environment.ErrNoCapacity) {
		t.Fatalf("silent worker: got %v", err)
	}
	s.Heartbeat(Status{Worker: "w", CapacityMB: 1000, Draining: true})
	if _, err := s.Place(ask("e1", 1)); !errors.Is(err, environment.ErrNoCapacity) {
		t.Fatalf("draining worker: got %v", err)
	}
}

// TestNeverOvercommitted drives random places and returns and checks that no
// worker's grants exceed its capacity.
func TestNeverOvercommitted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, _ := New(Config{})
		capacity := map[environment.WorkerID]int{"a": 500, "b": 900}
		for id, mb := range capacity {
			s.Heartbeat(Status{Worker: id, CapacityMB: mb})
		}
		held := map[environment.ID]struct {
			worker environment.WorkerID
			mb     int
		}{}
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			id := environment.ID(rune('A' + i))
			mb := rapid.IntRange(1, 400).Draw(t, "mb")
			if g, err := s.Place(ask(id, mb)); err == nil {
				held[id] = struct {
					worker environment.WorkerID
					mb     int
				}{g.Worker, mb}
			}
			if back := environment.ID(rune('A' + rapid.IntRange(0, i).Draw(t, "back"))); rapid.Bool().Draw(t, "return") {
				s.Return(back)
				delete(held, back)
			}
			used := map[environment.WorkerID]int{}
			for _, h := range held {
				used[h.worker] += h.mb
			}
			for id, mb := range used {
				if mb > capacity[id] {
					t.Fatalf("worker %s holds %d MB of %d", id, mb, capacity[id])
				}
			}
		}
	})
}

func ask(id environment.ID, mb int) environment.PlaceRequest {
	return environment.PlaceRequest{ID: id, Promise: environment.Promise{MemoryMB: mb}}
}
