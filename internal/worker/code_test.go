package worker

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"hearth/internal/function"
)

// shelves is volumes of code whose mounts are directories: a file in each
// names what is mounted there.
type shelves struct {
	Volumes
	mu      sync.Mutex
	opened  int
	open    int
	mounts  map[string]string // what is mounted where
	started []string
	fail    error
	lost    chan struct{}
	slow    chan struct{} // if not nil, volumes come when it is closed
}

type shelved struct {
	s      *shelves
	object string
	lost   chan struct{}
}

func (s *shelves) Open(_ context.Context, ref CodeRef) (Volume, error) {
	if s.slow != nil {
		<-s.slow
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return nil, s.fail
	}
	s.opened++
	s.open++
	return &shelved{s, ref.Object, s.lost}, nil
}

func (s *shelves) mount(dir, what string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mounts[dir] = what
	return os.Mkdir(dir, 0o700)
}

func (s *shelves) Unmount(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mounts[dir] == "" {
		return errors.New("nothing is mounted at " + dir)
	}
	delete(s.mounts, dir)
	return nil
}

func (s *shelves) Overlay(dir string, layers []string) error {
	s.mu.Lock()
	var names []string
	for _, l := range layers {
		names = append(names, s.mounts[l])
	}
	s.mu.Unlock()
	return s.mount(dir, strings.Join(names, ">"))
}

// mounted lists what is mounted.
func (s *shelves) mounted() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for _, what := range s.mounts {
		names = append(names, what)
	}
	slices.Sort(names)
	return names
}

func (v *shelved) Mount(dir string) error       { return v.s.mount(dir, v.object) }
func (v *shelved) Image() *function.ImageConfig { return nil }
func (v *shelved) Lost() <-chan struct{}        { return v.lost }
func (v *shelved) Started(context.Context) {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	v.s.started = append(v.s.started, v.object)
}
func (v *shelved) Release(context.Context) error {
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	v.s.open--
	return nil
}

func newCode(t *testing.T, spare int) (*codeCache, *shelves) {
	t.Helper()
	s := &shelves{mounts: make(map[string]string), lost: make(chan struct{})}
	cfg := &Config{Dir: t.TempDir(), Code: s, Volumes: s, SpareMounts: spare}
	if err := os.Mkdir(filepath.Join(cfg.Dir, "code"), 0o700); err != nil {
		t.Fatal(err)
	}
	c := newCodeCache(t.Context(), cfg)
	t.Cleanup(func() {
		if err := c.close(); err != nil {
			t.Error(err)
		}
		left, err := os.ReadDir(c.dir)
		if len(s.mounts) > 0 || s.open > 0 || len(left) > 0 || err != nil {
			t.Errorf("left behind: mounts %v, %d volumes, %d directories, %v", s.mounts, s.open, len(left), err)
		}
	})
	return c, s
}

func refs(objects ...string) []CodeRef {
	var r []CodeRef
	for _, object := range objects {
		r = append(r, CodeRef{Object: object})
	}
	return r
}

func mustAcquire(t *testing.T, c *codeCache, objects ...string) *codeEntry {
	t.Helper()
	e, err := c.acquire(t.Context(), refs(objects...))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func mustRelease(t *testing.T, c *codeCache, entries ...*codeEntry) {
	t.Helper()
	if err := c.releaseAll(entries); err != nil {
		t.Fatal(err)
	}
}

func TestCodeIsMountedOnce(t *testing.T) {
	c, s := newCode(t, 10)
	entries := make([]*codeEntry, 16)
	var wg sync.WaitGroup
	for i := range entries {
		wg.Go(func() { entries[i], _ = c.acquire(t.Context(), refs("a")) })
	}
	wg.Wait()
	if s.opened != 1 || entries[0] == nil || entries[0] != entries[15] {
		t.Errorf("opened %d times", s.opened)
	}
	c.started(t.Context(), entries[0])
	c.started(t.Context(), entries[0])
	if len(s.started) != 1 {
		t.Errorf("%d starts were recorded, want the first", len(s.started))
	}
	mustRelease(t, c, entries...)
}

// TestLayersAreStacked makes sure that a list of layers is mounted once, in its
// order, and taken for no other list.
func TestLayersAreStacked(t *testing.T) {
	const arn = "arn:aws:lambda:us-east-1:111111111111:layer:l:1"
	cfg := &function.Config{Layers: []function.Layer{{ARN: arn, Code: function.Code{Object: "a"}}, {ARN: arn, Code: function.Code{Object: "b"}}}}
	want := []CodeRef{{Account: "111111111111", Object: "a"}, {Account: "111111111111", Object: "b"}}
	if got := layersOf(cfg); !slices.Equal(got, want) {
		t.Errorf("layers %v: want them in the function's order, of their owner", got)
	}
	c, s := newCode(t, 0)
	ab, ba, again, a := mustAcquire(t, c, "a", "b"), mustAcquire(t, c, "b", "a"), mustAcquire(t, c, "a", "b"), mustAcquire(t, c, "a")
	if got := s.mounted(); ab != again || ab == ba || !slices.Equal(got, []string{"a", "a>b", "b", "b>a"}) {
		t.Errorf("mounted %q", got)
	}
	mustRelease(t, c, ba, a, again)
	if got := s.mounted(); !slices.Equal(got, []string{"a", "b", "b>a"}) {
		t.Errorf("mounted %q, want what is in use and no more", got)
	}
	mustRelease(t, c, ab)
}

func TestMountsAreBounded(t *testing.T) {
	c, s := newCode(t, 2)
	held := map[string]*codeEntry{}
	for _, name := range []string{"a", "b", "c", "d"} {
		held[name] = mustAcquire(t, c, name)
	}
	mustRelease(t, c, held["a"], held["b"], held["c"])
	if got := s.mounted(); !slices.Equal(got, []string{"b", "c", "d"}) {
		t.Errorf("mounted %q, want the least recently used gone and what is in use kept", got)
	}
	mustRelease(t, c, mustAcquire(t, c, "a"), held["d"])
	if s.opened != 5 {
		t.Errorf("opened %d times, want 5", s.opened)
	}
}

func TestCodeThatCannotBeHad(t *testing.T) {
	c, s := newCode(t, 10)
	s.fail = errors.New("no such object")
	for _, objects := range [][]string{{"a"}, {"a", "b"}} {
		if _, err := c.acquire(t.Context(), refs(objects...)); !errors.Is(err, s.fail) {
			t.Errorf("%q: got %v", objects, err)
		}
	}
	s.fail = nil
	mustRelease(t, c, mustAcquire(t, c, "a"))
}

// TestImpatientCaller leaves while the volume is being made.
func TestImpatientCaller(t *testing.T) {
	c, s := newCode(t, 10)
	s.slow = make(chan struct{})
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := c.acquire(ctx, refs("a")); !errors.Is(err, gone) {
			t.Errorf("got %v, want that it left", err)
		}
	})
	cancel(gone)
	wg.Wait()
	close(s.slow)
	mustRelease(t, c, mustAcquire(t, c, "a"))
	if s.opened != 1 {
		t.Errorf("opened %d times, want once for both", s.opened)
	}
}

