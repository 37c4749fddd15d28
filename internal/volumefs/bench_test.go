package volumefs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"hearth/internal/artifact"
	"hearth/internal/blockfs"
	"hearth/internal/chunkstore"
	"hearth/internal/chunkstore/cache"
	"hearth/internal/chunkstore/origin"
	"hearth/internal/mount"
	"hearth/internal/volumefs"
)

// asServer has the test's program be the blockfs of a directory, with the
// chunks of another.
const (
	asServer = "VOLUMEFS_TEST_SERVER"
	ofChunks = "VOLUMEFS_TEST_CHUNKS"
)

// serve is the life of that process. It is as hearth blockfs is.
func serve() error {
	d, err := origin.AttachDir(os.Getenv(ofChunks))
	if err != nil {
		return err
	}
	memory, err := cache.Open(cache.Config{MemoryBytes: 128 << 20, Opened: true})
	if err != nil {
		return err
	}
	tiers, err := chunkstore.New(chunkstore.Config{Cache: memory, Origin: d, Opened: true})
	if err != nil {
		return err
	}
	err = blockfs.Run(context.Background(), blockfs.Config{
		Dir: os.Getenv(asServer), Opener: volumefs.Opener{Source: tiers, Checked: true}, Build: build,
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}, true)
	tiers.Close()
	return errors.Join(err, memory.Close(), d.Close())
}

// benchBytes is the size of the file that is read: with all of its volume it
// fits the memory that blockfs keeps chunks in.
const benchBytes = 64 << 20

// BenchmarkRead reads a file of a volume as functions do, through ext4, the loop
// device, FUSE and the decryption of chunks, which are in the memory of a
// blockfs that is a process. The floor is the same ext4 image in a plain file
// of the disk, below a loop device with the same read-ahead and direct I/O.
// Before each round the file system is mounted anew: its page cache is empty.
func BenchmarkRead(b *testing.B) {
	m := startApart(b)
	m.put(b, "code/f.zip", benchBytes)
	v, err := m.Open(b.Context(), artifact.Ref{Account: account, Object: "code/f.zip"})
	if err != nil {
		b.Fatal(err)
	}
	mounts := []struct {
		name  string
		mount func(dir string) error
	}{
		{"disk", plainLoop(b, imageOf(b, m, v))},
		{"volume", v.Mount},
	}
	for _, pattern := range []string{"sequential", "random"} {
		for _, size := range []int{4 << 10, 128 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("%s-%dK", pattern, size>>10), func(b *testing.B) {
				var rates [2]float64
				for i, on := range mounts {
					b.Run(on.name, func(b *testing.B) {
						rates[i] = readRounds(b, on.mount, size, pattern == "random")
						if i == 1 {
							b.ReportMetric(100*rates[1]/rates[0], "%ofdisk")
						}
					})
				}
			})
		}
	}
	if err := v.Release(b.Context()); err != nil {
		b.Error(err)
	}
}

// startApart makes a machine whose blockfs is a process, as that of Hearth is.
func startApart(b *testing.B) *bench {
	b.Helper()
	m, data := stores(b)
	b.Setenv(asServer, m.dir)
	b.Setenv(ofChunks, m.chunks)
	var err error
	m.client, err = blockfs.NewClient(blockfs.ClientConfig{Dir: m.dir, Owner: "test", Build: build, Command: []string{os.Args[0]}})
	if err == nil {
		err = m.client.Start(b.Context())
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := m.client.Shutdown(context.Background(), true); err != nil {
			b.Error(err)
		}
		points, err := mount.Below(data)
		if err != nil || len(points) > 0 {
			b.Errorf("mounts left: %v, %v", points, err)
		}
	})
	if m.Host, err = volumefs.NewHost(m.finder, m.client, m.dir, slog.New(slog.DiscardHandler)); err != nil {
		b.Fatal(err)
	}
	return m
}

// imageOf copies a volume to a file, which has blockfs read all of its chunks.
func imageOf(b *testing.B, m *bench, v *volumefs.Volume) string {
	b.Helper()
	listing, err := m.client.List(b.Context())
	if err != nil || len(listing.Volumes) != 1 {
		b.Fatalf("got %+v, %v, want one volume", listing, err)
	}
	device, err := os.Open(listing.Volumes[0].Device)
	if err != nil {
		b.Fatal(err)
	}
	defer device.Close()
	path := filepath.Join(b.TempDir(), "image")
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	n, err := io.Copy(f, device)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil || n != v.Size() {
		b.Fatalf("copied %d bytes of %d: %v", n, v.Size(), err)
	}
	return path
}

// plainLoop returns what mounts an image of the disk.
func plainLoop(b *testing.B, image string) func(dir string) error {
	b.Helper()
	const name = "volumefs-benchmark"
	f, err := os.Open(image)
	if err != nil {
		b.Fatal(err)
	}
	path, err := mount.AttachLoop(f, name)
	if err = errors.Join(err, f.Close()); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := mount.DetachLoopNamed(path, name); err != nil {
			b.Error(err)
		}
	})
	if err := mount.SetReadAhead(path, blockfs.DefaultChunkSize); err != nil { // as blockfs has by default
		b.Fatal(err)
	}
	return func(dir string) error {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		device, err := mount.OpenLoop(path, name)
		if err != nil {
			return err
		}
		defer device.Close()
		return mount.Ext4Device(device, dir, "")
	}
}

// readRounds mounts and reads again and again, and returns bytes per second.
func readRounds(b *testing.B, mountAt func(dir string) error, size int, random bool) float64 {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "mnt")
	reads := benchBytes / size
	order := rand.New(rand.NewPCG(1, 2)).Perm(reads)
	if random {
		order = order[:min(reads, 1000)]
	}
	buf := make([]byte, size)
	for b.Loop() {
		b.StopTimer()
		if err := mountAt(dir); err != nil {
			b.Fatal(err)
		}
		f, err := os.Open(filepath.Join(dir, "file"))
		if err != nil {
			b.Fatal(err)
		}
		if random {
			if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
				b.Fatal(err)
			}
		}
		b.StartTimer()
		for i, at := range order {
			if !random {
				at = i
			}
			if n, err := f.ReadAt(buf, int64(at)*int64(size)); n != size {
				b.Fatal(err)
			}
		}
		b.StopTimer()
		if err := errors.Join(f.Close(), mount.Unmount(dir), os.Remove(dir)); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.SetBytes(int64(len(order) * size))
	return float64(b.N) * float64(len(order)*size) / b.Elapsed().Seconds()
}
