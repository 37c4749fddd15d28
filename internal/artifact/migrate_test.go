package artifact

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"hearth/internal/archive"
	"hearth/internal/chunk"
	"hearth/internal/chunkstore/origin"
	"hearth/internal/flatten"
	"hearth/internal/function"
	"hearth/internal/keyring"
	"hearth/internal/objectstore"
	"hearth/internal/volume"
)

const (
	account = "000000000000"
	object  = "code/000000000000/f/x.zip"
)

var ref = Ref{Account: account, Object: object}

// bench is a service over real stores, whose root and keys tests change.
type bench struct {
	*Service
	objects *objectstore.Dir
	chunks  *origin.Dir
	root    chunk.Root
	begun   int
	// sealing, if there is one, is called once when a data key is sealed: the
	// chunks are stored by then, and the manifest is not visible.
	sealing func()
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{root: 1}
	var err error
	if b.objects, err = objectstore.OpenDir(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if b.chunks, err = origin.OpenDir(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	b.Service = New(Config{Objects: b.objects, Chunks: b.chunks, Keys: keys{b}, Salt: chunk.Salt{Epoch: 1}, Roots: b, Images: images{}, Operator: account, TempDir: t.TempDir()})
	t.Cleanup(func() {
		b.Stop()
		if err := errors.Join(b.objects.Close(), b.chunks.Close()); err != nil {
			t.Error(err)
		}
		if b.begun != 0 || len(b.marks) != 0 {
			t.Errorf("%d builds have not ended, %d marks are left", b.begun, len(b.marks))
		}
	})
	return b
}

func (b *bench) Begin(context.Context) (chunk.Root, func(), error) {
	b.begun++
	return b.root, func() { b.begun-- }, nil
}

type sealed struct {
	Binding   keyring.Binding
	Plaintext []byte
}

type keys struct{ *bench }

func (b keys) Seal(_ context.Context, binding keyring.Binding, plaintext []byte) ([]byte, error) {
	if do := b.sealing; do != nil && binding.Purpose == dataKeyPurpose {
		b.sealing = nil
		do()
	}
	return json.Marshal(sealed{binding, plaintext})
}

func (keys) Open(_ context.Context, binding keyring.Binding, ciphertext []byte) ([]byte, error) {
	var v sealed
	if err := json.Unmarshal(ciphertext, &v); err != nil || v.Binding != binding {
		return nil, errors.New("refused")
	}
	return v.Plaintext, nil
}

// zipped is of one file, of some chunks.
func zipped(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.CreateHeader(&zip.FileHeader{Name: "app", Method: zip.Store})
	if err == nil {
		_, err = w.Write(bytes.Repeat([]byte("content of a function's archive "), 64<<10))
	}
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// images has one image.
type images struct{}

func (images) Open(context.Context, string, string, func(int)) (*Image, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create("app")
	if err == nil {
		_, err = w.Write([]byte("content of an image"))
	}
	if err := errors.Join(err, z.Close()); err != nil {
		return nil, err
	}
	layer := flatten.Zip{Archives: []archive.Source{{ReaderAt: bytes.NewReader(b.Bytes()), Size: int64(b.Len())}}, Limits: archive.Default()}
	return &Image{Layers: []flatten.Layer{layer}, Config: function.ImageConfig{Command: []string{"app"}}}, nil
}

func (b *bench) find(t *testing.T, ref Ref) *Volume {
	t.Helper()
	v, err := b.Find(t.Context(), ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (b *bench) upload(t *testing.T) *Volume {
	t.Helper()
	if err := b.objects.Put(t.Context(), object, bytes.NewReader(zipped(t))); err != nil {
		t.Fatal(err)
	}
	return b.find(t, ref)
}

func (b *bench) content(t *testing.T, v *Volume) []byte {
	t.Helper()
	seal := b.sealer(ref)
	keys, err := v.Manifest.Unseal(t.Context(), seal)
	if err != nil {
		t.Fatal(err)
	}
	opened, err := volume.Open(v.Manifest, keys, v.Extra, b.chunks, volume.Options{})
	if err != nil {
		t.Fatal(err)
	}
	all := make([]byte, opened.Size())
	if _, err := opened.ReadAt(t.Context(), all, 0); err != nil {
		t.Fatal(err)
	}
	return all
}

func (b *bench) migrate(t *testing.T, object string, want bool) {
	t.Helper()
	if moved, _, err := b.Migrate(t.Context(), object); moved != want || err != nil {
		t.Fatalf("moved %v, %v; want %v", moved, err, want)
	}
}

func TestMigrate(t *testing.T) {
	b := newBench(t)
	before := b.upload(t)
	want := b.content(t, before)
	for range 3 {
		if err := b.Record(t.Context(), ref, []uint32{2, 0}); err != nil {
			t.Fatal(err)
		}
	}
	b.migrate(t, object, false)
	b.root = 2
	b.migrate(t, object, true)
	b.migrate(t, object, false)
	if placed, err := b.Placed(t.Context()); err != nil || !slices.Equal(placed, []Placed{{object, 2}}) {
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
	m, _, err := b.manifest(t.Context(), object)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := b.profile(t.Context(), object, m); err != nil || p.Recordings() != 4 {
		t.Errorf("%d recordings, %v; want 4", p.Recordings(), err)
	}
}

func TestMigrateImage(t *testing.T) {
	b := newBench(t)
	ref := Ref{Account: account, Object: "images/one", Image: "registry/image@sha256:0"}
	b.find(t, ref)
	b.root = 2
	b.migrate(t, ref.Object, true)
	if v := b.find(t, ref); v.Manifest.Root != 2 || v.Image == nil || !slices.Equal(v.Image.Command, []string{"app"}) {
		t.Errorf("root %s, image %+v", v.Manifest.Root, v.Image)
	}
}

// TestDeletedMeanwhile deletes a volume while it is built or moved: it does not
// come back.
// TestMigrateRuntime moves a volume that is no account's, but the operator's.
func TestMigrateRuntime(t *testing.T) {
	b := newBench(t)
	file := filepath.Join(t.TempDir(), "runtime.ext4")
	want := bytes.Repeat([]byte("managed runtime "), 64<<10)
	if err := os.WriteFile(file, want, 0o600); err != nil {
		t.Fatal(err)
	}
	runtime := Ref{Account: account, Object: "runtimes/x", File: file}
	b.find(t, runtime)
	b.root = 2
	if moved, _, err := b.Migrate(t.Context(), runtime.Object); !moved || err != nil {
		t.Fatalf("moved %t, %v", moved, err)
	}
	v := b.find(t, runtime)
	keys, err := v.Manifest.Unseal(t.Context(), b.sealer(runtime))
	if err != nil || v.Manifest.Root != 2 || v.Manifest.Domain != chunk.Common {
		t.Fatalf("root %s, domain %s, %v", v.Manifest.Root, v.Manifest.Domain, err)
	}
	opened, err := volume.Open(v.Manifest, keys, v.Extra, b.chunks, volume.Options{})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, opened.Size())
	if _, err := opened.ReadAt(t.Context(), got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %v", err)
	}
}

func TestDeletedMeanwhile(t *testing.T) {
	for _, moves := range []bool{false, true} {
		b := newBench(t)
		remove := func() {
			if err := b.Delete(t.Context(), object); err != nil {
				t.Error(err)
			}
		}
		if moves {
			b.upload(t)
			b.root, b.sealing = 2, remove
			b.migrate(t, object, false)
		} else {
			b.sealing = remove
			if err := b.objects.Put(t.Context(), object, bytes.NewReader(zipped(t))); err != nil {
				t.Fatal(err)
			}
			if _, err := b.Find(t.Context(), ref, nil); !errors.Is(err, errDeleted) {
				t.Errorf("find: %v", err)
			}
		}
		if left, err := b.objects.List(t.Context(), prefix); err != nil || len(left) != 0 {
			t.Errorf("moves %v: left %v, %v", moves, left, err)
		}
	}
}

// TestReplacedMeanwhile deletes a volume while it is moved, and has it built
// again: the new manifest stays, whose chunks may be in yet another root.
func TestReplacedMeanwhile(t *testing.T) {
	b := newBench(t)
	b.upload(t)
	b.root = 2
	b.sealing = func() {
		if err := b.Delete(t.Context(), object); err != nil {
			t.Error(err)
		}
		b.root = 3
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
	b := newBench(t)
	b.upload(t)
	var held chunk.Root
	_, err := b.Find(t.Context(), ref, func(root chunk.Root) {
		held = root
		if m := b.mark(object); m.TryLock() {
			t.Error("it could be moved")
		}
		b.unmark(object)
	})
	if err != nil || held != 1 {
		t.Errorf("held %s, %v", held, err)
	}
}

// TestPlacedUnreadable has a manifest that nobody can tell the root of.
func TestPlacedUnreadable(t *testing.T) {
	b := newBench(t)
	b.upload(t)
	if err := b.put(t.Context(), "code/other.zip", manifestObject, []byte("something else")); err != nil {
		t.Fatal(err)
	}
	if placed, err := b.Placed(t.Context()); !errors.Is(err, volume.ErrManifest) {
		t.Errorf("placed %v, %v", placed, err)
	}
}
