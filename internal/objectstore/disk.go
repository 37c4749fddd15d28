package objectstore

import (
	"errors"
	"io"
	"io/fs"

	"hearth/internal/rootdir"
)

// disk is the seam under the store: the few operations it needs, with paths
// relative to its directory. Tests put faults and power cuts here.
type disk interface {
	Create(name string) (file, error)
	Open(name string) (io.ReadSeekCloser, int64, error)
	Rename(from, to string) error
	Remove(name string) error
	Mkdir(name string) error
	SyncDir(name string) error
	ReadDir(name string) ([]fs.DirEntry, error)
	Close() error
}

type file interface {
	io.WriteCloser
	Sync() error
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

func (d rootDisk) Open(name string) (io.ReadSeekCloser, int64, error) {
	f, err := d.Root.Open(name)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

func (d rootDisk) SyncDir(name string) error { return d.Sync(name) }
