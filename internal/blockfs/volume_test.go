package blockfs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"hearth/internal/mount"
)

// opener is a function that opens.
type opener func(context.Context, json.RawMessage) (Volume, error)

func (o opener) Open(ctx context.Context, spec json.RawMessage) (Volume, error) { return o(ctx, spec) }

// volumeOf is a volume of functions.
type volumeOf struct {
	pattern
	read     func(ctx context.Context, p []byte, off int64) (int, error)
	prefetch func(ctx context.Context, chunk int) error
	touched  func(chunk int)
	close    func() error
}

func (v *volumeOf) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	if v.read == nil {
		return v.pattern.ReadAt(ctx, p, off)
	}
	return v.read(ctx, p, off)
}
func (v *volumeOf) Prefetch(ctx context.Context, chunk int) error { return v.prefetch(ctx, chunk) }
func (v *volumeOf) Touched(chunk int) {
	if v.touched != nil {
		v.touched(chunk)
	}
}

func (v *volumeOf) Close() error {
	if v.close == nil {
		return nil
	}
	return v.close()
}

// readDevice reads from a lease's device as a file system would: by blocks, and
// not from the cache.
func readDevice(l *Lease, off int64, n int) ([]byte, error) {
	fd, err := unix.Open(l.Device(), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE) // aligned
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Munmap(b) }()
	got, err := unix.Pread(fd, b, off)
	return bytes.Clone(b[:max(got, 0)]), err
}

// TestStalledSources has sources that never answer, of which one does not even
// listen. Reads end; other volumes go on; nothing is mixed up.
func TestStalledSources(t *testing.T) {
	hang := make(chan struct{})
	var once sync.Once
	release := func() { once.Do(func() { close(hang) }) }
	const bound = 2 * time.Second // longer than any read of a loaded machine
	s := serve(t, Config{ReadTimeout: bound, ReadsPerVolume: 4, Opener: opener(func(_ context.Context, spec json.RawMessage) (Volume, error) {
		v := &volumeOf{pattern: 1 << 20}
		switch string(spec) {
		case `"deaf"`:
			v.read = func(_ context.Context, p []byte, _ int64) (int, error) {
				<-hang
				clear(p) // late, to a buffer that is nobody else's by now
				return len(p), nil
			}
		case `"polite"`:
			v.read = func(ctx context.Context, _ []byte, _ int64) (int, error) {
				<-ctx.Done()
				return 0, ctx.Err()
			}
		}
		return v, nil
	})})
	t.Cleanup(release)
	c := connect(t, ClientConfig{Dir: s.cfg.Dir})
	leases := make(map[string]*Lease)
	for _, id := range []string{"deaf", "polite", "well"} {
		l, err := c.Open(t.Context(), id, encode(id))
		if err != nil {
			t.Fatal(err)
		}
		leases[id] = l
	}
	var group sync.WaitGroup
	for _, id := range []string{"deaf", "polite"} {
		for i := range 6 { // more than slots
			group.Go(func() {
				if _, err := readDevice(leases[id], int64(i)*4096, 4096); !errors.Is(err, unix.EIO) {
					t.Errorf("%s: got %v, want EIO", id, err)
				}
			})
		}
	}
	want, _ := io.ReadAll(io.NewSectionReader(readerAt{pattern(1 << 20)}, 0, 1<<20))
	for range 20 {
		if got, err := readDevice(leases["well"], 0, 1<<20); err != nil || !bytes.Equal(got, want) {
			t.Errorf("well: got %d bytes, %v", len(got), err)
		}
	}
	group.Wait()
	for id, stalls := range map[string]bool{"deaf": true, "polite": true, "well": false} {
		st, err := c.Stats(t.Context(), id)
		if err != nil || st.Stalls > 0 != stalls || st.Errors != st.Stalls || stalls && !strings.Contains(st.LastError, errStalled.Error()) {
			t.Errorf("%s: got %+v, %v", id, st, err)
		}
	}
	release()
	for range 20 {
		if got, err := readDevice(leases["well"], 0, 1<<20); err != nil || !bytes.Equal(got, want) {
			t.Errorf("well, after the deaf has written: got %d bytes, %v", len(got), err)
		}
	}
}

type readerAt struct{ Volume }

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	return r.Volume.ReadAt(context.Background(), p, off)
}

