package datadir

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	tempPrefix = ".tmp-"
	// maxSmall is more than any file that is read whole may have.
	maxSmall = 256 << 10
)

// writeFile replaces a file in one step and durably, readable by its owner.
func writeFile(dir, name string, data []byte) (err error) {
	temp := filepath.Join(dir, tempPrefix+rand.Text())
	final := filepath.Join(dir, name)
	defer func() {
		if err != nil {
			_ = os.Remove(temp) // it may not have come to be
			err = explain(final, err)
		}
	}()
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, final); err != nil {
		return err
	}
	return syncDir(dir)
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// readSmall reads a regular file that cannot be big.
func readSmall(name string) (_ []byte, err error) {
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxSmall {
		return nil, fmt.Errorf("%w: %s is not a small file", ErrDamaged, name)
	}
	return io.ReadAll(io.LimitReader(f, maxSmall))
}
