package artifact_test

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"hearth/internal/artifact"
	"hearth/internal/chunk"
	"hearth/internal/chunkstore/origin"
	"hearth/internal/etcd"
	"hearth/internal/flatten"
	"hearth/internal/function"
	"hearth/internal/keyring"
	"hearth/internal/objectstore"
	"hearth/internal/volume"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	account = "000000000000"
	other   = "111111111111"
	// root is where volumes are built, until a test moves them.
	root = chunk.Root(1)
)

// bench is a service over real stores in a directory.
type bench struct {
	*artifact.Service
	data    string
	objects *objectstore.Dir
	chunks  *origin.Dir
	// active is the root that is built in, and begun how many builds are under
	// way.
	active chunk.Root
	begun  atomic.Int32
	// begin, if there is one, is called by each build before it stores.
	begin func()
	// broken, if there is one, fails the writing of objects.
	broken func(key string) error
	// sealing, if there is one, is called once when a data key is sealed: the
	// chunks are stored by then, and the manifest is not visible.
	sealing func()
	// images are by what they resolve to.
	images map[string]*artifact.Image
	err    error // of images that there are none of
}

func start(t testing.TB) *bench {
	t.Helper()
	_, ring := keys(t)
	return startWith(t, ring)
}

func startWith(t testing.TB, ring artifact.Keys) *bench {
	t.Helper()
	b := &bench{data: t.TempDir(), active: root, images: make(map[string]*artifact.Image)}
	for _, dir := range []string{"objects", "chunks", "builds"} {
		if err := os.Mkdir(filepath.Join(b.data, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if b.objects, err = objectstore.OpenDir(filepath.Join(b.data, "objects")); err != nil {
		t.Fatal(err)
	}
	if b.chunks, err = origin.OpenDir(filepath.Join(b.data, "chunks")); err != nil {
		t.Fatal(err)
	}
	b.Service = artifact.New(artifact.Config{
		Objects: store{b.objects, b}, Chunks: b.chunks, Keys: sealers{ring, b}, Salt: chunk.Salt{Epoch: 1, Secret: [32]byte{1, 2, 3}},
		Roots: b, Images: b, Operator: account, TempDir: filepath.Join(b.data, "builds"), Builds: 16,
	})
	t.Cleanup(func() {
		b.Stop()
		if err := errors.Join(b.chunks.Close(), b.objects.Close()); err != nil {
			t.Error(err)
		}
		if begun, marks := b.begun.Load(), b.Marks(); begun != 0 || marks != 0 {
			t.Errorf("%d builds have not ended, %d marks are left", begun, marks)
		}
		if left, err := os.ReadDir(filepath.Join(b.data, "builds")); err != nil || len(left) > 0 {
			t.Errorf("builds left %v, %v", left, err)
		}
	})
	return b
}

// keys opens a real keyring.
func keys(t testing.TB) (*clientv3.Client, *keyring.Keyring) {
	t.Helper()
	server, err := etcd.Start(t.Context(), etcd.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	ring, err := keyring.Open(t.Context(), keyring.Config{Store: &file{}, Client: server.Client()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ring.Stop)
	return server.Client(), ring
}

// file is a keyring's file.
type file struct{ content []byte }

func (f *file) Load() ([]byte, error) {
	if f.content == nil {
		return nil, fs.ErrNotExist
	}
	return f.content, nil
}
func (f *file) Save(b []byte) error { f.content = bytes.Clone(b); return nil }
func (*file) Name() string          { return "keyring" }

// sealers are keys that tell the bench when a data key is sealed.
type sealers struct {
	artifact.Keys
	bench *bench
}

func (s sealers) Seal(ctx context.Context, binding keyring.Binding, plaintext []byte) ([]byte, error) {
	if do := s.bench.sealing; do != nil && binding.Purpose == "volume-data-key" {
		s.bench.sealing = nil
		do()
	}
	return s.Keys.Seal(ctx, binding, plaintext)
}

// plainKeys encrypt nothing, for tests about something else, and yet open only
// for what was sealed.
type plainKeys struct{}

type sealed struct {
	Binding   keyring.Binding
	Plaintext []byte
}

func (plainKeys) Seal(_ context.Context, binding keyring.Binding, plaintext []byte) ([]byte, error) {
	return json.Marshal(sealed{binding, plaintext})
}

func (plainKeys) Open(_ context.Context, binding keyring.Binding, ciphertext []byte) ([]byte, error) {
	var v sealed
	if err := json.Unmarshal(ciphertext, &v); err != nil || v.Binding != binding {
		return nil, errors.New("refused")
	}
	return v.Plaintext, nil
}

type store struct {
	objectstore.Store
	bench *bench
}

func (s store) Put(ctx context.Context, key string, r io.Reader) error {
	if s.bench.broken != nil {
		if err := s.bench.broken(key); err != nil {
			return err
		}
	}
	return s.Store.Put(ctx, key, r)
}

// Begin implements artifact.Roots.
func (b *bench) Begin(context.Context) (chunk.Root, func(), error) {
	if b.begin != nil {
		b.begin()
	}
	b.begun.Add(1)
	return b.active, func() { b.begun.Add(-1) }, nil
}

// Open implements artifact.Images.
func (b *bench) Open(_ context.Context, _, resolved string, read func(int)) (*artifact.Image, error) {
	if image := b.images[resolved]; image != nil {
		read(int(image.Size / 2)) // as far as anyone is told
		return image, nil
	}
	return nil, b.err
}

// put stores an archive.
func (b *bench) put(t testing.TB, object string, archive []byte) {
	t.Helper()
	if err := b.objects.Put(t.Context(), object, bytes.NewReader(archive)); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) find(t testing.TB, ref artifact.Ref) *artifact.Volume {
	t.Helper()
	v, err := b.Find(t.Context(), ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// content reads all of a volume.
func (b *bench) content(t testing.TB, v *artifact.Volume) []byte {
	t.Helper()
	keys, err := v.Manifest.Unseal(t.Context(), unsealed(v.DataKey))
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

// unsealed is the data key of one manifest.
type unsealed []byte

// Seal implements volume.Sealer.
func (unsealed) Seal(context.Context, []byte, []byte) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

// Open implements volume.Sealer.
func (u unsealed) Open(context.Context, []byte, []byte) ([]byte, error) { return u, nil }

// path is where something of a volume is on disk.
func (b *bench) path(object, kind string) string {
	return filepath.Join(b.data, "objects", "objects", "volumes", object, kind)
}

func (b *bench) copy(t testing.TB, kind, from, to string) {
	t.Helper()
	content, err := os.ReadFile(b.path(from, kind))
	if err == nil {
		err = os.MkdirAll(b.path(to, ""), 0o700)
	}
	if err == nil {
		err = os.WriteFile(b.path(to, kind), content, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// change has a function make other bytes of a volume's file.
func (b *bench) change(t testing.TB, object, kind string, f func([]byte) []byte) {
	t.Helper()
	content, err := os.ReadFile(b.path(object, kind))
	if err == nil {
		err = os.WriteFile(b.path(object, kind), f(content), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// files are the paths of all files in the service's directory.
func (b *bench) files(t testing.TB, below string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(b.data, below), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// names are the chunks of a volume.
func names(v *artifact.Volume) (names []chunk.Name) {
	for _, e := range v.Manifest.Entries {
		if !e.Zero {
			names = append(names, e.Name)
		}
	}
	slices.SortFunc(names, func(a, b chunk.Name) int { return bytes.Compare(a[:], b[:]) })
	return slices.Compact(names)
}

// zipOf makes an archive of files that are named and filled in turn.
func zipOf(t testing.TB, files ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for i := 0; i < len(files); i += 2 {
		w, err := z.Create(files[i])
		if err == nil {
			_, err = io.WriteString(w, files[i+1])
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func layer(t testing.TB, entries ...tar.Header) flatten.Layer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range entries {
		if err := w.WriteHeader(&entries[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return flatten.Tar{Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }}
}

// secret is what an image has in its environment.
const secret = "correct-horse-battery-staple"

// addImage adds an image with an empty directory.
func (b *bench) addImage(t testing.TB, resolved string) {
	t.Helper()
	b.images[resolved] = &artifact.Image{
		Layers: []flatten.Layer{layer(t, tar.Header{Typeflag: tar.TypeDir, Name: "bin", Mode: 0o755})},
		Config: function.ImageConfig{EntryPoint: []string{"/bin/run"}, Env: []string{"PASSWORD=" + secret}},
	}
}
