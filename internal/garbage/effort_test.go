package garbage_test

import (
	"fmt"
	"testing"
	"time"

	"hearth/internal/chunk"
	"hearth/internal/garbage"
)

// populated is a world with some volumes in its first root, where a collector
// lives.
func populated(t *testing.T, volumes int) *world {
	t.Helper()
	w := newWorld()
	if err := w.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.die)
	for i := range volumes {
		object := fmt.Sprint("object-", i)
		w.put(object, 1)
		w.manifests[object] = 1
	}
	return w
}

// tick has a cycle run that nobody asked for, a while after the last one.
func (w *world) tick(t *testing.T, after time.Duration) *garbage.Report {
	t.Helper()
	w.clock.forward(after)
	r, err := w.service.Tick(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, what := range w.wrong {
		t.Error(what)
	}
	return r
}

// TestNothingToRotateFor has all volumes live, then next to all, then fewer.
func TestNothingToRotateFor(t *testing.T) {
	t.Parallel()
	w := populated(t, 20)
	for range 5 {
		if r := w.tick(t, rotation); len(r.Roots) != 1 || r.Moved != 0 {
			t.Fatalf("nothing is garbage: %+v", r)
		}
	}
	delete(w.manifests, "object-0")
	if r := w.tick(t, rotation); len(r.Roots) != 1 {
		t.Fatalf("a twentieth is garbage: %+v", r)
	}
	delete(w.manifests, "object-1")
	if r := w.tick(t, time.Hour); len(r.Roots) != 1 {
		t.Fatalf("looked again after an hour: %+v", r)
	}
	if r := w.tick(t, 24*time.Hour); r.Moved != 18 || states(r)[1] != garbage.Expired {
		t.Fatalf("a tenth is garbage: %+v", r)
	}
	if r := w.tick(t, expiry); r.Deleted != 1 {
		t.Fatalf("the root's time is over: %+v", r)
	}
	// A young root is not looked at, whatever is in it.
	for object := range w.manifests {
		delete(w.manifests, object)
	}
	if r := w.tick(t, rotation/2); len(r.Roots) != 1 {
		t.Errorf("before its time: %+v", r)
	}
	if r := w.tick(t, rotation/2); len(r.Roots) != 2 {
		t.Errorf("all is garbage: %+v", r)
	}
}

// TestNothingAtAll has an empty root: there is nothing to rotate for, but for who
// asks.
func TestNothingAtAll(t *testing.T) {
	t.Parallel()
	w := populated(t, 0)
	if r := w.tick(t, 10*rotation); len(r.Roots) != 1 {
		t.Errorf("nothing is there: %+v", r)
	}
	for i, o := range []garbage.Options{{}, {Rotate: true}} { // it is due, and it is not
		r, err := w.service.Collect(t.Context(), o)
		if active := r.Roots[len(r.Roots)-1]; err != nil || active.ID != chunk.Root(i+2) {
			t.Errorf("asked for: %+v, %v", r, err)
		}
	}
}

// TestPatience has a volume that cannot be moved, for a week: it is tried
// less and less often, and counts as unmoved all the while.
func TestPatience(t *testing.T) {
	t.Parallel()
	w := populated(t, 2)
	w.broken["object-0"] = true
	if r, err := w.service.Collect(t.Context(), garbage.Options{Rotate: true}); err != nil || r.Unmoved != 1 || r.Moved != 1 {
		t.Fatalf("got %+v, %v", r, err)
	}
	const every = 10 * time.Minute
	tries := func(d time.Duration) int {
		before := w.tries
		for range int(d / every) {
			if r := w.tick(t, every); r.Unmoved != 1 || states(r)[1] != garbage.Retired {
				t.Fatalf("got %+v", r)
			}
		}
		return w.tries - before
	}
	day := 24 * time.Hour
	if first, later := tries(day), tries(5*day); first != 6 || later != 5 {
		t.Errorf("tried %d times on the first day and %d times on the others", first, later)
	}
	// Who asks for it has all of them tried.
	before := w.tries
	if r, err := w.service.Collect(t.Context(), garbage.Options{}); err != nil || r.Unmoved != 1 || w.tries != before+1 {
		t.Errorf("got %+v, %v after %d tries", r, err, w.tries-before)
	}
	// It moves at last without that, too, and then is nothing special.
	clear(w.broken)
	for range int(day / every) {
		w.tick(t, every)
	}
	if w.manifests["object-0"] != 2 {
		t.Error("it is not moved within a day")
	}
	w.broken["object-0"] = true
	if r, err := w.service.Collect(t.Context(), garbage.Options{Rotate: true}); err != nil || r.Unmoved != 1 {
		t.Fatalf("got %+v, %v", r, err)
	}
	before = w.tries
	if w.tick(t, 2*every); w.tries != before+1 {
		t.Errorf("%d tries soon after it has failed for the first time again, want 1", w.tries-before)
	}
}

// TestRot has readers notice what is rotten: it is made anew in the next cycle,
// though no root is due.
func TestRot(t *testing.T) {
	t.Parallel()
	w := populated(t, 3)
	w.open("object-0")
	w.rot("object-0")
	w.readers.fail("object-1") // but it is sound
	if r := w.tick(t, time.Minute); r.Mended != 1 || len(w.rotten) != 0 || w.manifests["object-0"] != 1 {
		t.Errorf("got %+v, rotten %v", r, w.rotten)
	}
	w.rot("object-2")
	w.broken["object-2"] = true // it has no archive
	delete(w.manifests, "object-1")
	w.readers.fail("object-1") // it is deleted
	if r := w.tick(t, rotation); r.Mended != 0 || r.Moved != 1 || r.Unmoved != 1 {
		t.Errorf("got %+v; want that the cycle goes on without what cannot be mended", r)
	}
	if got := w.service.Totals(); got.Mended != 1 {
		t.Errorf("totals %+v", got)
	}
}
