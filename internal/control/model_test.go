package control

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"hearth/internal/awserr"
	"hearth/internal/function"
)

// step is one version of a record in the order in which etcd has them.
type step struct{ before, after *function.Record }

// acked is what callers were told.
type acked struct {
	mu      sync.Mutex
	edits   map[string]func(*function.Config) // by the revision id they got
	creates map[string]bool                   // revision ids
	deletes int
	tags    int
}

// stamp marks a configuration in three places, so that a mixture shows.
func stamp(n int) func(*function.Config) {
	return func(c *function.Config) {
		c.Description = strconv.Itoa(n)
		c.Timeout = n
		c.Environment = map[string]string{"STAMP": strconv.Itoa(n)}
	}
}

var errUnlucky = errors.New("unlucky")

// unlucky fails the preparation of every seventh configuration.
func unlucky(_ context.Context, _ *function.Record, c *function.Config) error {
	if c.Timeout%7 == 6 {
		return errUnlucky
	}
	return nil
}

// TestConcurrentChangesAreSerial lets several callers change the same few
// functions at once and checks the history of each record: every version
// follows from the one before by exactly one acknowledged change or by the end
// of a preparation, and every acknowledged change is in it once.
func TestConcurrentChangesAreSerial(t *testing.T) {
	st := start(t, Config{Preparer: preparer(unlucky), Preparers: 3})
	run := 0
	rapid.Check(t, func(rt *rapid.T) {
		run++
		names := []string{fmt.Sprintf("a%d", run), fmt.Sprintf("b%d", run)}
		plan := rapid.SliceOfN(rapid.SliceOfN(rapid.IntRange(0, 11), 1, 12), 2, 5).Draw(rt, "plan")
		histories := make(map[string][]step)
		cancel := st.catalog.Subscribe(func(before, after *function.Record) {
			r := after
			if r == nil {
				r = before
			}
			histories[r.Name] = append(histories[r.Name], step{before, after})
		})
		a := &acked{edits: make(map[string]func(*function.Config)), creates: make(map[string]bool)}
		var wg sync.WaitGroup
		for w, ops := range plan {
			wg.Go(func() {
				for i, op := range ops {
					st.act(t, a, names[op%2], op/2, 1+w*100+i)
				}
			})
		}
		wg.Wait()
		for _, name := range names {
			if _, err := st.Get(t.Context(), account, name); err == nil {
				st.wait(t, name, settled)
			}
		}
		cancel()
		for _, name := range names {
			checkHistory(rt, a, histories[name])
		}
		if len(a.edits) != 0 || len(a.creates) != 0 || a.deletes != 0 || a.tags != 0 {
			rt.Errorf("acknowledged and not in the history: %d edits, %d creates, %d deletes, %d tags",
				len(a.edits), len(a.creates), a.deletes, a.tags)
		}
	})
	records := len(st.catalog.All())
	st.Stop()
	objects := make(map[string]bool)
	for _, r := range st.catalog.All() {
		for _, c := range configs(r) {
			objects[c.Code.Object] = true
		}
	}
	t.Logf("%d runs, %d functions left", run, records)
	stored, err := st.objects.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range stored {
		delete(objects, o.Key)
	}
	if len(objects) != 0 {
		t.Errorf("archives that records name are gone: %v", objects)
	}
}