func TestSourcesThatFail(t *testing.T) {
	s := serve(t, Config{Opener: opener(func(_ context.Context, spec json.RawMessage) (Volume, error) {
		v := &volumeOf{pattern: 1 << 20}
		switch string(spec) {
		case `"error"`:
			v.read = func(context.Context, []byte, int64) (int, error) { return 0, errors.New("no") }
		case `"short"`:
			v.read = func(_ context.Context, p []byte, _ int64) (int, error) { return len(p) - 1, nil }
		case `"end"`:
			v.read = func(_ context.Context, p []byte, _ int64) (int, error) { return len(p) - 1, io.EOF }
		case `"panic"`:
			v.read = func(context.Context, []byte, int64) (int, error) { panic("read") }
		case `"panic in open"`:
			panic("open")
		case `"odd"`:
			v.pattern = 513
		case `"empty"`:
			v.pattern = 0
		}
		return v, nil
	})})
	c := connect(t, ClientConfig{Dir: s.cfg.Dir})
	for _, id := range []string{"error", "short", "end", "panic"} {
		l, err := c.Open(t.Context(), id, encode(id))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := readDevice(l, 0, 4096); !errors.Is(err, unix.EIO) {
			t.Errorf("%s: got %d bytes, %v, want EIO", id, len(got), err)
		}
	}
	for _, id := range []string{"panic in open", "odd", "empty"} {
		if _, err := c.Open(t.Context(), id, encode(id)); err == nil {
			t.Errorf("%s: opened", id)
		}
	}
	if _, err := c.Open(t.Context(), "", nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("without a name: got %v, want ErrInvalid", err)
	}
	if l, err := c.List(t.Context()); err != nil || len(l.Volumes) != 4 {
		t.Errorf("List: got %+v, %v, want what could be opened", l, err)
	}
}

// TestProfile reads chunks in an order and finds them in that order. Chunk 1 is
// read right after 0, so the next four are fetched ahead, too, as chunks of a
// profile are; and so are those after 4, which the same reader goes on with.
func TestProfile(t *testing.T) {
	var mu sync.Mutex
	var told, fetched []int
	gate := make(chan struct{})
	s := serve(t, Config{PrefetchDepth: 2, Opener: opener(func(context.Context, json.RawMessage) (Volume, error) {
		return &volumeOf{
			pattern: 8 << 20,
			touched: func(c int) { mu.Lock(); defer mu.Unlock(); told = append(told, c) },
			prefetch: func(_ context.Context, c int) error {
				<-gate
				mu.Lock()
				defer mu.Unlock()
				fetched = append(fetched, c)
				if c == 3 {
					return errors.New("no")
				}
				return nil
			},
		}, nil
	})})
	c := connect(t, ClientConfig{Dir: s.cfg.Dir})
	l, err := c.Open(t.Context(), "v", encode("v"))
	if err != nil {
		t.Fatal(err)
	}
	for _, off := range []int64{5 << 20, 0, 512<<10 - 4096, 2 << 20, 5<<20 + 4096} {
		if _, err := readDevice(l, off, 8192); err != nil {
			t.Fatal(err)
		}
	}
	st, err := c.Stats(t.Context(), "v")
	want := []int{10, 0, 1, 4}
	if err != nil || !slices.Equal(st.Touched, want) || !slices.Equal(told, want) || st.BytesRead != 5*8192 || st.ChunkSize != DefaultChunkSize {
		t.Errorf("got %+v, %v, told %v, want chunks %v", st, err, told, want)
	}
	chunks := []int{7, 3, 8, 9, 9, 0, 15}
	if n, err := c.Prefetch(t.Context(), "v", chunks); n != 3 || err != nil {
		t.Errorf("Prefetch: got %d, %v, want 3", n, err)
	}
	if n, err := c.Prefetch(t.Context(), "v", chunks); n != 0 || err != nil {
		t.Errorf("Prefetch again: got %d, %v, want 0", n, err)
	}
	for _, bad := range []int{-1, 16} {
		if _, err := c.Prefetch(t.Context(), "v", []int{bad}); !errors.Is(err, ErrInvalid) {
			t.Errorf("Prefetch of chunk %d: got %v, want ErrInvalid", bad, err)
		}
	}
	if _, err := c.Prefetch(t.Context(), "missing", nil); !errors.Is(err, ErrUnknown) {
		t.Errorf("Prefetch of no volume: got %v, want ErrUnknown", err)
	}
	s.shelf.mu.Lock()
	if v := s.shelf.byID["v"]; v.ahead.running != 2 {
		t.Errorf("%d fetch ahead, want 2", v.ahead.running)
	}
	s.shelf.mu.Unlock()
	close(gate)
	eventually(t, "all is fetched", func() bool {
		st, err := c.Stats(t.Context(), "v")
		return err == nil && st.Prefetched == 9 && st.PrefetchErrors == 1
	})
	slices.Sort(fetched)
	if want := []int{0, 2, 3, 4, 5, 6, 7, 8, 9, 15}; !slices.Equal(fetched, want) {
		t.Errorf("fetched %v, want %v", fetched, want)
	}
}

