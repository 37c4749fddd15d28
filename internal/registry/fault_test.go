package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"hearth/internal/ociname"
	"hearth/internal/rootdir/rootdirtest"
)

// memDisk is a disk that fails when it is told to, and loses power.
type memDisk struct{ *rootdirtest.Disk }

func newMemDisk() memDisk {
	d := memDisk{rootdirtest.New()}
	d.Now = time.Now // uploads grow old
	return d
}

func (d memDisk) Create(name string) (file, error) {
	f, err := d.Disk.Create(name)
	if err != nil {
		return nil, err // not a file that is nil
	}
	return f, nil
}

func (d memDisk) Append(name string) (file, error) {
	f, err := d.Disk.Append(name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d memDisk) Open(name string) (readFile, error) {
	f, err := d.Disk.Open(name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d memDisk) SyncDir(name string) error { return d.Sync(name) }

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

func open(t *testing.T, d memDisk) *Store {
	t.Helper()
	s, err := openStore(ctx, d, StoreOptions{})
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
		for n := 1; ; n++ {
			when := fmt.Sprintf("power %v, at operation %d", power, n)
			d := newMemDisk()
			s := open(t, d)
			d.FailAt(n, rootdirtest.ErrPowerCut)
			var h history
			err := h.run(s)
			s.Close()
			if err != nil && !errors.Is(err, rootdirtest.ErrPowerCut) {
				t.Fatalf("%s: %v", when, err)
			}
			if power {
				d = memDisk{d.PowerCut()}
			} else {
				d = memDisk{d.Kill()}
			}
			s = open(t, d)
			h.check(t, s, when)
			if again := h.run(s); again != nil {
				t.Errorf("%s: again: %v", when, again)
			}
			h.check(t, s, when+", again")
			expectUsage(t, s, d.ReadDir, when)
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

func expectUsage(t testing.TB, s *Store, readDir func(string) ([]fs.DirEntry, error), when string) {
	t.Helper()
	sum, err := measureTree(readDir)
	if err != nil {
		t.Fatal(err)
	}
	if used, _ := s.Used(alice); used != sum {
		t.Errorf("%s: used %d, on disk %d", when, used, sum)
	}
}

// TestFullDisk fills the disk at each operation in turn: the client is told
// so, nothing is left over, and with room again everything works.
func TestFullDisk(t *testing.T) {
	for n := 1; ; n++ {
		when := fmt.Sprintf("full at operation %d", n)
		d := newMemDisk()
		s := open(t, d)
		d.FailAt(n, syscall.ENOSPC)
		var h history
		err := h.run(s)
		struck := d.FailAt(0, nil)
		var e *Error
		if err != nil && (!errors.As(err, &e) || e.Status != 507) {
			t.Errorf("%s: %v", when, err)
		}
		h.upload = "" // is over, if it was that which had no room
		h.check(t, s, when)
		if again := h.run(s); again != nil {
			t.Errorf("%s: again: %v", when, again)
		}
		expectUsage(t, s, d.ReadDir, when)
		s.Close()
		s = open(t, memDisk{d.Kill()})
		h.check(t, s, when)
		if left, err := d.ReadDir(path.Join(alice, tempDir)); err != nil || len(left) > 0 {
			t.Errorf("%s: %v %v", when, left, err)
		}
		s.Close()
		if !struck {
			break
		}
	}
}
