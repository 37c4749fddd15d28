package volumefs_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hearth/internal/artifact"
	"hearth/internal/chunk"
	"hearth/internal/mount"
	"hearth/internal/volumefs"
)

// TestMounted goes from an archive to its files.
func TestMounted(t *testing.T) {
	b := start(t, tiered)
	want := b.put(t, "code/f.zip", 3<<20)
	v, dir := b.mounted(t, "code/f.zip")
	if got, err := os.ReadFile(filepath.Join(dir, "file")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %d bytes, %v, want the %d that are in the archive", len(got), err, len(want))
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); !errors.Is(err, syscall.EROFS) {
		t.Errorf("write: got %v, want EROFS", err)
	}
	if v.Image() != nil || v.Size() < int64(len(want)) {
		t.Errorf("image %v, size %d", v.Image(), v.Size())
	}
	b.noManifests(t)

	// The next start fetches ahead what this one has read.
	v.Started(t.Context())
	found, err := b.finder.Find(t.Context(), artifact.Ref{Account: account, Object: "code/f.zip"}, nil)
	if err != nil || len(found.Profile) < 6 {
		t.Errorf("profile %v, %v, want the chunks of the file", found.Profile, err)
	}
	other := b.open(t, "code/f.zip")
	stats, err := b.client.Stats(t.Context(), found.Manifest.ID.String())
	if err != nil || other.Size() != v.Size() {
		t.Error(err)
	}
	if stats.Errors != 0 || stats.PrefetchErrors != 0 {
		t.Errorf("got %+v, want no errors", stats)
	}
	if err := v.Mount(dir); err == nil {
		t.Error("mounted twice at the same place")
	}
}

// TestSpoiltChunks changes chunks on the disk under a mount: readers get EIO
// or what was stored, and nothing else.
func TestSpoiltChunks(t *testing.T) {
	for _, source := range []struct {
		name  string
		tiers func(*testing.T, string) chunk.Source
	}{{"untrusted", untrusted}, {"tiered", tiered}} {
		t.Run(source.name, func(t *testing.T) {
			b := start(t, source.tiers)
			for name, spoil := range map[string]func(t *testing.T, mine, theirs []byte, replayed string) []byte{
				"flipped":   func(_ *testing.T, mine, _ []byte, _ string) []byte { mine[len(mine)/2] ^= 1; return mine },
				"truncated": func(_ *testing.T, mine, _ []byte, _ string) []byte { return mine[:len(mine)/2] },
				"empty":     func(*testing.T, []byte, []byte, string) []byte { return nil },
				"longer":    func(_ *testing.T, mine, _ []byte, _ string) []byte { return append(mine, 0) },
				"swapped":   func(_ *testing.T, _, theirs []byte, _ string) []byte { return theirs },
				"replayed": func(t *testing.T, _, _ []byte, replayed string) []byte {
					content, err := os.ReadFile(replayed)
					if err != nil {
						t.Fatal(err)
					}
					return content
				},
				"gone": nil,
			} {
				t.Run(name, func(t *testing.T) { b.spoilt(t, "code/"+name, spoil) })
			}
		})
	}
}

