// Package disk is the seam between the tiers of the chunk store and the file
// system: the few operations they need, on paths relative to one directory.
// Root is a real directory; disktest has one that fails and loses power.
//
// Invariants:
//
//  1. No path leads out of the directory, not even through a symbolic link.
//  2. A file is created once and never opened for writing again.
package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"hearth/internal/rootdir"
)

// Disk is a directory. Its methods may be called concurrently.
type Disk interface {
	// WriteFile creates a file with these bytes; it must not exist. When it
	// fails a part of the file may be there.
	WriteFile(name string, data []byte) error
	// ReadFile returns a regular file's bytes. One that is longer than limit is
	// ErrTooLong.
	ReadFile(name string, limit int64) ([]byte, error)
	// Stat describes a file; a directory is not one.
	Stat(name string) (Info, error)
	Rename(from, to string) error
	Remove(name string) error
	Mkdir(name string) error
	// Sync makes a file's bytes, or the names in a directory, durable.
	Sync(name string) error
	// SyncAll makes everything that was written so far durable, names too.
	SyncAll() error
	ReadDir(name string) ([]fs.DirEntry, error)
	Close() error
}

// Info is what Stat tells.
type Info struct {
	Size     int64
	Modified time.Time
}

// ErrTooLong says that a file is longer than any that was written.
var ErrTooLong = errors.New("file is too long")

// Root is a directory of the local file system.
type Root struct{ rootdir.Dir }

// OpenRoot opens a directory, which must exist.
func OpenRoot(name string) (Root, error) {
	dir, err := rootdir.Open(name)
	return Root{dir}, err
}

// WriteFile implements Disk.
func (r Root) WriteFile(name string, data []byte) error {
	f, err := r.Create(name)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

// ReadFile implements Disk.
func (r Root) ReadFile(name string, limit int64) ([]byte, error) {
	f, err := r.Root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fs.ErrNotExist
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", ErrTooLong, info.Size(), limit)
	}
	b := make([]byte, info.Size())
	n, err := io.ReadFull(f, b)
	if errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF { //nolint:errorlint // ReadFull returns io.EOF itself
		err = nil // cut meanwhile: whoever reads compares with what should be there
	}
	return b[:n], err
}

// Stat implements Disk.
func (r Root) Stat(name string) (Info, error) {
	info, err := r.Root.Lstat(name)
	if err != nil {
		return Info{}, err
	}
	if !info.Mode().IsRegular() {
		return Info{}, fs.ErrNotExist
	}
	return Info{Size: info.Size(), Modified: info.ModTime()}, nil
}

// SyncAll implements Disk: syncfs tells of errors of writing since Linux 5.8.
func (r Root) SyncAll() error {
	f, err := r.Root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(os.NewSyscallError("syncfs", unix.Syncfs(int(f.Fd()))), f.Close())
}
