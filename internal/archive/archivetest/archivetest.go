// Package archivetest unpacks archives into directories, where tests look at what
// archive lists. Hearth itself makes file systems of archives without ever
// unpacking one.
package archivetest

import (
	"errors"
	"io/fs"
	"os"

	"hearth/internal/archive"
)

// Extract unpacks archives over each other into a new directory. An os.Root
// holds it to that directory, whatever archive takes for harmless.
func Extract(dir string, l archive.Limits, sources ...archive.Source) (err error) {
	files, err := archive.List(l, sources...)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	left := l.Bytes
	for i := range files {
		n, err := extract(root, &files[i], left)
		if err != nil {
			return err
		}
		left -= n
	}
	// After the files: nothing is written through a link. Links change the times
	// of their directories, so these come last.
	for _, f := range files {
		if f.Mode.Type() == fs.ModeSymlink {
			if err := root.Symlink(f.Target, f.Path); err != nil {
				return err
			}
		}
	}
	for _, f := range files {
		if f.Mode.Type() == fs.ModeSymlink {
			continue
		}
		// The process's file mode mask had its say when directories were made.
		if err := errors.Join(root.Chmod(f.Path, f.Mode.Perm()), root.Chtimes(f.Path, f.Modified, f.Modified)); err != nil {
			return err
		}
	}
	return nil
}

func extract(root *os.Root, f *archive.File, limit int64) (int64, error) {
	if f.Mode.IsDir() {
		return 0, root.Mkdir(f.Path, f.Mode.Perm())
	}
	if !f.Mode.IsRegular() {
		return 0, nil
	}
	to, err := root.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, err
	}
	n, err := f.CopyTo(to, limit)
	return n, errors.Join(err, to.Chmod(f.Mode.Perm()), to.Close())
}
