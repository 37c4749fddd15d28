package garbage_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hearth/internal/artifact"
	"hearth/internal/chunk"
	"hearth/internal/chunkstore/origin"
	"hearth/internal/garbage"
	"hearth/internal/volume"
)

const (
	rotation = 7 * 24 * time.Hour
	expiry   = 24 * time.Hour
)

// place is where a root of the model is.
type place int

const (
	live place = iota
	expired
	alarmed
)

// world is what outlives a process, as far as the collector sees it.
type world struct {
	clock  *clock
	life   *life
	store  *memStore
	places map[chunk.Root]place
	// chunks are the objects whose volumes' chunks are in a root.
	chunks    map[chunk.Root]map[string]bool
	manifests map[string]chunk.Root
	// broken volumes cannot be moved, and tries counts how often it was tried.
	broken map[string]bool
	tries  int
	// rotten volumes have chunks that are gone.
	rotten map[string]bool

	// calmSince is since when a root has been expired without an alarm.
	calmSince map[chunk.Root]time.Time
	deleted   map[chunk.Root]bool
	wrong     []string

	// The rest is of one life.
	service *garbage.Service
	readers *readers
	opened  []artifact.Placed
	builds  map[string]building
}

// building is a build under way.
type building struct {
	root chunk.Root
	end  func()
}

func newWorld() *world {
	w := &world{
		clock: newClock(), life: forever(), places: make(map[chunk.Root]place), chunks: make(map[chunk.Root]map[string]bool),
		manifests: make(map[string]chunk.Root), broken: make(map[string]bool), rotten: make(map[string]bool),
		calmSince: make(map[chunk.Root]time.Time), deleted: make(map[chunk.Root]bool),
	}
	w.store = &memStore{life: func() *life { return w.life }}
	return w
}

func (w *world) failf(format string, args ...any) {
	w.wrong = append(w.wrong, fmt.Sprintf(format, args...))
}

// start begins a life.
func (w *world) start(ctx context.Context) error {
	w.readers, w.opened, w.builds = newReaders(), nil, make(map[string]building)
	s, err := garbage.Open(ctx, garbage.Config{
		Store: w.store, Chunks: w, Rotation: rotation, Expiry: expiry, Now: w.clock.Now,
		Every: 10 * time.Minute, // by another clock: the model says when
	})
	if err != nil {
		return err
	}
	w.service = s
	s.Start(w, w.readers)
	return nil
}

// put stores the chunks of an object's volume.
func (w *world) put(object string, root chunk.Root) {
	if w.deleted[root] {
		w.failf("a build got root %d, which was deleted", root)
	}
	if w.chunks[root] == nil {
		w.chunks[root] = make(map[string]bool)
		w.places[root] = live
	}
	if w.places[root] != live {
		w.failf("a build writes to root %d, which has expired", root)
	}
	w.chunks[root][object] = true
}

// read reads a volume's chunks.
func (w *world) read(object string, root chunk.Root) error {
	if !w.chunks[root][object] {
		return fmt.Errorf("the chunks of %s are not in root %d", object, root)
	}
	if w.places[root] == expired {
		w.places[root] = alarmed
	}
	return nil
}

func (w *world) roots(of ...place) []chunk.Root {
	var found []chunk.Root
	for root, p := range w.places {
		if slices.Contains(of, p) {
			found = append(found, root)
		}
	}
	slices.Sort(found)
	return found
}

// Roots implements origin.Roots.
func (w *world) Roots(context.Context) ([]chunk.Root, error) { return w.roots(live), nil }

// Expired implements origin.Roots.
func (w *world) Expired(context.Context) ([]chunk.Root, error) { return w.roots(expired, alarmed), nil }

// Alarms implements origin.Roots.
func (w *world) Alarms(context.Context) ([]chunk.Root, error) { return w.roots(alarmed), nil }

// Expire implements origin.Roots.
func (w *world) Expire(_ context.Context, root chunk.Root) error { return w.move(root, live, expired) }

// Raise implements origin.Roots.
func (w *world) Raise(_ context.Context, root chunk.Root) error {
	return w.move(root, expired, alarmed)
}

// Calm implements origin.Roots.
func (w *world) Calm(_ context.Context, root chunk.Root) error { return w.move(root, alarmed, expired) }

func (w *world) move(root chunk.Root, from, to place) error {
	return w.life.step(func() {
		if p, ok := w.places[root]; ok && p == from {
			w.places[root] = to
			w.calmSince[root] = w.clock.Now()
		}
	})
}