func (b *bench) spoilt(t *testing.T, object string, spoil func(t *testing.T, mine, theirs []byte, replayed string) []byte) {
	want := b.put(t, object, 3<<20)
	ref := artifact.Ref{Account: account, Object: object}
	_, dir := b.mounted(t, object)
	found, err := b.finder.Find(t.Context(), ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := found.Manifest
	before, err := b.client.Stats(t.Context(), m.ID.String())
	if err != nil {
		t.Fatal(err)
	}
	// The same volume in another root.
	second := b.artifacts(t, 2, filepath.Dir(b.chunks))
	if err := second.Delete(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	twin, err := second.Find(t.Context(), ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	first := -1
	for i, e := range m.Entries {
		if e.Zero || slices.Contains(before.Touched, i) {
			continue // read already, and held
		}
		path := b.chunkFile(m.Root, e.Name)
		mine, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if first < 0 {
			first = i
			continue // one is left as it is
		}
		if spoil == nil {
			err = os.Remove(path)
		} else {
			theirs, err2 := os.ReadFile(b.chunkFile(m.Root, m.Entries[first].Name))
			if err2 != nil {
				t.Fatal(err2)
			}
			replayed := b.chunkFile(twin.Manifest.Root, twin.Manifest.Entries[i].Name)
			err = os.WriteFile(path, spoil(t, mine, theirs, replayed), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	right, failed := readEach(t, filepath.Join(dir, "file"), want, syscall.EIO)
	if right == 0 || failed == 0 {
		t.Errorf("%d pieces were right, %d EIO; want some of both", right, failed)
	}
	stats, err := b.client.Stats(t.Context(), m.ID.String())
	if err != nil || stats.Errors == 0 {
		t.Fatalf("got %+v, %v, want that errors are counted", stats, err)
	}
	// The tiers have set aside what was not the chunk, so that it is missing.
	aside, err := os.ReadDir(filepath.Join(b.chunks, "bad"))
	if err != nil {
		t.Fatal(err)
	}
	why := chunk.ErrIntegrity
	if spoil == nil || len(aside) > 0 {
		why = chunk.ErrNotFound
	}
	if !strings.Contains(stats.LastError, why.Error()) {
		t.Errorf("last error %q, want %q", stats.LastError, why)
	}
}

// TestOriginAway: what is held goes on, what is not is EIO, and all is well
// when the origin is back.
func TestOriginAway(t *testing.T) {
	b := start(t, tiered)
	want := b.put(t, "code/f.zip", 3<<20)
	_, dir := b.mounted(t, "code/f.zip")
	root, away := filepath.Join(b.chunks, "0000000000000001"), filepath.Join(b.chunks, "away")
	if _, err := os.Stat(root); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(root, away); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if _, failed := readEach(t, file, want, syscall.EIO); failed == 0 {
		t.Error("nothing failed without the chunks: the test shows nothing")
	}
	if err := os.Rename(away, root); err != nil {
		t.Fatal(err)
	}
	if _, failed := readEach(t, file, want, syscall.EIO); failed != 0 {
		t.Errorf("%d pieces cannot be read after the chunks are back", failed)
	}
	if err := os.Rename(root, away); err != nil {
		t.Fatal(err)
	}
	if _, failed := readEach(t, file, want, syscall.EIO); failed != 0 {
		t.Errorf("%d pieces that are held cannot be read without the origin", failed)
	}
}

// TestReading counts what is open of a root.
func TestReading(t *testing.T) {
	b := start(t, untrusted)
	b.put(t, "code/f.zip", 1<<20)
	b.put(t, "code/g.zip", 1<<20) // is never open
	ref := artifact.Ref{Account: account, Object: "code/f.zip"}
	closed := artifact.Ref{Account: account, Object: "code/g.zip"}
	expect := func(when string, want bool) {
		t.Helper()
		if got := b.Reading(1); got != want {
			t.Errorf("%s: reading %v, want %v", when, got, want)
		}
	}
	expect("nothing is open", false)
	one, two := b.open(t, "code/f.zip"), b.open(t, "code/f.zip")
	expect("two are open", true)
	for range 3 {
		if err := one.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
	expect("one is open", true)
	if b.Reading(2) {
		t.Error("nothing of root 2 is open")
	}
	if err := two.Release(t.Context()); err != nil {
		t.Error(err)
	}
	expect("all are released", false)

	// blockfs refuses a volume.
	b.finder.change = func(v *artifact.Volume) { v.DataKey = make([]byte, 32) }
	if _, err := b.Open(t.Context(), closed); err == nil {
		t.Error("opened with a wrong key")
	}
	expect("it was refused", false)
	b.noManifests(t)
	b.finder.change = nil

	// A caller leaves.
	ctx, leave := context.WithCancel(t.Context())
	b.finder.change = func(*artifact.Volume) { leave() }
	if _, err := b.Open(ctx, ref); err == nil {
		t.Error("opened for who had left")
	}
	b.finder.change = nil
	expect("who opened it has left", false)
	b.noManifests(t)

	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			v, err := b.Open(t.Context(), ref)
			if err == nil {
				err = v.Release(t.Context())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	expect("many came and went", false)
}

// TestLost: a volume whose blockfs is gone can be released, and counts no more.
func TestLost(t *testing.T) {
	b := start(t, untrusted)
	b.put(t, "code/f.zip", 1<<20)
	v := b.open(t, "code/f.zip")
	if err := b.server.Stop(); err != nil {
		t.Fatal(err)
	}
	<-v.Lost()
	dir := filepath.Join(t.TempDir(), "mnt")
	if err := v.Mount(dir); err == nil {
		t.Error("mounted what is lost")
		_ = mount.Unmount(dir)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory of a failed mount is left: %v", err)
	}
	// There is nobody to release it to, now or later.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := v.Release(ctx); err != nil {
		t.Error(err)
	}
	if b.Reading(1) {
		t.Error("a volume that is lost and released counts as open")
	}
}

// TestFormerLife removes what a killed Host has left.
func TestFormerLife(t *testing.T) {
	b := start(t, untrusted)
	if err := os.WriteFile(filepath.Join(b.dir, "manifest-123"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := volumefs.NewHost(b.finder, b.client, b.dir, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	b.noManifests(t)
	if _, err := b.client.List(t.Context()); err != nil {
		t.Errorf("what is blockfs's own was removed as well: %v", err)
	}
}
