package objectstore

import (
	"errors"
	"io"
	"io/fs"
	"os"
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

// rootDisk is a directory. os.Root keeps every path inside it, even where a
// symbolic link was planted.
type rootDisk struct{ root *os.Root }

func (d rootDisk) Create(name string) (file, error) {
	return d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

func (d rootDisk) Open(name string) (io.ReadSeekCloser, int64, error) {
	f, err := d.root.Open(name)
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

func (d rootDisk) Rename(from, to string) error { return d.root.Rename(from, to) }
func (d rootDisk) Remove(name string) error     { return d.root.Remove(name) }
func (d rootDisk) Mkdir(name string) error      { return d.root.Mkdir(name, 0o700) }
func (d rootDisk) Close() error                 { return d.root.Close() }

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
