package blockfs

import (
	"crypto/rand"
	"io"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"hearth/internal/mount"
)

// benchBytes is the size of each of two files.
const benchBytes = 256 << 20

// BenchmarkRead compares reading files of an ext4 image through blockfs, whose
// source is memory, with reading them from the same image on disk. Before each
// reading the file system is mounted anew, so its cache is empty; the image on
// disk is read by direct I/O, so there is no other.
func BenchmarkRead(b *testing.B) {
	source := b.TempDir()
	for _, name := range []string{"a", "b"} {
		writeRandom(b, filepath.Join(source, name), benchBytes)
	}
	file := filepath.Join(b.TempDir(), "image")
	if out, err := exec.Command("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-d", source, file, "600M").CombinedOutput(); err != nil {
		b.Fatalf("mke2fs: %v: %s", err, out)
	}
	unix.Sync()
	dir := filepath.Join(shortDir(b), "fs")
	c := connect(b, ClientConfig{Dir: dir})
	defer func() {
		if err := c.Shutdown(b.Context(), true); err != nil {
			b.Error(err)
		}
	}()
	lease := open(b, c, "v", testSpec{Path: file, Memory: true})
	for _, pattern := range []struct {
		name string
		read func(testing.TB, string) int64
	}{{"sequential", readSequential}, {"two-readers", readBoth}, {"random-4k", readRandom}} {
		b.Run(pattern.name, func(b *testing.B) {
			var rates [2]float64
			for i, by := range []func(string) error{
				func(target string) error { return mountImage(file, target) },
				lease.Mount,
			} {
				b.Run([]string{"disk", "blockfs"}[i], func(b *testing.B) {
					rates[i] = readMounted(b, by, pattern.read)
					if i == 1 {
						b.ReportMetric(100*rates[1]/rates[0], "%ofdisk")
					}
				})
			}
		})
	}
	s, err := c.Stats(b.Context(), "v")
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%d reads of %d KB on average", s.Reads, s.BytesRead/s.Reads>>10)
}

// mountImage mounts an image of the disk, with as much read-ahead as blockfs has.
func mountImage(file, target string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	const name = "blockfs-benchmark"
	path, err := mount.AttachLoop(f, name)
	if err != nil {
		return err
	}
	defer func() { _ = mount.DetachLoopNamed(path, name) }() // with its mount
	if err := mount.SetReadAhead(path, defaultReadAhead); err != nil {
		return err
	}
	device, err := mount.OpenLoop(path, name)
	if err != nil {
		return err
	}
	defer device.Close()
	return mount.Ext4Device(device, target, "")
}

// readMounted mounts and reads again and again, and returns MB/s.
func readMounted(b *testing.B, by func(string) error, read func(testing.TB, string) int64) float64 {
	b.Helper()
	target := b.TempDir()
	var n int64
	b.ResetTimer()
	for range b.N {
		b.StopTimer()
		if err := by(target); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		n += read(b, target)
		b.StopTimer()
		unmount(b, target)
		b.StartTimer()
	}
	b.StopTimer()
	b.SetBytes(n / int64(b.N))
	return float64(n) / 1e6 / b.Elapsed().Seconds()
}

func readSequential(tb testing.TB, dir string) int64 {
	f, err := os.Open(filepath.Join(dir, "a"))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 1<<20))
	if err != nil || n != benchBytes {
		tb.Fatalf("got %d bytes, %v", n, err)
	}
	return n
}

func readBoth(tb testing.TB, dir string) int64 {
	var group sync.WaitGroup
	for _, name := range []string{"a", "b"} {
		group.Go(func() {
			f, err := os.Open(filepath.Join(dir, name))
			if err != nil {
				tb.Error(err)
				return
			}
			defer f.Close()
			if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 1<<20)); err != nil || n != benchBytes {
				tb.Errorf("got %d bytes, %v", n, err)
			}
		})
	}
	group.Wait()
	return 2 * benchBytes
}

func readRandom(tb testing.TB, dir string) int64 {
	f, err := os.Open(filepath.Join(dir, "a"))
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
		tb.Fatal(err)
	}
	const reads = 4000
	order, buf := mathrand.New(mathrand.NewPCG(1, 2)).Perm(benchBytes / 4096)[:reads], make([]byte, 4096)
	for _, i := range order {
		if _, err := f.ReadAt(buf, int64(i)*4096); err != nil {
			tb.Fatal(err)
		}
	}
	return reads * 4096
}

func writeRandom(tb testing.TB, path string, n int64) {
	tb.Helper()
	f, err := os.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	if _, err := io.CopyN(f, rand.Reader, n); err != nil {
		tb.Fatal(err)
	}
}
