package volumefs_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hearth/internal/artifact"
	"hearth/internal/blockfs"
	"hearth/internal/chunk"
	"hearth/internal/chunkstore"
	"hearth/internal/chunkstore/cache"
	"hearth/internal/chunkstore/origin"
	"hearth/internal/keyring"
	"hearth/internal/mount"
	"hearth/internal/objectstore"
	"hearth/internal/volumefs"
)

func TestMain(m *testing.M) {
	if os.Getenv(asServer) != "" {
		if err := serve(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

const (
	account = "000000000000"
	build   = "test"
)

// bench is a machine: volumes that are built, blockfs, and a Host over both.
type bench struct {
	*volumefs.Host
	client *blockfs.Client
	server *blockfs.Server
	finder *finder
	chunks string // directory of the chunks
	dir    string // of blockfs

	objects *objectstore.Dir
	store   *origin.Dir
}

// stores makes a machine that has no blockfs yet, in a directory.
func stores(t testing.TB) (b *bench, data string) {
	t.Helper()
	data, err := os.MkdirTemp("", "volumefs") // sockets have short names
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	b = &bench{chunks: filepath.Join(data, "chunks"), dir: filepath.Join(data, "fs")}
	for _, dir := range []string{"objects", "chunks", "builds"} {
		if err := os.Mkdir(filepath.Join(data, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if b.objects, err = objectstore.OpenDir(filepath.Join(data, "objects")); err != nil {
		t.Fatal(err)
	}
	if b.store, err = origin.OpenDir(b.chunks); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(b.store.Close(), b.objects.Close()); err != nil {
			t.Error(err)
		}
	})
	b.finder = &finder{Service: b.artifacts(t, 1, data)}
	return b, data
}

// start makes a machine whose blockfs, in this process, reads the chunks from a
// source.
func start(t *testing.T, tiers func(t *testing.T, dir string) chunk.Source) *bench {
	t.Helper()
	b, data := stores(t)
	var err error
	b.server, err = blockfs.NewServer(blockfs.Config{
		Dir: b.dir, Opener: volumefs.Opener{Source: tiers(t, b.chunks)}, Build: build,
		ReadAhead: 4096, // what is not read is not fetched
	})
	if err == nil {
		err = b.server.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.server.Stop(); err != nil {
			t.Error(err)
		}
		points, err := mount.Below(data)
		if err != nil || len(points) > 0 {
			t.Errorf("mounts left: %v, %v", points, err)
		}
	})
	b.client, err = blockfs.NewClient(blockfs.ClientConfig{Dir: b.dir, Owner: "test", Build: build, Command: []string{"/bin/false"}})
	if err == nil {
		err = b.client.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.client.Stop)
	if b.Host, err = volumefs.NewHost(b.finder, b.client, b.dir, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	return b
}

// artifacts makes volumes in a root.
func (b *bench) artifacts(t testing.TB, root chunk.Root, data string) *artifact.Service {
	t.Helper()
	s := artifact.New(artifact.Config{
		Objects: b.objects, Chunks: b.store, Keys: plainKeys{}, Salt: chunk.Salt{Epoch: 1, Secret: [32]byte{1}},
		Roots: inRoot(root), TempDir: filepath.Join(data, "builds"),
	})
	t.Cleanup(s.Stop)
	return s
}

// finder finds volumes, and can be told to find something else.
type finder struct {
	*artifact.Service
	change func(*artifact.Volume)
}

func (f *finder) Find(ctx context.Context, ref artifact.Ref, hold func(chunk.Root)) (*artifact.Volume, error) {
	v, err := f.Service.Find(ctx, ref, hold)
	if err == nil && f.change != nil {
		f.change(v)
	}
	return v, err
}

type inRoot chunk.Root

func (r inRoot) Begin(context.Context) (chunk.Root, func(), error) {
	return chunk.Root(r), func() {}, nil
}

// plainKeys seal nothing: what is sealed is not what these tests are about.
type plainKeys struct{}

func (plainKeys) Seal(_ context.Context, _ keyring.Binding, b []byte) ([]byte, error) {
	return bytes.Clone(b), nil
}

func (plainKeys) Open(_ context.Context, _ keyring.Binding, b []byte) ([]byte, error) {
	return bytes.Clone(b), nil
}

// untrusted reads chunks as they are.
func untrusted(t *testing.T, dir string) chunk.Source {
	t.Helper()
	d, err := origin.AttachDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return source{d}
}

// source is no more than that.
type source struct{ chunk.Source }

// tiered reads chunks as the blockfs process does.
func tiered(t *testing.T, dir string) chunk.Source {
	t.Helper()
	d, err := origin.AttachDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	memory, err := cache.Open(cache.Config{MemoryBytes: 8 << 20, Opened: true})
	if err != nil {
		t.Fatal(err)
	}
	tiers, err := chunkstore.New(chunkstore.Config{Cache: memory, Origin: d, Opened: true, Backoff: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tiers.Close()
		if err := errors.Join(memory.Close(), d.Close()); err != nil {
			t.Error(err)
		}
	})
	return tiers
}

// put stores an archive with one file of random bytes.
func (b *bench) put(t testing.TB, object string, size int) (content []byte) {
	t.Helper()
	content = make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte([]byte(object + "................................")[:32])).Read(content)
	if err := b.objects.Put(t.Context(), object, bytes.NewReader(archive(t, content))); err != nil {
		t.Fatal(err)
	}
	return content
}

// archive is of one file.
func archive(t testing.TB, content []byte) []byte {
	t.Helper()
	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	w, err := z.CreateHeader(&zip.FileHeader{Name: "file", Method: zip.Store})
	if err == nil {
		_, err = w.Write(content)
	}
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

func (b *bench) open(t *testing.T, object string) *volumefs.Volume {
	t.Helper()
	v, err := b.Open(t.Context(), artifact.Ref{Account: account, Object: object})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Release(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return v
}

// mounted opens a volume and mounts it until the test ends.
func (b *bench) mounted(t *testing.T, object string) (v *volumefs.Volume, dir string) {
	t.Helper()
	v = b.open(t, object)
	dir = filepath.Join(t.TempDir(), "mnt")
	if err := v.Mount(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mount.Unmount(dir); err != nil {
			t.Error(err)
		}
	})
	return v, dir
}

// chunkFile is where a chunk is.
func (b *bench) chunkFile(root chunk.Root, name chunk.Name) string {
	return filepath.Join(b.chunks, root.String(), name.String()[:2], name.String())
}

// noManifests wants none of the files by which blockfs is told of manifests.
func (b *bench) noManifests(t *testing.T) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(b.dir, "manifest-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("manifests are left: %v, %v", left, err)
	}
}

// readEach reads a file of a mount piece by piece. Bytes must be right or an
// error; it returns how many pieces were which.
func readEach(t *testing.T, path string, want []byte, is error) (right, failed int) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	piece := make([]byte, 64<<10)
	for off := 0; off < len(want); off += len(piece) {
		n, err := f.ReadAt(piece, int64(off))
		if !bytes.Equal(piece[:n], want[off:off+n]) {
			t.Errorf("%s at %d: other bytes than were stored", path, off)
		}
		switch {
		case err == nil || errors.Is(err, io.EOF):
			right++
		case errors.Is(err, is):
			failed++
		default:
			t.Errorf("%s at %d: got %v, want %v", path, off, err, is)
		}
	}
	return right, failed
}
