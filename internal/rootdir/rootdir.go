// Package rootdir is a directory of the local file system for stores that keep
// their files in one: what each of them does with names, and no path that leads
// out, even where a symbolic link was planted. Stores embed a Dir behind the seam
// where their tests put faults, and add how they read and write.
package rootdir

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// IsFull says that an error is of a file system, or of a quota of it, that has
// no room left.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// Dir is a directory. Names are relative to it.
type Dir struct{ Root *os.Root }

// Open opens a directory, which must exist.
func Open(name string) (Dir, error) {
	root, err := os.OpenRoot(name)
	return Dir{root}, err
}

// Create makes a file that is not there.
func (d Dir) Create(name string) (*os.File, error) {
	return d.Root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// Rename gives a file or directory another name.
func (d Dir) Rename(from, to string) error { return d.Root.Rename(from, to) }

// Remove removes a file or an empty directory.
func (d Dir) Remove(name string) error { return d.Root.Remove(name) }

// Mkdir makes a directory for its owner only.
func (d Dir) Mkdir(name string) error { return d.Root.Mkdir(name, 0o700) }

// Close releases the directory.
func (d Dir) Close() error { return d.Root.Close() }

// Sync makes a file's bytes, or the names in a directory, durable.
func (d Dir) Sync(name string) error {
	f, err := d.Root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// ReadDir lists a directory, in no order.
func (d Dir) ReadDir(name string) ([]fs.DirEntry, error) {
	f, err := d.Root.Open(name)
	if err != nil {
		return nil, err
	}
	entries, err := f.ReadDir(-1)
	return entries, errors.Join(err, f.Close())
}
