package artifact_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hearth/internal/artifact"
	"hearth/internal/chunk"
	"hearth/internal/volume"
)

// object is what these tests move, an archive of some chunks.
const object = "code/000000000000/f/x.zip"

var ref = artifact.Ref{Account: account, Object: object}

// upload stores the archive.
func (b *bench) upload(t *testing.T) {
	t.Helper()
	b.put(t, object, zipOf(t, "app", strings.Repeat("content of a function's archive ", 64<<10)))
}

func (b *bench) migrate(t *testing.T, object string, want bool) {
	t.Helper()
	if moved, _, err := b.Migrate(t.Context(), object); moved != want || err != nil {
		t.Fatalf("moved %v, %v; want %v", moved, err, want)
	}
}

func TestMigrate(t *testing.T) {
	b := startWith(t, plainKeys{})
	b.upload(t)
	before := b.find(t, ref)
	want := b.content(t, before)
	for range 3 {
		if err := b.Record(t.Context(), ref, []uint32{2, 0}); err != nil {
			t.Fatal(err)
		}
	}
	b.migrate(t, object, false)
	b.active = 2
	b.migrate(t, object, true)
	b.migrate(t, object, false)
	if placed, err := b.Placed(t.Context()); err != nil || !slices.Equal(placed, []artifact.Placed{{Object: object, Root: 2}}) {
		t.Errorf("placed: %v, %v", placed, err)
	}
	if err := b.chunks.DeleteRoot(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	after := b.find(t, ref)
	if after.Manifest.ID == before.Manifest.ID || after.Manifest.ChunkSize != before.Manifest.ChunkSize || !bytes.Equal(b.content(t, after), want) {
		t.Error("the volume is another")
	}
	if !slices.Equal(after.Profile, []uint32{2, 0}) {
		t.Errorf("profile %v, want 2, 0", after.Profile)
	}
	if err := b.Record(t.Context(), ref, []uint32{2, 0}); err != nil {
		t.Fatal(err)
	}
	encoded, err := os.ReadFile(b.path(object, "profile"))
	if err != nil {
		t.Fatal(err)
	}
	if p, err := volume.DecodeProfile(encoded, after.Manifest); err != nil || p.Recordings() != 4 {
		t.Errorf("%v, %v; want 4 recordings", p, err)
	}
}

func TestMigrateImage(t *testing.T) {
	b := startWith(t, plainKeys{})
	ref := artifact.Ref{Account: account, Object: "images/one", Image: "registry/image@sha256:0"}
	b.addImage(t, ref.Image)
	b.find(t, ref)
	b.active = 2
	b.migrate(t, ref.Object, true)
	if v := b.find(t, ref); v.Manifest.Root != 2 || v.Image == nil || !slices.Equal(v.Image.EntryPoint, []string{"/bin/run"}) {
		t.Errorf("root %s, image %+v", v.Manifest.Root, v.Image)
	}
}

// TestMigrateRuntime moves a volume that is no account's, but the operator's.
func TestMigrateRuntime(t *testing.T) {
	b := startWith(t, plainKeys{})
	file := filepath.Join(t.TempDir(), "runtime.ext4")
	want := bytes.Repeat([]byte("managed runtime "), 64<<10)
	if err := os.WriteFile(file, want, 0o600); err != nil {
		t.Fatal(err)
	}
	runtime := artifact.Ref{Account: account, Object: "runtimes/x", File: file}
	b.find(t, runtime)
	b.active = 2
	if moved, _, err := b.Migrate(t.Context(), runtime.Object); !moved || err != nil {
		t.Fatalf("moved %t, %v", moved, err)
	}
	v := b.find(t, runtime)
	if v.Manifest.Root != 2 || v.Manifest.Domain != chunk.Common {
		t.Errorf("root %s, domain %s", v.Manifest.Root, v.Manifest.Domain)
	}
	if !bytes.Equal(b.content(t, v), want) {
		t.Error("the volume is another")
	}
}

// TestDeletedMeanwhile deletes a volume while it is built or moved: it does not
// come back.
func TestDeletedMeanwhile(t *testing.T) {
	for _, moves := range []bool{false, true} {
		b := startWith(t, plainKeys{})
		remove := func() {
			if err := b.Delete(t.Context(), object); err != nil {
				t.Error(err)
			}
		}
		b.upload(t)
		if moves {
			b.find(t, ref)
			b.active, b.sealing = 2, remove
			b.migrate(t, object, false)
		} else {
			b.sealing = remove
			if _, err := b.Find(t.Context(), ref, nil); !errors.Is(err, artifact.ErrDeleted) {
				t.Errorf("find: %v", err)
			}
		}
		if left, err := b.Objects(t.Context(), ""); err != nil || len(left) != 0 {
			t.Errorf("moves %v: left %v, %v", moves, left, err)
		}
	}
}

// TestReplacedMeanwhile deletes a volume while it is moved, and has it built
// again: the new manifest stays, whose chunks may be in yet another root.
func TestReplacedMeanwhile(t *testing.T) {
	b := startWith(t, plainKeys{})
	b.upload(t)
	b.find(t, ref)
	b.active = 2
	b.sealing = func() {
		if err := b.Delete(t.Context(), object); err != nil {
			t.Error(err)
		}
		b.active = 3
		b.find(t, ref)
	}
	b.migrate(t, object, false)
	if got := b.find(t, ref).Manifest.Root; got != 3 {
		t.Errorf("the manifest names root %s, want 3", got)
	}
}

// TestHold finds that whoever opens a volume holds its root before the volume
// can move.
func TestHold(t *testing.T) {
	b := startWith(t, plainKeys{})
	b.upload(t)
	b.find(t, ref)
	var held chunk.Root
	_, err := b.Find(t.Context(), ref, func(root chunk.Root) {
		held = root
		if !b.Locked(object) {
			t.Error("it could be moved")
		}
	})
	if err != nil || held != 1 {
		t.Errorf("held %s, %v", held, err)
	}
}

// TestPlacedUnreadable has a manifest that nobody can tell the root of.
func TestPlacedUnreadable(t *testing.T) {
	b := startWith(t, plainKeys{})
	b.upload(t)
	b.find(t, ref)
	b.put(t, "volumes/code/other.zip/manifest", []byte("something else"))
	if placed, err := b.Placed(t.Context()); !errors.Is(err, volume.ErrManifest) {
		t.Errorf("placed %v, %v", placed, err)
	}
}