// TestRenewedWhileMade: what nobody wants any more when it is there goes at once.
func TestRenewedWhileMade(t *testing.T) {
	c, s := newCode(t, 10)
	s.slow = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.acquire(ctx, refs("a")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if err := c.renew(); err != nil {
		t.Error(err)
	}
	close(s.slow)
	c.making.Wait()
	if got := s.mounted(); len(got) > 0 || s.open > 0 {
		t.Errorf("mounted %q, %d open", got, s.open)
	}
}

// TestLostCodeIsMountedAnew loses the process that shows volumes.
func TestLostCodeIsMountedAnew(t *testing.T) {
	c, s := newCode(t, 10)
	used, unused := mustAcquire(t, c, "a"), mustAcquire(t, c, "x", "y")
	mustRelease(t, c, unused)
	close(s.lost)
	s.lost = make(chan struct{})
	select {
	case <-unused.whenLost():
	default:
		t.Error("a stack is not lost with its volumes")
	}
	again, stack := mustAcquire(t, c, "a"), mustAcquire(t, c, "x", "y")
	if again == used || stack == unused {
		t.Error("what is lost is used again")
	}
	mustRelease(t, c, used, again, stack)
	if got := s.mounted(); !slices.Equal(got, []string{"a", "x", "y", "y>x"}) {
		t.Errorf("mounted %q, want what was lost gone", got)
	}
}

// TestRenewedCode has volumes moved elsewhere: who comes later gets them from
// there, who uses them keeps them, and what nobody uses is given back.
func TestRenewedCode(t *testing.T) {
	c, s := newCode(t, 10)
	used := mustAcquire(t, c, "a")
	mustRelease(t, c, mustAcquire(t, c, "b"), mustAcquire(t, c, "x", "y"))
	if err := c.renew(); err != nil {
		t.Fatal(err)
	}
	if got := s.mounted(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("mounted %q, want what is used", got)
	}
	again := mustAcquire(t, c, "a")
	if again == used {
		t.Error("the mount of before is used again")
	}
	mustRelease(t, c, used, again)
	if got := s.mounted(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("mounted %q, want the new mount only", got)
	}
}

// TestForgottenCode: what was made of a deleted object goes, at once or with its
// last user; also what it is a layer of.
func TestForgottenCode(t *testing.T) {
	c, s := newCode(t, 10)
	used := mustAcquire(t, c, "a")
	mustRelease(t, c, mustAcquire(t, c, "a", "b"), mustAcquire(t, c, "b", "c"), mustAcquire(t, c, "ab"))
	if err := c.forget("a"); err != nil {
		t.Fatal(err)
	}
	if got := s.mounted(); !slices.Equal(got, []string{"a", "ab", "b", "c", "c>b"}) {
		t.Errorf("mounted %q, want what is used and what is not of a", got)
	}
	mustRelease(t, c, used)
	if got := s.mounted(); !slices.Equal(got, []string{"ab", "b", "c", "c>b"}) {
		t.Errorf("mounted %q, want nothing of a", got)
	}
	if err := c.forget("c"); err != nil {
		t.Fatal(err)
	}
	if got := s.mounted(); !slices.Equal(got, []string{"ab", "b"}) {
		t.Errorf("mounted %q, want nothing of c", got)
	}
}
