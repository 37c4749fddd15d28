package ociimage

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

// archiveFiles are the files of a tar, found by where they are in it: nothing
// is unpacked.
type archiveFiles struct {
	*os.File
	at    map[string]span
	links map[string]string
}

type span struct{ offset, size int64 }

// maxEntries bounds what is remembered of an archive; images have a handful
// of files a layer.
const maxEntries = 10000

func openArchive(name string) (_ files, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	a := &archiveFiles{f, map[string]span{}, map[string]string{}}
	if err := a.index(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return a, nil
}

func (a *archiveFiles) index() error {
	t := tar.NewReader(a.File)
	for range maxEntries {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // names become no paths
			return fmt.Errorf("%w: %s is not a tar, or damaged; unpack it if it is packed", ErrInvalid, a.Name())
		}
		name := path.Clean(h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			// The reader has no buffer: the content begins where the file is.
			offset, err := a.Seek(0, io.SeekCurrent)
			if err != nil {
				return err
			}
			a.at[name] = span{offset, h.Size}
		case tar.TypeSymlink:
			a.links[name] = path.Join(path.Dir(name), h.Linkname) //nolint:gosec // a key of a map
		case tar.TypeLink:
			a.links[name] = path.Clean(h.Linkname)
		}
	}
	return fmt.Errorf("%w: %s has more than %d files", ErrTooLarge, a.Name(), maxEntries)
}

func (a *archiveFiles) open(name string) (io.ReadSeekCloser, int64, error) {
	name = path.Clean(name)
	// Old versions of docker save have a layer once, and links to it.
	if to, ok := a.links[name]; ok {
		name = to
	}
	s, ok := a.at[name]
	if !ok {
		return nil, 0, fmt.Errorf("%s: %w", printable(name), fs.ErrNotExist)
	}
	return section{io.NewSectionReader(a.File, s.offset, s.size)}, s.size, nil
}

type section struct{ *io.SectionReader }

func (section) Close() error { return nil }
