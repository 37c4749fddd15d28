package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"hearth/internal/ociname"
	"hearth/internal/rootdir"
)

var errPowerCut = errors.New("power cut")

// faultDisk is a real directory below which the power can be cut, and which
// knows what would be lost by that: bytes that were not synced, and names that
// came to be in a directory that was not.
type faultDisk struct {
	rootDisk

	mu       sync.Mutex
	dir      string
	left     int // operations until the fault; negative for none
	fault    error
	once     bool              // the fault strikes once
	synced   map[string]int64  // how much of a file is durable, by its name now
	unsynced map[string]bool   // names that are not durable
	was      map[string]string // durable names that those had before a rename
}

func newFaultDisk(t *testing.T, dir string) *faultDisk {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	return &faultDisk{rootDisk: rootDisk{rootdir.Dir{Root: root}}, dir: dir, left: -1, synced: map[string]int64{}, unsynced: map[string]bool{}, was: map[string]string{}}
}

// op is called before each operation that changes the disk.
func (d *faultDisk) op() error {
	switch {
	case d.left < 0:
		return nil
	case d.left > 0:
		d.left--
		return nil
	}
	if d.once {
		d.left = -1
	}
	return d.fault
}

func (d *faultDisk) change(f func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op(); err != nil {
		return err
	}
	return f()
}

func (d *faultDisk) Create(name string) (f file, err error) {
	return f, d.change(func() error {
		f, err = d.rootDisk.Create(name)
		d.synced[name], d.unsynced[name] = 0, true
		f = &faultFile{f, d, name, 0}
		return err
	})
}

func (d *faultDisk) Append(name string) (f file, err error) {
	return f, d.change(func() error {
		if f, err = d.rootDisk.Append(name); err != nil {
			return err
		}
		info, err := d.Stat(name)
		f = &faultFile{f, d, name, info.Size()}
		if _, known := d.synced[name]; !known {
			d.synced[name] = info.Size()
		}
		return err
	})
}

func (d *faultDisk) Rename(from, to string) error {
	return d.change(func() error {
		if n, ok := d.synced[from]; ok {
			d.synced[to] = n
			delete(d.synced, from)
		}
		if !d.unsynced[from] {
			d.was[to] = from
		}
		delete(d.unsynced, from)
		d.unsynced[to] = true
		return d.rootDisk.Rename(from, to)
	})
}

func (d *faultDisk) Remove(name string) error {
	return d.change(func() error {
		delete(d.synced, name)
		delete(d.unsynced, name)
		return d.rootDisk.Remove(name)
	})
}

func (d *faultDisk) Mkdir(name string) error {
	return d.change(func() error {
		err := d.rootDisk.Mkdir(name)
		if err == nil {
			d.unsynced[name] = true
		}
		return err
	})
}

func (d *faultDisk) SyncDir(name string) error {
	return d.change(func() error {
		for other := range d.unsynced {
			if path.Dir(other) == name {
				delete(d.unsynced, other)
			}
		}
		return nil
	})
}