// DeleteExpired implements origin.Roots.
func (w *world) DeleteExpired(_ context.Context, root chunk.Root) (origin.Freed, error) {
	p, ok := w.places[root]
	if ok && p != expired {
		return origin.Freed{}, origin.ErrAlarm
	}
	err := w.life.step(func() {
		if ok && w.clock.Now().Sub(w.calmSince[root]) < expiry {
			w.failf("root %d was deleted %v after it had expired or was calmed", root, w.clock.Now().Sub(w.calmSince[root]))
		}
		if len(w.roots(alarmed)) > 0 {
			w.failf("root %d was deleted in spite of an alarm", root)
		}
		delete(w.places, root)
		delete(w.chunks, root)
		w.deleted[root] = true
	})
	return origin.Freed{}, err
}

// Placed implements garbage.Volumes.
func (w *world) Placed(context.Context) ([]artifact.Placed, error) {
	var all []artifact.Placed
	for _, object := range slices.Sorted(maps.Keys(w.manifests)) {
		all = append(all, artifact.Placed{Object: object, Root: w.manifests[object]})
	}
	return all, nil
}

var errBroken = errors.New("broken")

// Migrate implements garbage.Volumes.
func (w *world) Migrate(ctx context.Context, object string) (bool, volume.Stats, error) {
	root, end, err := w.service.Begin(ctx)
	if err != nil {
		return false, volume.Stats{}, err
	}
	defer end()
	from := w.manifests[object]
	w.tries++
	if w.broken[object] {
		return false, volume.Stats{}, errBroken
	}
	if err := w.read(object, from); err != nil {
		w.failf("%v", err)
		return false, volume.Stats{}, err
	}
	err = w.make(object, root) // of what it is made of, or of its archive if it is rotten
	return err == nil, volume.Stats{}, err
}

// make builds an object's volume in a root.
func (w *world) make(object string, root chunk.Root) error {
	if err := w.life.step(func() { w.put(object, root) }); err != nil {
		return err
	}
	return w.life.step(func() {
		w.manifests[object] = root
		delete(w.rotten, object)
	})
}