// act makes one change and notes what was acknowledged.
func (st *stack) act(t *testing.T, a *acked, name string, op, n int) {
	var err error
	var r *function.Record
	note := func(f func()) {
		a.mu.Lock()
		defer a.mu.Unlock()
		f()
	}
	switch op {
	case 0, 1:
		req := createRequest(t, name, strconv.Itoa(n))
		stamp(n)(&req.Config)
		if r, err = st.Create(t.Context(), req); err == nil {
			note(func() { a.creates[r.RevisionID] = true })
		}
	case 2:
		zip := zipOf(t, map[string]string{"app.py": strconv.Itoa(n)})
		if r, err = st.UpdateCode(t.Context(), function.CodeUpdate{Account: account, Name: name, Zip: zip}); err == nil {
			code := r.Latest.Code
			note(func() { a.edits[r.RevisionID] = func(c *function.Config) { c.Code = code } })
		}
	case 3:
		edit := stamp(n)
		if r, err = st.UpdateConfig(t.Context(), function.ConfigUpdate{Account: account, Name: name, Apply: func(c *function.Config) error {
			edit(c)
			return nil
		}}); err == nil {
			note(func() { a.edits[r.RevisionID] = edit })
		}
	case 4:
		if err = st.Delete(t.Context(), account, name); err == nil {
			note(func() { a.deletes++ })
		}
	default:
		if err = st.Tag(t.Context(), account, name, map[string]string{strconv.Itoa(n % 5): strconv.Itoa(n)}); err == nil {
			note(func() { a.tags++ })
		}
	}
	if err == nil {
		return
	}
	e, ok := awserr.As(err)
	if !ok || (e.Code != "ResourceNotFoundException" && e.Code != "ResourceConflictException") {
		t.Errorf("operation %d: %v", op, err)
	}
}

// checkHistory removes from a what it finds.
func checkHistory(rt *rapid.T, a *acked, history []step) {
	for i, s := range history {
		if i > 0 && s.before != history[i-1].after {
			rt.Fatalf("step %d does not follow the one before", i)
		}
		switch {
		case s.before == nil:
			if s.after.State != function.Pending || s.after.Serving != nil || !a.creates[s.after.RevisionID] {
				rt.Fatalf("step %d: appeared as %+v", i, s.after)
			}
			delete(a.creates, s.after.RevisionID)
		case s.after == nil:
			a.deletes--
		default:
			checkChange(rt, a, i, s.before, s.after)
		}
	}
}

func checkChange(rt *rapid.T, a *acked, i int, before, after *function.Record) {
	if before.UID != after.UID || before.RevisionID == after.RevisionID {
		rt.Fatalf("step %d: %+v became %+v", i, before, after)
	}
	busy := needsPreparing(before)
	edit, edited := a.edits[after.RevisionID]
	switch {
	case edited:
		delete(a.edits, after.RevisionID)
		want := before.Latest.Clone()
		edit(want)
		sealAs(want, after)
		if busy || !needsPreparing(after) || !reflect.DeepEqual(after.Latest, want) || !reflect.DeepEqual(after.Serving, before.Serving) {
			rt.Fatalf("step %d: an update made %+v of %+v", i, after, before)
		}
	case !reflect.DeepEqual(before.Tags, after.Tags) || needsPreparing(after) == busy:
		a.tags--
		same := before.Clone()
		same.Tags, same.RevisionID = after.Tags, after.RevisionID
		if !reflect.DeepEqual(same, after.Clone()) {
			rt.Fatalf("step %d: a tag made %+v of %+v", i, after, before)
		}
	default:
		checkPrepared(rt, i, before, after)
	}
}

// sealAs seals a configuration's variables as the harness's sealer does.
func sealAs(c *function.Config, r *function.Record) {
	if c.Environment == nil {
		return
	}
	b, err := (&sealer{}).SealEnvironment(context.Background(), r.Account, r.ARN(), c.KMSKey, c.Environment)
	if err != nil {
		panic(err)
	}
	c.Environment, c.Sealed = nil, function.SealedEnvironment{Sealed: b}
}

func checkPrepared(rt *rapid.T, i int, before, after *function.Record) {
	if !reflect.DeepEqual(before.Latest, after.Latest) {
		rt.Fatalf("step %d: a preparation changed %+v to %+v", i, before.Latest, after.Latest)
	}
	if unlucky(context.Background(), after, after.Latest) != nil {
		if !reflect.DeepEqual(before.Serving, after.Serving) || before.Generation != after.Generation {
			rt.Fatalf("step %d: a failed preparation made %+v of %+v", i, after, before)
		}
		return
	}
	if after.State != function.Active || !reflect.DeepEqual(after.Serving, after.Latest) || after.Generation != before.Generation+1 {
		rt.Fatalf("step %d: a preparation made %+v of %+v", i, after, before)
	}
}
