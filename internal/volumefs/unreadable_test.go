package volumefs_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"hearth/internal/artifact"
	"hearth/internal/chunk"
)

// TestMended has chunks rot under a mount, and their volume mended: the same
// mount can be read.
func TestMended(t *testing.T) {
	for name, tiers := range map[string]func(*testing.T, string) chunk.Source{"untrusted": untrusted, "tiered": tiered} {
		t.Run(name, func(t *testing.T) {
			b := start(t, tiers)
			const object = "code/f.zip"
			want := b.put(t, object, 3<<20)
			b.put(t, "code/well.zip", 1<<20)
			_, dir := b.mounted(t, object)
			b.mounted(t, "code/well.zip")
			expect := func(when string, want ...string) {
				t.Helper()
				if got, err := b.Unreadable(t.Context()); err != nil || !slices.Equal(got, want) {
					t.Errorf("%s: unreadable %v, %v; want %v", when, got, err, want)
				}
			}
			expect("all is well")
			found, err := b.finder.Find(t.Context(), artifact.Ref{Account: account, Object: object}, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i, e := range found.Manifest.Entries {
				path := b.chunkFile(found.Manifest.Root, e.Name)
				switch {
				case e.Zero:
				case i%2 == 0:
					err = os.Remove(path)
				default:
					err = os.WriteFile(path, bytes.Repeat([]byte("rot"), 1000), 0o600)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			file := filepath.Join(dir, "file")
			if _, failed := readEach(t, file, want, syscall.EIO); failed == 0 {
				t.Fatal("nothing failed: the test shows nothing")
			}
			expect("after the reads", object)
			expect("nothing was read since")
			if n, err := b.finder.Mend(t.Context(), object); n == 0 || err != nil {
				t.Fatalf("mended %d chunks, %v", n, err)
			}
			if _, failed := readEach(t, file, want, syscall.EIO); failed != 0 {
				t.Errorf("%d pieces cannot be read of what was mended", failed)
			}
			expect("after the reads of what was mended")
		})
	}
}

// TestUnreadableIsOpen: what is closed is not looked at.
func TestUnreadableIsOpen(t *testing.T) {
	b := start(t, untrusted)
	for _, object := range []string{"code/f.zip", "code/same.zip"} {
		if err := b.objects.Put(t.Context(), object, bytes.NewReader(archive(t, []byte("content")))); err != nil {
			t.Fatal(err)
		}
	}
	one, two, three := b.open(t, "code/f.zip"), b.open(t, "code/f.zip"), b.open(t, "code/same.zip")
	found, err := b.finder.Find(t.Context(), artifact.Ref{Account: account, Object: "code/f.zip"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range found.Manifest.Entries {
		if e.Zero {
			continue
		}
		if err := os.Remove(b.chunkFile(found.Manifest.Root, e.Name)); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(want ...string) {
		t.Helper()
		// Not mounted: that would not go.
		dir := filepath.Join(t.TempDir(), "mnt")
		if err := three.Mount(dir); err == nil {
			t.Fatal("mounted without its chunks")
		}
		if got, err := b.Unreadable(t.Context()); err != nil || !slices.Equal(got, want) {
			t.Errorf("unreadable %v, %v; want %v", got, err, want)
		}
	}
	release := func(v interface{ Release(context.Context) error }) {
		t.Helper()
		if err := v.Release(t.Context()); err != nil {
			t.Error(err)
		}
	}
	expect("code/f.zip", "code/same.zip")
	release(one)
	expect("code/f.zip", "code/same.zip")
	release(two)
	expect("code/same.zip")
	release(three)
	if got, err := b.Unreadable(t.Context()); err != nil || len(got) > 0 {
		t.Errorf("nothing is open: %v, %v", got, err)
	}
}