// Mend implements garbage.Volumes.
func (w *world) Mend(ctx context.Context, object string) (int, error) {
	root, end, err := w.service.Begin(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	if _, ok := w.manifests[object]; !ok || !w.rotten[object] {
		return 0, nil
	}
	if w.broken[object] {
		return 0, errBroken // it has no archive
	}
	return 1, w.make(object, root)
}

// nameOf is the one chunk of an object's volume.
func nameOf(object string) chunk.Name { return sha256.Sum256([]byte(object)) }

// Names implements garbage.Volumes.
func (w *world) Names(_ context.Context, root chunk.Root) (map[chunk.Name]struct{}, error) {
	names := make(map[chunk.Name]struct{})
	for object, in := range w.manifests {
		if in == root {
			names[nameOf(object)] = struct{}{}
		}
	}
	return names, nil
}

// Chunks implements origin.Roots.
func (w *world) Chunks(_ context.Context, root chunk.Root) iter.Seq2[origin.Info, error] {
	return func(yield func(origin.Info, error) bool) {
		for object := range w.chunks[root] {
			if !yield(origin.Info{Name: nameOf(object), Size: 100}, nil) {
				return
			}
		}
	}
}

// die ends a life.
func (w *world) die() {
	w.life = forever()
	w.service.Stop()
}

// check looks for what must never be.
func (w *world) check(t *rapid.T) {
	for object, root := range w.manifests {
		if !w.chunks[root][object] {
			t.Errorf("%s is live and its chunks are gone from root %d", object, root)
		}
		if w.places[root] != live {
			t.Errorf("%s is live in root %d, which has expired", object, root)
		}
	}
	for _, o := range w.opened {
		if !w.chunks[o.Root][o.Object] || w.places[o.Root] != live {
			t.Errorf("%s is open in root %d, which has expired or is deleted", o.Object, o.Root)
		}
	}
	for _, what := range w.wrong {
		t.Error(what)
	}
	w.wrong = nil
	if t.Failed() {
		t.FailNow()
	}
}

// TestModel has builds, deletions, readers and crashes at every step of cycles
// meet the collector.
func TestModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		ctx := t.Context()
		w := newWorld()
		if err := w.start(ctx); err != nil {
			t.Fatal(err)
		}
		defer func() { w.die() }()
		built := 0
		pick := func(t *rapid.T, from []string) string {
			if len(from) == 0 {
				t.Skip("none")
			}
			return rapid.SampledFrom(from).Draw(t, "object")
		}
		manifests := func() []string { return slices.Sorted(maps.Keys(w.manifests)) }
		builds := func() []string { return slices.Sorted(maps.Keys(w.builds)) }
		lived := func(err error) {
			if err != nil && !errors.Is(err, errDead) {
				t.Fatal(err)
			}
			if err != nil {
				w.die()
				if err := w.start(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
		collect := func(o garbage.Options) {
			_, err := w.service.Collect(ctx, o)
			lived(err)
		}
		t.Repeat(map[string]func(*rapid.T){
			"build": func(t *rapid.T) {
				root, end, err := w.service.Begin(ctx)
				if err != nil {
					t.Fatal(err)
				}
				object := fmt.Sprint("object-", built)
				built++
				w.put(object, root)
				w.builds[object] = building{root, end}
			},
			"finish": func(t *rapid.T) {
				object := pick(t, builds())
				w.manifests[object] = w.builds[object].root
				w.builds[object].end()
				delete(w.builds, object)
			},
			"give up": func(t *rapid.T) {
				object := pick(t, builds())
				w.builds[object].end()
				delete(w.builds, object)
			},
			"delete":    func(t *rapid.T) { delete(w.manifests, pick(t, manifests())) },
			"break":     func(t *rapid.T) { w.broken[pick(t, manifests())] = true },
			"mend":      func(*rapid.T) { clear(w.broken) },
			"rot":       func(t *rapid.T) { w.rot(pick(t, manifests())) },
			"open":      func(t *rapid.T) { w.open(pick(t, manifests())) },
			"close all": func(*rapid.T) { w.closeAll() },
			"wait":      func(t *rapid.T) { w.clock.forward(time.Duration(rapid.IntRange(1, 36).Draw(t, "hours")) * time.Hour) },
			"wait long": func(*rapid.T) { w.clock.forward(rotation) },
			"collect":   func(*rapid.T) { collect(garbage.Options{}) },
			"tick": func(*rapid.T) {
				_, err := w.service.Tick(ctx)
				lived(err)
			},
			"collect ++": func(*rapid.T) { collect(garbage.Options{Rotate: true}) },
			"go on":      func(*rapid.T) { collect(garbage.Options{GoOn: true}) },
			"stray read": func(t *rapid.T) {
				roots := w.roots(expired)
				if len(roots) == 0 {
					t.Skip("none")
				}
				w.places[rapid.SampledFrom(roots).Draw(t, "root")] = alarmed
			},
			"crash in a cycle": func(t *rapid.T) {
				w.life = &life{steps: rapid.IntRange(0, 12).Draw(t, "steps"), after: rapid.Bool().Draw(t, "after")}
				collect(garbage.Options{Rotate: rapid.Bool().Draw(t, "rotate"), GoOn: rapid.Bool().Draw(t, "go on")})
				w.life = forever()
			},
			"": func(t *rapid.T) { w.check(t) },
		})
		w.drain(t, collect)
	})
}

// rot has chunks of a volume go, which a reader notices.
func (w *world) rot(object string) {
	w.rotten[object] = true
	w.readers.fail(object)
}

func (w *world) open(object string) {
	root := w.manifests[object]
	w.readers.add(root, 1)
	w.opened = append(w.opened, artifact.Placed{Object: object, Root: root})
}

func (w *world) closeAll() {
	clear(w.readers.count)
	w.opened = nil
}

// drain has everything end: only what is live stays.
func (w *world) drain(t *rapid.T, collect func(garbage.Options)) {
	for object := range w.builds {
		w.builds[object].end()
	}
	clear(w.builds)
	clear(w.broken)
	w.closeAll()
	collect(garbage.Options{Rotate: true, GoOn: true})
	w.clock.forward(expiry)
	collect(garbage.Options{})
	w.check(t)
	if got := slices.Sorted(maps.Keys(w.places)); len(got) > 1 {
		t.Errorf("roots %v are left, only the active one should be", got)
	}
	for root, objects := range w.chunks {
		for object := range objects {
			if w.manifests[object] != root {
				t.Errorf("the chunks of %s are left in root %d", object, root)
			}
		}
	}
}
