package artifact_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"hearth/internal/artifact"
	"hearth/internal/chunk"
	"hearth/internal/volume"
)

// chunkFile is where a chunk is.
func (b *bench) chunkFile(root chunk.Root, name chunk.Name) string {
	return filepath.Join(b.data, "chunks", root.String(), name.String()[:2], name.String())
}

// damages are what happens to a chunk on a disk.
var damages = map[string]func(path string) error{
	"gone": os.Remove,
	"flipped": func(path string) error {
		content, err := os.ReadFile(path)
		if err == nil {
			content[len(content)/2] ^= 1
			err = os.WriteFile(path, content, 0o600)
		}
		return err
	},
	"cut": func(path string) error { return os.Truncate(path, 100) },
}

// damaged builds the archive's volume and damages some of its chunks.
func (b *bench) damaged(t *testing.T, damage func(path string) error) (v *artifact.Volume, content []byte, n int) {
	t.Helper()
	b.upload(t)
	v = b.find(t, ref)
	content = b.content(t, v)
	all := names(v)
	if len(all) < 3 {
		t.Fatalf("only chunks %v", all)
	}
	for _, name := range all[1:] {
		if err := damage(b.chunkFile(v.Manifest.Root, name)); err != nil {
			t.Fatal(err)
		}
	}
	return v, content, len(all) - 1
}

// TestMend damages chunks at the origin: whoever has the volume open can read it
// again, and so can who opens it from then on.
func TestMend(t *testing.T) {
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			b := startWith(t, plainKeys{})
			before, want, damaged := b.damaged(t, damage)
			if n, err := b.Mend(t.Context(), object); n != damaged || err != nil {
				t.Fatalf("mended %d chunks, %v; want %d", n, err, damaged)
			}
			if !bytes.Equal(b.content(t, before), want) {
				t.Error("what was open has other bytes")
			}
			after := b.find(t, ref)
			if after.Manifest.ID != before.Manifest.ID || !bytes.Equal(b.content(t, after), want) {
				t.Error("the volume is another")
			}
			// There is nothing more to do.
			manifest, err := os.ReadFile(b.path(object, "manifest"))
			if err != nil {
				t.Fatal(err)
			}
			if n, err := b.Mend(t.Context(), object); n != 0 || err != nil {
				t.Errorf("mended %d chunks again, %v", n, err)
			}
			if now, err := os.ReadFile(b.path(object, "manifest")); err != nil || !bytes.Equal(now, manifest) {
				t.Errorf("a sound volume was made anew: %v", err)
			}
		})
	}
}

// TestMendOnTheMove finds chunks damaged when their volume is moved.
func TestMendOnTheMove(t *testing.T) {
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			b := startWith(t, plainKeys{})
			_, want, _ := b.damaged(t, damage)
			b.active = 2
			b.migrate(t, object, true)
			if v := b.find(t, ref); v.Manifest.Root != 2 || !bytes.Equal(b.content(t, v), want) {
				t.Errorf("root %s, or other bytes", v.Manifest.Root)
			}
		})
	}
}

// TestNotMended has volumes that cannot be made anew, or must not.
func TestNotMended(t *testing.T) {
	t.Run("no archive", func(t *testing.T) {
		b := startWith(t, plainKeys{})
		image := artifact.Ref{Account: account, Object: "images/one", Image: "image"}
		b.addImage(t, image.Image)
		v := b.find(t, image)
		for _, name := range names(v) {
			if err := os.Remove(b.chunkFile(root, name)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.Mend(t.Context(), image.Object); err == nil {
			t.Error("an image was mended without its layers")
		}
		b.active = 2
		if moved, _, err := b.Migrate(t.Context(), image.Object); moved || !errors.Is(err, chunk.ErrNotFound) {
			t.Errorf("moved %v, %v; want chunk.ErrNotFound", moved, err)
		}
		if now := b.find(t, image); now.Manifest.ID != v.Manifest.ID || now.Image == nil {
			t.Error("the manifest was changed")
		}
	})
	t.Run("a runtime", func(t *testing.T) {
		b := startWith(t, plainKeys{})
		file := filepath.Join(t.TempDir(), "runtime.ext4")
		if err := os.WriteFile(file, bytes.Repeat([]byte("managed runtime "), 64<<10), 0o600); err != nil {
			t.Fatal(err)
		}
		runtime := artifact.Ref{Account: account, Object: "runtimes/x", File: file}
		for _, name := range names(b.find(t, runtime)) {
			if err := os.Remove(b.chunkFile(root, name)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.Mend(t.Context(), runtime.Object); err == nil {
			t.Error("mended without its file")
		}
	})
	t.Run("none", func(t *testing.T) {
		b := startWith(t, plainKeys{})
		if n, err := b.Mend(t.Context(), object); n != 0 || err != nil {
			t.Errorf("mended %d chunks of nothing, %v", n, err)
		}
	})
	t.Run("deleted meanwhile", func(t *testing.T) {
		for _, moves := range []bool{false, true} {
			b := startWith(t, plainKeys{})
			b.damaged(t, os.Remove)
			// The archive goes after the volume: it is there still.
			b.sealing = func() {
				if err := b.Delete(t.Context(), object); err != nil {
					t.Error(err)
				}
			}
			if moves {
				b.active = 2
				b.migrate(t, object, false)
			} else if n, err := b.Mend(t.Context(), object); n != 0 || err != nil {
				t.Errorf("mended %d chunks, %v", n, err)
			}
			if v, err := b.Objects(t.Context(), ""); err != nil || len(v) > 0 {
				t.Errorf("a deleted volume came back: %v, %v", v, err)
			}
		}
	})
	t.Run("an unreadable manifest", func(t *testing.T) {
		b := startWith(t, plainKeys{})
		b.put(t, "volumes/"+object+"/manifest", []byte("something else"))
		if _, err := b.Mend(t.Context(), object); !errors.Is(err, volume.ErrManifest) {
			t.Errorf("got %v, want volume.ErrManifest", err)
		}
	})
}
