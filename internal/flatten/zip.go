package flatten

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"hearth/internal/archive"
)

// Zip is a layer of zip archives over each other, as archive.List lists them:
// owned by root, set-user-id and the like dropped, symbolic links
// that stay within.
type Zip struct {
	// Prefix is the directory that they are unpacked in; the root if empty.
	Prefix   string
	Archives []archive.Source
	// Limits bound these archives, besides those for all layers.
	Limits archive.Limits
}

func (l Zip) add(ctx context.Context, b *builder) error {
	prefix, err := splitPath("/" + l.Prefix)
	if err != nil {
		return fmt.Errorf("%w: prefix %.100q: %w", ErrInvalid, l.Prefix, err)
	}
	files, err := archive.List(l.Limits, l.Archives...)
	if err != nil {
		return refused(err)
	}
	left := l.Limits.Bytes
	for i := range files {
		if i%checkedEvery == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := b.addFile(&files[i], prefix, &left); err != nil {
			return blame(files[i].Path, err)
		}
	}
	return nil
}

// refused gives the errors of archives the names that they have here.
func refused(err error) error {
	switch {
	case errors.Is(err, archive.ErrTooLarge):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case errors.Is(err, archive.ErrInvalid), errors.Is(err, archive.ErrEmpty):
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	default:
		return err
	}
}

func (b *builder) addFile(f *archive.File, prefix []string, left *int64) error {
	inside, err := splitPath(f.Path)
	if err != nil {
		return err
	}
	path := append(slices.Clip(prefix), inside...)
	n := inode{mode: uint16(f.Mode.Perm())} //nolint:gosec // nine bits
	n.setTime(f.Modified)
	switch f.Mode.Type() {
	case fs.ModeDir:
		n.mode |= typeDir
	case fs.ModeSymlink:
		n.mode |= typeSymlink
		if err := b.setTarget(&n, f.Target); err != nil {
			return err
		}
	default:
		n.mode |= typeRegular
		// One byte more is enough to see that it is too much for all layers,
		// as archives bound themselves exclusively.
		n.at = b.spool.offset()
		limit := min(*left, b.left+1)
		if n.size, err = f.CopyTo(b.spool, limit); err != nil {
			return refused(err)
		}
		*left -= n.size
		b.left -= n.size
	}
	last := len(path) - 1
	parent, err := b.directory(path[:last], walk{create: true, replace: true})
	if err != nil {
		return err
	}
	_, err = b.put(parent, path[last], n)
	return err
}
