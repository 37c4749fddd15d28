package objectstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"hearth/internal/rootdir/rootdirtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openDir(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := OpenDir(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() }) // some tests have closed it
	return d
}

func put(t *testing.T, s Store, key, body string) {
	t.Helper()
	if err := s.Put(t.Context(), key, strings.NewReader(body)); err != nil {
		t.Fatal(err)
	}
}

// get returns an object's bytes, or "-" if there is none.
func get(t *testing.T, s Store, key string) string {
	t.Helper()
	f, size, err := s.Open(t.Context(), key)
	if errors.Is(err, ErrNotFound) {
		return "-"
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if int64(len(b)) != size {
		t.Errorf("object %s: %d bytes, told %d", key, len(b), size)
	}
	return string(b)
}

func keys(t *testing.T, s Store, prefix string) string {
	t.Helper()
	infos, err := s.List(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, i := range infos {
		all = append(all, fmt.Sprintf("%s:%d", i.Key, i.Size))
	}
	return strings.Join(all, " ")
}

func TestPutOpenDeleteList(t *testing.T) {
	path := t.TempDir()
	s := openDir(t, path)
	put(t, s, "code/a/1.zip", "one")
	put(t, s, "code/a/2.zip", "two!")
	put(t, s, "code/b/1.zip", "")
	put(t, s, "top", "t")
	put(t, s, "top", "replaced")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openDir(t, path)
	for key, want := range map[string]string{"code/a/1.zip": "one", "code/b/1.zip": "", "top": "replaced", "none": "-", "code/a": "-", "code/a/1.zip/x": "-"} {
		if key == "code/a/1.zip/x" {
			if _, _, err := s.Open(t.Context(), key); err == nil {
				t.Errorf("%s was opened", key)
			}
			continue
		}
		if got := get(t, s, key); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
	for prefix, want := range map[string]string{
		"":        "code/a/1.zip:3 code/a/2.zip:4 code/b/1.zip:0 top:8",
		"code/":   "code/a/1.zip:3 code/a/2.zip:4 code/b/1.zip:0",
		"code/a":  "code/a/1.zip:3 code/a/2.zip:4",
		"code/a/": "code/a/1.zip:3 code/a/2.zip:4",
		"co":      "code/a/1.zip:3 code/a/2.zip:4 code/b/1.zip:0",
		"none/":   "",
	} {
		if got := keys(t, s, prefix); got != want {
			t.Errorf("list %q: got %q, want %q", prefix, got, want)
		}
	}
	open, _, err := s.Open(t.Context(), "code/a/1.zip")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"code/a/1.zip", "code/a/1.zip", "code/a/2.zip", "none/at/all"} {
		if err := s.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := io.ReadAll(open); err != nil || string(b) != "one" {
		t.Errorf("an open object: %q, %v", b, err)
	}
	if err := open.Close(); err != nil {
		t.Fatal(err)
	}
	if got := keys(t, s, ""); got != "code/b/1.zip:0 top:8" {
		t.Errorf("after deleting: %q", got)
	}
	if _, err := os.Stat(filepath.Join(path, objectsDir, "code", "a")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an empty directory stayed: %v", err)
	}
}

func TestKeys(t *testing.T) {
	for _, key := range []string{"a", "code/0/A-b_c.zip", strings.Repeat("x", maxSegment), "a..b"} {
		if err := CheckKey(key); err != nil {
			t.Errorf("%.50q: %v", key, err)
		}
	}
	s := openDir(t, t.TempDir())
	for _, key := range []string{"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", ".hidden", "a/.b", "a b",
		"a\x00", "a\\b", "é", strings.Repeat("x", maxSegment+1), strings.Repeat("x/", maxKey)} {
		for name, err := range map[string]error{
			"put":    s.Put(t.Context(), key, strings.NewReader("x")),
			"delete": s.Delete(t.Context(), key),
			"check":  CheckKey(key),
		} {
			if !errors.Is(err, ErrBadKey) {
				t.Errorf("%s %.50q: got %v, want %v", name, key, err, ErrBadKey)
			}
		}
		if _, _, err := s.Open(t.Context(), key); !errors.Is(err, ErrBadKey) {
			t.Errorf("open %.50q: got %v, want %v", key, err, ErrBadKey)
		}
	}
	if _, err := s.List(t.Context(), "../x"); !errors.Is(err, ErrBadKey) {
		t.Errorf("list: got %v, want %v", err, ErrBadKey)
	}
}

func TestPlantedLinksAreNotFollowed(t *testing.T) {
	path, outside := t.TempDir(), t.TempDir()
	s := openDir(t, path)
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(path, objectsDir, "code")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Open(t.Context(), "code/secret"); err == nil {
		t.Error("a file outside was opened")
	}
	if err := s.Put(t.Context(), "code/new", strings.NewReader("x")); err == nil {
		t.Error("a file outside was written")
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
		t.Errorf("outside: %v, %v", entries, err)
	}
}

func TestPutStopsWithItsContextAndItsReader(t *testing.T) {
	s := openDir(t, t.TempDir())
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("client went away")
	cancel(cause)
	if err := s.Put(ctx, "a", strings.NewReader("x")); !errors.Is(err, cause) {
		t.Errorf("got %v, want %v", err, cause)
	}
	r := io.MultiReader(strings.NewReader("half"), failingReader{cause})
	if err := s.Put(t.Context(), "a", r); !errors.Is(err, cause) {
		t.Errorf("got %v, want %v", err, cause)
	}
	if got := get(t, s, "a"); got != "-" {
		t.Errorf("half an object: %q", got)
	}
}

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

// TestEveryFault lets each disk operation of a Put fail in turn.
func TestEveryFault(t *testing.T) {
	for _, fault := range []error{syscall.ENOSPC, syscall.EIO} {
		for at := 1; ; at++ {
			disk := newMemDisk()
			s := mustNewDir(t, disk)
			put(t, s, "code/a/old", "old")
			disk.FailAt(at, fault)
			err := s.Put(t.Context(), "code/b/new", strings.NewReader("new"))
			failed := disk.FailAt(0, nil)
			want := "new"
			if err != nil {
				want = "-"
			}
			if got := get(t, s, "code/b/new"); got != want {
				t.Errorf("%v at operation %d: got %q, want %q", fault, at, got, want)
			}
			if err != nil && errors.Is(fault, syscall.ENOSPC) != errors.Is(err, ErrFull) {
				t.Errorf("%v at operation %d: error %v", fault, at, err)
			}
			if n := len(disk.Files(tempDir)); n != 0 {
				t.Errorf("%v at operation %d: %d temporary files", fault, at, n)
			}
			if got := get(t, s, "code/a/old"); got != "old" {
				t.Errorf("%v at operation %d: the other object is %q", fault, at, got)
			}
			put(t, s, "code/b/new", "again")
			if !failed {
				if at < 8 {
					t.Fatalf("only %d operations were tried", at)
				}
				break
			}
		}
	}
}

// TestEveryFaultOfAnOverwrite lets each disk operation of a Put fail in turn that
// replaces an object: there is the old or the new one, never none.
func TestEveryFaultOfAnOverwrite(t *testing.T) {
	for _, fault := range []error{syscall.ENOSPC, syscall.EIO} {
		seen := make(map[string]int)
		for at := 1; ; at++ {
			disk := newMemDisk()
			s := mustNewDir(t, disk)
			put(t, s, "code/a", "old")
			disk.FailAt(at, fault)
			err := s.Put(t.Context(), "code/a", strings.NewReader("new"))
			failed := disk.FailAt(0, nil)
			if failed != (err != nil) {
				t.Errorf("%v at operation %d: error %v", fault, at, err)
			}
			got := get(t, s, "code/a")
			if got != "new" && (err == nil || got != "old") {
				t.Errorf("%v at operation %d: got %q, error %v", fault, at, got, err)
			}
			if n := len(disk.Files(tempDir)); n != 0 {
				t.Errorf("%v at operation %d: %d temporary files", fault, at, n)
			}
			if !failed {
				break
			}
			seen[got]++
			put(t, s, "code/a", "again")
		}
		if seen["old"] < 5 || seen["new"] < 1 {
			t.Errorf("%v: seen %v, want faults before the rename and after it", fault, seen)
		}
	}
}

// slowDisk lets others go first before names last and before they go, and has
// every second of these syncs fail.
type slowDisk struct {
	memDisk
	syncs atomic.Int32
}

func (d *slowDisk) SyncDir(name string) error {
	runtime.Gosched()
	if name == objectsDir+"/code" && d.syncs.Add(1)%2 == 0 {
		return syscall.EIO
	}
	return d.memDisk.SyncDir(name)
}

func (d *slowDisk) Remove(name string) error {
	runtime.Gosched()
	return d.memDisk.Remove(name)
}

// TestFailedPutTakesItsOwnBack has several store the same new object at once,
// some of whom fail: what one was told is stored no other takes back.
func TestFailedPutTakesItsOwnBack(t *testing.T) {
	for range 100 {
		s := mustNewDir(t, &slowDisk{memDisk: newMemDisk()})
		var wg sync.WaitGroup
		var stored atomic.Bool
		for range 4 {
			wg.Go(func() {
				switch err := s.Put(t.Context(), "code/a", strings.NewReader("new")); {
				case err == nil:
					stored.Store(true)
				case !errors.Is(err, syscall.EIO):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := get(t, s, "code/a"); stored.Load() && got != "new" {
			t.Fatalf("acknowledged, and then %q", got)
		}
	}
}

// TestEveryPowerCut cuts the power before each disk operation of a Put, and
// after the last.
func TestEveryPowerCut(t *testing.T) {
	for at := 1; ; at++ {
		disk := newMemDisk()
		s := mustNewDir(t, disk)
		put(t, s, "code/a/old", "old")
		disk.FailAt(at, rootdirtest.ErrPowerCut)
		err := s.Put(t.Context(), "code/b/new", strings.NewReader("new"))
		failed := disk.FailAt(0, nil)
		after := disk.powerCut()
		s = mustNewDir(t, after)
		got := get(t, s, "code/b/new")
		if err == nil && got != "new" {
			t.Errorf("cut at operation %d: acknowledged, and then %q", at, got)
		}
		if err != nil && got != "-" && got != "new" {
			t.Errorf("cut at operation %d: half an object: %q", at, got)
		}
		if got := get(t, s, "code/a/old"); got != "old" {
			t.Errorf("cut at operation %d: the other object is %q", at, got)
		}
		if n := len(after.Files(tempDir)); n != 0 {
			t.Errorf("cut at operation %d: %d temporary files", at, n)
		}
		if !failed {
			break
		}
	}
}

// TestEveryPowerCutOfAnOverwrite does so with a Put that replaces an object.
func TestEveryPowerCutOfAnOverwrite(t *testing.T) {
	for at := 1; ; at++ {
		disk := newMemDisk()
		s := mustNewDir(t, disk)
		put(t, s, "code/a", "old")
		disk.FailAt(at, rootdirtest.ErrPowerCut)
		err := s.Put(t.Context(), "code/a", strings.NewReader("new"))
		failed := disk.FailAt(0, nil)
		got := get(t, mustNewDir(t, disk.powerCut()), "code/a")
		if got != "new" && (err == nil || got != "old") {
			t.Errorf("cut at operation %d: got %q, error %v", at, got, err)
		}
		if !failed {
			break
		}
	}
}

// TestOpenSweeps is the killed process: its half-written file has a name.
func TestOpenSweeps(t *testing.T) {
	path := t.TempDir()
	put(t, openDir(t, path), "a", "x")
	torn := filepath.Join(path, tempDir, "TORN")
	if err := os.WriteFile(torn, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := openDir(t, path)
	if _, err := os.Stat(torn); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an unfinished object survived: %v", err)
	}
	if got := keys(t, s, ""); got != "a:1" {
		t.Errorf("objects: %q", got)
	}
}

func mustNewDir(t *testing.T, disk disk) *Dir {
	t.Helper()
	d, err := newDir(disk)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestConcurrentPutAndDelete(t *testing.T) {
	s := openDir(t, t.TempDir())
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			body := bytes.Repeat([]byte{byte('a' + w)}, 1000)
			for i := range 30 {
				key := fmt.Sprintf("code/%d/x", i%3)
				if err := s.Put(t.Context(), key, bytes.NewReader(body)); err != nil {
					t.Error(err)
				}
				f, _, err := s.Open(t.Context(), key)
				if err == nil {
					got, rerr := io.ReadAll(f)
					if err := errors.Join(rerr, f.Close()); err != nil || len(got) != 1000 || bytes.Count(got, got[:1]) != 1000 {
						t.Errorf("torn object of %d bytes, %v", len(got), err)
					}
				} else if !errors.Is(err, ErrNotFound) {
					t.Error(err)
				}
				if err := s.Delete(t.Context(), key); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := keys(t, s, ""); got != "" {
		t.Errorf("left: %s", got)
	}
}
