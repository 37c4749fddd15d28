package registry

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"time"
)

// disk is the seam under the store: the few operations that it needs, with
// paths relative to its directory. Tests put faults and crashes here.
type disk interface {
	files
	names
	Close() error
}

// files are what has bytes.
type files interface {
	// Create makes a file that is not there; Append opens one that is.
	Create(name string) (file, error)
	Append(name string) (file, error)
	Open(name string) (readFile, error)
	Stat(name string) (fs.FileInfo, error)
	Touch(name string, at time.Time) error
}

// names are what directories have.
type names interface {
	Rename(from, to string) error
	Remove(name string) error
	Mkdir(name string) error
	SyncDir(name string) error
	ReadDir(name string) ([]fs.DirEntry, error)
}

type file interface {
	io.WriteCloser
	Sync() error
}

type readFile interface {
	io.ReadSeekCloser
	Stat() (fs.FileInfo, error)
}

// rootDisk is a directory. os.Root keeps every path inside it, even where a
// symbolic link was planted.
type rootDisk struct{ root *os.Root }

func (d rootDisk) Create(name string) (file, error) {
	return d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

func (d rootDisk) Append(name string) (file, error) {
	return d.root.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
}

func (d rootDisk) Open(name string) (readFile, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d rootDisk) Stat(name string) (fs.FileInfo, error) { return d.root.Lstat(name) }
func (d rootDisk) Rename(from, to string) error          { return d.root.Rename(from, to) }
func (d rootDisk) Remove(name string) error              { return d.root.Remove(name) }
func (d rootDisk) Mkdir(name string) error               { return d.root.Mkdir(name, 0o700) }
func (d rootDisk) Touch(name string, at time.Time) error { return d.root.Chtimes(name, at, at) }
func (d rootDisk) Close() error                          { return d.root.Close() }

func (d rootDisk) SyncDir(name string) error {
	f, err := d.root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d rootDisk) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := d.root.Open(name)
	if err != nil {
		return nil, err
	}
	entries, err := f.ReadDir(-1)
	return entries, errors.Join(err, f.Close())
}
