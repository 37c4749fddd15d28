package scratch

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// copySparse copies a file's data and leaves its holes holes.
func copySparse(from, to string) (err error) {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return err
	}
	target, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	if err := target.Truncate(info.Size()); err != nil {
		return err
	}
	for end := int64(0); ; {
		start, err := source.Seek(end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // no data after end
		}
		if err != nil {
			return err
		}
		if end, err = source.Seek(start, unix.SEEK_HOLE); err != nil {
			return err
		}
		if err := copyRange(target, source, start, end-start); err != nil {
			return fmt.Errorf("copy %d bytes at %d: %w", end-start, start, err)
		}
	}
}

func copyRange(target, source *os.File, offset, n int64) error {
	if _, err := source.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	if _, err := target.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	_, err := io.CopyN(target, source, n)
	return err
}
