package garbage_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"hearth/internal/chunk"
	"hearth/internal/chunkstore/origin"
	"hearth/internal/etcd"
	"hearth/internal/garbage"
)

// states tells the roots of a report in short.
func states(r *garbage.Report) map[chunk.Root]garbage.State {
	all := make(map[chunk.Root]garbage.State)
	for _, root := range r.Roots {
		all[root.ID] = root.State
	}
	return all
}

// TestAlarm reads from an expired root, in another process as it were: nothing
// is deleted until an operator goes on, and then not at once.
func TestAlarm(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	d := &deployed{object: "code/a.zip", content: []byte("content of a function")}
	if err := s.upload(d.object, d.content); err != nil {
		t.Fatal(err)
	}
	v, release, err := s.open(d.object)
	if err != nil {
		t.Fatal(err)
	}
	release() // and yet it is read later
	collect := func(o garbage.Options) *garbage.Report {
		s.clock.forward(time.Second)
		r, err := s.service.Collect(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	s.failing.Store(true)
	s.moves.Store(2) // the first move fails: the root is retired and no more
	if r := collect(garbage.Options{Rotate: true}); r.Unmoved != 1 || states(r)[1] != garbage.Retired {
		t.Fatalf("a volume that cannot be moved: %+v", r)
	}
	if err := s.chunks.Expire(t.Context(), 1); err != nil { // as a crash leaves it
		t.Fatal(err)
	}
	if err := s.whole(v, d.content); err != nil {
		t.Fatalf("read of an expired root: %v", err)
	}
	for range 3 {
		if r := collect(garbage.Options{}); !slices.Equal(r.Alarms, []chunk.Root{1}) || states(r)[1] != garbage.Expired || r.Deleted != 0 {
			t.Fatalf("with an alarm: %+v", r)
		}
	}
	if err := s.whole(v, d.content); err != nil {
		t.Errorf("read of a root with an alarm: %v", err)
	}
	r := collect(garbage.Options{GoOn: true})
	if len(r.Alarms) != 0 || states(r)[1] != garbage.Expired {
		t.Errorf("going on: %+v", r)
	}
	if r := collect(garbage.Options{}); r.Deleted == 0 || states(r)[1] != "" {
		t.Errorf("after its time: %+v", r)
	}
}

// TestStoreAway opens the service while the store of chunks does not answer, or
// is another's.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	away := errors.New("away")
	claims := 0
	cfg := garbage.Config{Store: &memStore{life: forever}, Chunks: s.chunks, Claim: func(context.Context) error {
		claims++
		return away
	}}
	service, err := garbage.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	service.Start(s, s.readers)
	defer service.Stop()
	if root, end, err := service.Begin(t.Context()); err != nil || root != 1 {
		t.Errorf("a build: root %s, %v", root, err)
	} else {
		end()
	}
	// Another root than the record has must not be overlooked once it answers.
	ref := chunk.Ref{Root: 9, Name: sha256.Sum256(make([]byte, chunk.Overhead))}
	if _, err := s.chunks.PutChunk(t.Context(), ref, make([]byte, chunk.Overhead)); err != nil {
		t.Fatal(err)
	}
	if _, err := service.Collect(t.Context(), garbage.Options{}); !errors.Is(err, away) {
		t.Errorf("a cycle: %v", err)
	}
	away = nil
	for range 2 {
		if r, err := service.Collect(t.Context(), garbage.Options{}); err != nil || states(r)[9] == "" {
			t.Errorf("a cycle: %+v, %v", r, err)
		}
	}
	if claims != 3 {
		t.Errorf("%d claims", claims)
	}
	away = origin.ErrOwned
	if _, err := garbage.Open(t.Context(), cfg); !errors.Is(err, origin.ErrOwned) {
		t.Errorf("another's store: %v", err)
	}
}

// TestEtcd keeps the record in etcd.
func TestEtcd(t *testing.T) {
	t.Parallel()
	server, err := etcd.Start(t.Context(), etcd.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	store := garbage.Etcd{Client: server.Client()}
	if value, revision, err := store.Load(t.Context()); value != nil || revision != 0 || err != nil {
		t.Errorf("nothing: %q, %d, %v", value, revision, err)
	}
	first, err := store.Swap(t.Context(), []byte("a"), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Swap(t.Context(), []byte("b"), 0); !errors.Is(err, garbage.ErrConflict) {
		t.Errorf("made twice: %v", err)
	}
	second, err := store.Swap(t.Context(), []byte("c"), first)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.Swap(t.Context(), []byte("d"), first); !errors.Is(err, garbage.ErrConflict) {
		t.Errorf("changed an old one: %v", err)
	}
	if value, revision, err := store.Load(t.Context()); string(value) != "c" || revision != second || err != nil {
		t.Errorf("loaded %q, %d, %v", value, revision, err)
	}
}

// TestRecord holds the record to its bytes, and has others refused.
func TestRecord(t *testing.T) {
	t.Parallel()
	golden, err := os.ReadFile("testdata/roots-v1.json")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld()
	if err := w.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.manifests["a"] = 1
	w.put("a", 1)
	w.readers.add(1, 1)
	w.clock.forward(time.Hour)
	if _, err := w.service.Collect(t.Context(), garbage.Options{Rotate: true}); err != nil {
		t.Fatal(err)
	}
	w.service.Stop()
	if got := string(w.store.value) + "\n"; got != string(golden) {
		t.Errorf("got  %swant %s", got, golden)
	}
	for _, bad := range []string{
		``, `{}`, `{"version":2,"record":{"next":2,"roots":[{"id":1,"state":"active"}]}}`,
		`{"version":1,"record":{"next":2,"roots":[]}}`,
		`{"version":1,"record":{"next":1,"roots":[{"id":1,"state":"active"}]}}`,
		`{"version":1,"record":{"next":2,"roots":[{"id":0,"state":"active"}]}}`,
		`{"version":1,"record":{"next":3,"roots":[{"id":1,"state":"active"},{"id":2,"state":"active"}]}}`,
		`{"version":1,"record":{"next":3,"roots":[{"id":1,"state":"active"},{"id":1,"state":"retired"}]}}`,
		`{"version":1,"record":{"next":3,"roots":[{"id":1,"state":"active"},{"id":2,"state":"other"}]}}`,
	} {
		w.store.value = []byte(bad)
		if err := w.start(t.Context()); err == nil {
			w.service.Stop()
			t.Errorf("accepted %s", bad)
		}
	}
}

// TestAdopt starts over a store of chunks that knows more than the record.
func TestAdopt(t *testing.T) {
	t.Parallel()
	w := newWorld()
	w.put("a", 4)
	w.put("b", 9)
	w.places[9] = expired
	if err := w.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer w.die()
	r, err := w.service.Collect(t.Context(), garbage.Options{Rotate: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := states(r); got[1] == garbage.Active || got[4] != garbage.Expired || got[9] != garbage.Expired || got[10] != garbage.Active {
		t.Errorf("roots: %v", got)
	}
}

// TestStopped collects nothing before Start and after Stop.
func TestStopped(t *testing.T) {
	t.Parallel()
	w := newWorld()
	s, err := garbage.Open(t.Context(), garbage.Config{Store: w.store, Chunks: w})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Collect(t.Context(), garbage.Options{}); err == nil {
		t.Error("collected before the start")
	}
	s.Start(w, newReaders())
	s.Stop()
	if _, err := s.Collect(t.Context(), garbage.Options{}); err == nil {
		t.Error("collected after the stop")
	}
}