// TestSecrets looks for a key wherever it must not be.
func TestSecrets(t *testing.T) {
	const key = "c2VjcmV0LWtleS1vZi1hLXZvbHVtZQ=="
	var log bytes.Buffer
	var mu sync.Mutex
	s := serve(t, Config{
		Dir: filepath.Join(shortDir(t), "fs"), ReadTimeout: 50 * time.Millisecond,
		Log: slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	c := connect(t, ClientConfig{Dir: s.cfg.Dir})
	_, err := c.Open(t.Context(), "fails", testSpec{Key: key, Fail: "cannot"}.json())
	if err == nil || !strings.Contains(err.Error(), "cannot") || strings.Contains(err.Error(), key) {
		t.Errorf("an opener that tells its spec: got %v", err)
	}
	if _, err := c.Open(t.Context(), "malformed", encode([]string{key})); err == nil || strings.Contains(err.Error(), key) {
		t.Errorf("a malformed spec: got %v", err)
	}
	l := open(t, c, "v", testSpec{Key: key, Size: 1 << 20, StallAt: 1})
	if _, err := readDevice(l, 0, 4096); !errors.Is(err, unix.EIO) {
		t.Errorf("got %v, want EIO", err)
	}
	link, err := c.current(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := link.call(t.Context(), opOpen, []string{key}, nil, nil); err == nil || strings.Contains(err.Error(), key) {
		t.Errorf("malformed arguments: got %v", err)
	}
	st, err := c.Stats(t.Context(), "v")
	if err != nil || strings.Contains(fmt.Sprint(st), key) {
		t.Errorf("Stats: got %+v, %v", st, err)
	}
	list, err := c.List(t.Context())
	if err != nil || strings.Contains(fmt.Sprint(list), key) {
		t.Errorf("List: got %+v, %v", list, err)
	}
	mu.Lock()
	if strings.Contains(log.String(), key) {
		t.Errorf("log: %s", log.String())
	}
	mu.Unlock()
	err = filepath.WalkDir(s.cfg.Dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Name() == mountName {
			return fs.SkipDir // the volumes, which are not looked for by listing
		}
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(key)) {
			t.Errorf("%s holds the key", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.w.Write(p)
}

// TestNoLoop has the kernel run out of devices.
func TestNoLoop(t *testing.T) {
	s := serve(t, Config{})
	attach := s.shelf.attach
	s.shelf.attach = func(string) (string, error) { return "", fmt.Errorf("mount: %w", mount.ErrNoLoop) }
	c := connect(t, ClientConfig{Dir: s.cfg.Dir})
	_, err := c.Open(t.Context(), "v", testSpec{Size: 1 << 20}.json())
	if !errors.Is(err, ErrNoLoop) || !strings.Contains(err.Error(), "modprobe loop") {
		t.Errorf("got %v, want ErrNoLoop and how to mend it", err)
	}
	eventually(t, "the volume is closed", func() bool {
		l, err := c.List(t.Context())
		return err == nil && len(l.Volumes) == 0
	})
	s.shelf.attach = attach // nobody opens now
	open(t, c, "v", testSpec{Size: 1 << 20})
}

// TestManyVolumes has two hundred volumes mounted at once.
func TestManyVolumes(t *testing.T) {
	const n = 200
	source, files := tree(t, 100_000)
	spec := testSpec{Path: image(t, source, "4M")}
	dir := filepath.Join(shortDir(t), "fs")
	c := connect(t, ClientConfig{Dir: dir})
	var group sync.WaitGroup
	targets, leases := make([]string, n), make([]*Lease, n)
	base := t.TempDir()
	for i := range n {
		targets[i] = filepath.Join(base, fmt.Sprint(i))
		if err := os.Mkdir(targets[i], 0o700); err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			l, err := c.Open(t.Context(), fmt.Sprint(i), spec.json())
			if err == nil {
				leases[i], err = l, l.Mount(targets[i])
			}
			if err != nil {
				t.Errorf("volume %d: %v", i, err)
			}
		})
	}
	group.Wait()
	defer unmount(t, base)
	devices := make(map[string]bool)
	for i, l := range leases {
		if l == nil {
			t.Fatal("not all are open")
		}
		devices[l.Device()] = true
		group.Go(func() { expectFiles(t, targets[i], files) })
	}
	group.Wait()
	if len(devices) != n {
		t.Errorf("got %d devices, want %d", len(devices), n)
	}
	unmount(t, base)
	for _, l := range leases {
		if err := l.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
	shutdown(t, c)
}

// TestOneCopy reads a file and looks where its pages are.
func TestOneCopy(t *testing.T) {
	const size = 8 << 20
	source, files := tree(t, size)
	dir := filepath.Join(shortDir(t), "fs")
	c := connect(t, ClientConfig{Dir: dir})
	l := open(t, c, "v", testSpec{Path: image(t, source, "16M"), Memory: true})
	target := mountLease(t, l)
	expectFiles(t, target, files)
	const pages = size / 4096
	for path, want := range map[string][2]uint64{
		filepath.Join(target, "file0"): {pages, pages},
		l.Device():                     {0, 64}, // what describes the files
		filepath.Join(dir, mountName, l.opened.File): {0, 0},
	} {
		if got := cached(t, path); got < want[0] || got > want[1] {
			t.Errorf("%s: got %d pages in the cache, want %d to %d", path, got, want[0], want[1])
		}
	}
	unmount(t, target)
	if err := l.Release(t.Context()); err != nil {
		t.Error(err)
	}
	shutdown(t, c)
}

func cached(t *testing.T, path string) uint64 {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Cachestat_t
	err = unix.Cachestat(uint(fd), &unix.CachestatRange{}, &st, 0)
	if errors.Is(err, unix.ENOSYS) {
		t.Skip("the kernel has no cachestat(2)")
	}
	if err != nil {
		t.Fatal(err)
	}
	return st.Cache
}

// TestAnothersFailure has one come with a good spec while the volume is being
// opened by a bad one.
func TestAnothersFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad, fail := errors.New("bad spec"), make(chan struct{})
		cfg := Config{Dir: "x", Opener: opener(func(_ context.Context, spec json.RawMessage) (Volume, error) {
			if string(spec) == `"good"` {
				return &volumeOf{pattern: 1 << 20}, nil
			}
			<-fail
			return nil, bad
		})}
		if err := cfg.fill(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := newShelf(ctx, &cfg, "f-")
		s.attach = func(name string) (string, error) { return "/dev/" + name, nil }
		s.detach = func(string, string) error { return nil }
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := s.open(t.Context(), &openArgs{Volume: "v", Owner: "o", Spec: encode("bad")}); !strings.Contains(fmt.Sprint(err), bad.Error()) {
				t.Errorf("got %v, want %v", err, bad)
			}
		})
		synctest.Wait()
		for range 3 {
			group.Go(func() {
				if _, err := s.open(t.Context(), &openArgs{Volume: "v", Owner: "o", Spec: encode("good")}); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		close(fail)
		group.Wait()
		s.clear()
	})
}

// TestShelf opens, releases and drops at random, with no kernel below. At the
// end nothing is open, and each source was closed once.
func TestShelf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		made, closed, attached := 0, 0, make(map[string]bool)
		cfg := Config{Dir: "x", Opener: opener(func(context.Context, json.RawMessage) (Volume, error) {
			mu.Lock()
			defer mu.Unlock()
			if made++; made%10 == 0 {
				closed++
				return nil, errors.New("no")
			}
			return &volumeOf{pattern: 1 << 20, close: func() error {
				mu.Lock()
				defer mu.Unlock()
				closed++
				return nil
			}}, nil
		})}
		if err := cfg.fill(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := newShelf(ctx, &cfg, "f-")
		s.attach = func(name string) (string, error) {
			mu.Lock()
			defer mu.Unlock()
			if attached[name] {
				t.Errorf("%s is attached twice", name)
			}
			attached[name] = true
			return "/dev/" + name, nil
		}
		s.detach = func(_, name string) error {
			mu.Lock()
			defer mu.Unlock()
			delete(attached, name)
			return nil
		}
		var group sync.WaitGroup
		for worker := range 8 {
			random := rand.New(rand.NewPCG(1, uint64(worker)))
			group.Go(func() {
				owner := fmt.Sprint("owner", worker%3)
				for range 500 {
					id := fmt.Sprint(random.IntN(4))
					o, err := s.open(ctx, &openArgs{Volume: id, Owner: owner, Spec: encode(id)})
					if err != nil {
						continue
					}
					mu.Lock()
					if !attached[o.File] {
						t.Errorf("a lease on %s, which is not attached", o.File)
					}
					mu.Unlock()
					if random.IntN(20) > 0 {
						if err := s.release(o.Lease); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		group.Wait()
		for i := range 3 {
			s.drop(&dropArgs{Owner: fmt.Sprint("owner", i)})
		}
		synctest.Wait()
		if !s.closeIfEmpty() {
			t.Errorf("left: %+v", s.list())
		}
		if _, err := s.open(ctx, &openArgs{Volume: "v", Owner: "o"}); !errors.Is(err, errEnding) {
			t.Errorf("open at the end: got %v, want errEnding", err)
		}
		if made != closed || len(attached) > 0 || len(s.leases)+len(s.byNode) > 0 {
			t.Errorf("made %d sources, closed %d, attached %v", made, closed, attached)
		}
	})
}
