package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hearth/internal/mount"
)

// Read is how fast files are read that the kernel has not in its cache.
type Read struct {
	Bytes int64 `json:"bytes"`
	// Volume is through a volume whose chunks are in the machine's memory,
	// Disk one whose chunks are on the disk, and Plain the same file system in
	// a plain file on the disk; medians.
	Volume time.Duration `json:"volume"`
	Disk   time.Duration `json:"disk"`
	Plain  time.Duration `json:"plain"`
	// Cached is what the kernel keeps after a read of the volume.
	Cached Cached `json:"cached"`
}

// Cached is what the kernel keeps in memory of a volume, in bytes.
type Cached struct {
	// Files are those of the mounted volume, Device its loop device with the
	// file system's own data, FUSE the file below that, and Chunks the files of
	// ciphertext.
	Files  int64 `json:"files"`
	Device int64 `json:"device"`
	FUSE   int64 `json:"fuse"`
	Chunks int64 `json:"chunks"`
}

// read measures the volume of the large image.
func (b *storageBed) read(ctx context.Context) (_ *Read, err error) {
	b.o.say("read through a volume and from a plain file")
	if err := b.restart(ctx, 0); err != nil {
		return nil, err
	}
	t, err := b.target(ctx, "large", []byte(`1`))
	if err != nil {
		return nil, err
	}
	client := newClient()
	defer client.CloseIdleConnections()
	if _, err := t.post(ctx, client); err != nil { // and mount it
		return nil, err
	}
	device, dir, err := volumeMount(filepath.Join(b.data, "worker"))
	if err != nil {
		return nil, err
	}
	plain := filepath.Join(b.data, "plain")
	if err := copyDevice(device, plain+".ext4"); err != nil {
		return nil, err
	}
	if err := os.Mkdir(plain, 0o700); err != nil {
		return nil, err
	}
	if err := mount.Ext4(plain+".ext4", plain, true, ""); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, mount.Unmount(plain)) }()
	r := new(Read)
	chunks := filepath.Join(b.data, "chunks")
	if r.Bytes, err = readAll(dir); err != nil { // the chunks are in memory then
		return nil, err
	}
	var fromMemory, fromDisk, fromPlain []time.Duration
	for range 3 {
		for _, c := range []struct {
			forget []string
			read   string
			into   *[]time.Duration
		}{
			{[]string{dir, chunks}, dir, &fromDisk}, // and leaves the chunks in memory
			{[]string{dir}, dir, &fromMemory},
			{[]string{plain, plain + ".ext4"}, plain, &fromPlain},
		} {
			for _, path := range c.forget {
				if err := forgetFiles(path); err != nil {
					return nil, err
				}
			}
			_, took, err := timed(func() (int64, error) { return readAll(c.read) })
			if err != nil {
				return nil, err
			}
			*c.into = append(*c.into, took)
		}
	}
	r.Volume, r.Disk, r.Plain = median(fromMemory), median(fromDisk), median(fromPlain)
	r.Cached, err = b.cached(device, dir, chunks)
	return r, err
}

// cached asks the kernel what it keeps of a volume.
func (b *storageBed) cached(device, dir, chunks string) (c Cached, err error) {
	name, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(device), "loop", "backing_file"))
	if err != nil {
		return c, err
	}
	fuse := filepath.Join(b.data, "blockfs", "mnt", filepath.Base(strings.TrimSpace(string(name))))
	for path, into := range map[string]*int64{
		dir: &c.Files, device: &c.Device, fuse: &c.FUSE, chunks: &c.Chunks,
	} {
		err = errors.Join(err, eachFile(path, func(f *os.File, _ int64) error {
			var stat unix.Cachestat_t
			if err := unix.Cachestat(uint(f.Fd()), &unix.CachestatRange{}, &stat, 0); err != nil {
				return fmt.Errorf("bench: cachestat, which Linux has since 6.5: %w", err)
			}
			*into += int64(stat.Cache) * int64(os.Getpagesize()) //nolint:gosec // pages of memory
			return nil
		}))
	}
	return c, err
}

// volumeMount finds the one ext4 that is mounted below a directory.
func volumeMount(below string) (device, dir string, err error) {
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return "", "", err
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if f[2] == "ext4" && strings.HasPrefix(f[1], filepath.Join(below, "code")+"/") {
			return f[0], f[1], nil
		}
	}
	return "", "", fmt.Errorf("bench: no volume is mounted below %s", below)
}

// copyDevice writes what is on a device to a file on the disk.
func copyDevice(device, file string) (err error) {
	in, err := os.Open(device)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, bufio.NewReaderSize(in, 1<<20)); err != nil {
		return err
	}
	if err := unix.Fadvise(int(in.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		return err
	}
	return out.Sync()
}

// eachFile opens the regular files and devices below a path.
func eachFile(path string, do func(f *os.File, size int64) error) error {
	return filepath.WalkDir(path, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !e.Type().IsRegular() && e.Type()&fs.ModeDevice == 0 {
			return err
		}
		// Not os.Open, whose question whether it can be polled a FUSE file
		// system would have to answer.
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), path)
		info, err := f.Stat()
		if err == nil {
			err = do(f, info.Size())
		}
		return errors.Join(err, f.Close())
	})
}

// forgetFiles has the kernel drop what it has of files.
func forgetFiles(path string) error {
	return eachFile(path, func(f *os.File, _ int64) error {
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}

// readAll reads all files below a path.
func readAll(path string) (n int64, err error) {
	buf := make([]byte, 1<<20)
	err = eachFile(path, func(f *os.File, _ int64) error {
		read, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, buf)
		n += read
		return err
	})
	return n, err
}
