package registry

import (
	"io"
	"io/fs"
	"os"
	"time"

	"hearth/internal/rootdir"
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

// rootDisk is a directory.
type rootDisk struct{ rootdir.Dir }

func (d rootDisk) Create(name string) (file, error) {
	f, err := d.Dir.Create(name)
	if err != nil {
		return nil, err // not a file that is nil
	}
	return f, nil
}

func (d rootDisk) Append(name string) (file, error) {
	return d.Root.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
}

func (d rootDisk) Open(name string) (readFile, error) {
	f, err := d.Root.Open(name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (d rootDisk) Stat(name string) (fs.FileInfo, error) { return d.Root.Lstat(name) }
func (d rootDisk) Touch(name string, at time.Time) error { return d.Root.Chtimes(name, at, at) }

func (d rootDisk) SyncDir(name string) error { return d.Sync(name) }