// cut is what the power's return finds.
func (d *faultDisk) cut(t *testing.T) {
	t.Helper()
	for name := range d.unsynced {
		if from, ok := d.was[name]; ok { // a rename happens whole or not at all
			if err := os.Rename(path.Join(d.dir, name), path.Join(d.dir, from)); err != nil {
				t.Fatal(err)
			}
			d.synced[from] = d.synced[name]
			continue
		}
		if err := os.RemoveAll(path.Join(d.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, size := range d.synced {
		if err := os.Truncate(path.Join(d.dir, name), size); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

type faultFile struct {
	file
	disk *faultDisk
	name string
	size int64
}

func (f *faultFile) Write(p []byte) (n int, err error) {
	err = f.disk.change(func() error {
		n, err = f.file.Write(p)
		f.size += int64(n)
		return err
	})
	if err != nil && n == 0 && len(p) > 1 && !errors.Is(err, errPowerCut) {
		n, _ = f.file.Write(p[:len(p)/2]) // a full disk takes some
	}
	return n, err
}

func (f *faultFile) Sync() error {
	return f.disk.change(func() error {
		f.disk.synced[f.name] = f.size
		return nil
	})
}

func (f *faultFile) Close() error {
	return errors.Join(f.file.Close(), f.disk.change(func() error { return nil }))
}

// history is a push of two images, as a client does it: it stops at the first
// error, and remembers what was acknowledged.
type history struct {
	acknowledged []string
	upload       string
}

var ctx = context.Background()

func (h *history) run(s *Store) error {
	h.acknowledged, h.upload = nil, ""
	ack := func(what string, err error) error {
		if err == nil {
			h.acknowledged = append(h.acknowledged, what)
		}
		return err
	}
	chunked := func() error {
		id, err := s.StartUpload(ctx, alice, "app")
		if err != nil {
			return err
		}
		for i, part := range []string{"lay", "er"} {
			if _, err := s.Append(ctx, alice, "app", id, AtEnd, strings.NewReader(part)); err != nil {
				return err
			}
			h.upload = fmt.Sprint(id, " ", []int{3, 5}[i])
		}
		err = s.FinishUpload(ctx, alice, "app", id, ociname.Digest([]byte("layer")))
		if err == nil {
			h.upload = ""
		}
		return err
	}
	whole := func(content string) error {
		id, err := s.StartUpload(ctx, alice, "app")
		if err == nil {
			_, err = s.Append(ctx, alice, "app", id, AtEnd, strings.NewReader(content))
		}
		if err == nil {
			err = s.FinishUpload(ctx, alice, "app", id, ociname.Digest([]byte(content)))
		}
		return err
	}
	put := func(name, tag string, blobs ...string) error {
		_, err := s.PutManifest(ctx, alice, name, tag, imageType, []byte(manifest(blobs...)))
		return err
	}
	mount := func(content string) error {
		mounted, err := s.Mount(ctx, alice, "app", "other", ociname.Digest([]byte(content)))
		if err == nil && !mounted {
			return errors.New("not mounted")
		}
		return err
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"blob app layer", chunked},
		{"blob app config", func() error { return whole("config") }},
		{"tag app v1", func() error { return put("app", "v1", "config", "layer") }},
		{"blob app config", func() error { return whole("config") }}, // again
		{"blob other config", func() error { return mount("config") }},
		{"tag other v1", func() error { return put("other", "v1", "config") }},
	} {
		if err := ack(step.what, step.do()); err != nil {
			return err
		}
	}
	return nil
}

// check makes sure that what was acknowledged is there, and that no more is
// there than makes sense.
func (h *history) check(t *testing.T, s *Store, when string) {
	t.Helper()
	for _, what := range h.acknowledged {
		var kind, name, value string
		if _, err := fmt.Sscan(what, &kind, &name, &value); err != nil {
			t.Fatal(err)
		}
		var err error
		if kind == "tag" {
			err = whole(s, name, value)
		} else {
			err = same(s, name, value)
		}
		if err != nil {
			t.Errorf("%s: %s was acknowledged: %v", when, what, err)
		}
	}
	if id, size, ok := strings.Cut(h.upload, " "); ok && !slices.Contains(h.acknowledged, "blob app layer") {
		// The end of it may have come to be without having been acknowledged.
		if got, err := s.UploadSize(ctx, alice, "app", id); same(s, "app", "layer") != nil && (err != nil || fmt.Sprint(got) < size) {
			t.Errorf("%s: %s bytes of an upload were acknowledged: %d, %v", when, size, got, err)
		}
	}
	for _, name := range []string{"app", "other"} {
		tags, err := s.Tags(ctx, alice, name)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", when, err)
		}
		for _, tag := range tags {
			if err := whole(s, name, tag); err != nil {
				t.Errorf("%s: there is a tag %s: %v", when, tag, err)
			}
		}
	}
}

// whole says whether an image is there with all it needs.
func whole(s *Store, name, tag string) error {
	data, mediaType, err := s.Manifest(ctx, alice, name, tag)
	if err != nil {
		return err
	}
	p, err := parseManifest(mediaType, data)
	if err != nil {
		return err
	}
	for _, d := range p.blobs() {
		if err := read(s, name, d.Digest); err != nil {
			return err
		}
	}
	return nil
}

func same(s *Store, name, content string) error {
	return read(s, name, ociname.Digest([]byte(content)))
}

func read(s *Store, name, digest string) error {
	f, _, err := s.Blob(ctx, alice, name, digest)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(f)
	if err == nil && ociname.Digest(data) != digest {
		err = fmt.Errorf("%s is %q", digest, data)
	}
	return errors.Join(err, f.Close())
}

func reopen(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := openStore(ctx, newFaultDisk(t, dir), StoreOptions{}) // without faults, and without waiting for syncs
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestCrash ends the process, or cuts the power, after each operation of the
// disk in turn; then a new process must find what was acknowledged, and be
// able to do all again.
func TestCrash(t *testing.T) {
	for _, power := range []bool{false, true} {
		for n := 0; ; n++ {
			when := fmt.Sprintf("power %v, after %d operations", power, n)
			dir := t.TempDir()
			d := newFaultDisk(t, dir)
			s, err := openStore(ctx, d, StoreOptions{})
			if err != nil {
				t.Fatal(err)
			}
			d.left, d.fault = n, errPowerCut
			var h history
			err = h.run(s)
			s.Close()
			if err != nil && !errors.Is(err, errPowerCut) {
				t.Fatalf("%s: %v", when, err)
			}
			if power {
				d.cut(t)
			}
			s = reopen(t, dir)
			h.check(t, s, when)
			if again := h.run(s); again != nil {
				t.Errorf("%s: again: %v", when, again)
			}
			h.check(t, s, when+", again")
			expectUsage(t, s, dir, when)
			s.Close()
			if err == nil {
				if n < 30 {
					t.Errorf("only %d operations", n)
				}
				break
			}
		}
	}
}

func expectUsage(t testing.TB, s *Store, dir, when string) {
	t.Helper()
	var sum int64
	if err := measureTree(dir, &sum); err != nil {
		t.Fatal(err)
	}
	if used, _ := s.Used(alice); used != sum {
		t.Errorf("%s: used %d, on disk %d", when, used, sum)
	}
}

// TestFullDisk fills the disk at each operation in turn: the client is told
// so, nothing is left over, and with room again everything works.
func TestFullDisk(t *testing.T) {
	for n := 0; ; n++ {
		when := fmt.Sprintf("full at operation %d", n)
		dir := t.TempDir()
		d := newFaultDisk(t, dir)
		s, err := openStore(ctx, d, StoreOptions{})
		if err != nil {
			t.Fatal(err)
		}
		d.left, d.fault, d.once = n, syscall.ENOSPC, true
		var h history
		err = h.run(s)
		struck := d.left < 0
		var e *Error
		if err != nil && (!errors.As(err, &e) || e.Status != 507) {
			t.Errorf("%s: %v", when, err)
		}
		d.left = -1
		h.upload = "" // is over, if it was that which had no room
		h.check(t, s, when)
		if again := h.run(s); again != nil {
			t.Errorf("%s: again: %v", when, again)
		}
		expectUsage(t, s, dir, when)
		s.Close()
		s = reopen(t, dir)
		h.check(t, s, when)
		if left, err := os.ReadDir(path.Join(dir, alice, tempDir)); err != nil || len(left) > 0 {
			t.Errorf("%s: %v %v", when, left, err)
		}
		s.Close()
		if !struck {
			break
		}
	}
}
