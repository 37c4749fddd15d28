package testimage

import (
	"archive/tar"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// epoch is the time of all that is in images.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// newLayer makes a layer of what write writes, which must be the same every
// time: it is called for the digests, and again whenever the layer is read.
func newLayer(write func(*tar.Writer) error, options ...tarball.LayerOption) (v1.Layer, error) {
	open := func() (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() { // ends with the reader: who closes it lets the next write fail
			archive := tar.NewWriter(w)
			err := write(archive)
			if err == nil {
				err = archive.Close()
			}
			_ = w.CloseWithError(err) // documented never to fail
		}()
		return r, nil
	}
	return tarball.LayerFromOpener(open, append([]tarball.LayerOption{
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.BestSpeed),
	}, options...)...)
}

// file is a small file, or a directory if its name ends in a slash.
type file struct {
	name    string
	mode    int64
	content []byte
}

// filesLayer is a layer of small files, in their order. It is packed once, and
// stays in memory as they do.
func filesLayer(media types.MediaType, files ...file) (v1.Layer, error) {
	return newLayer(func(w *tar.Writer) error {
		for _, f := range files {
			header := &tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.content)), ModTime: epoch}
			if strings.HasSuffix(f.name, "/") {
				header.Typeflag = tar.TypeDir
			}
			if err := w.WriteHeader(header); err != nil {
				return err
			}
			if _, err := w.Write(f.content); err != nil {
				return err
			}
		}
		return nil
	}, tarball.WithMediaType(media), tarball.WithCompressedCaching)
}

// treeLayer is a layer of what scan has found. The tree must be there for as
// long as the layer is read. Everything belongs to root and is of epoch.
func treeLayer(found []entry) (v1.Layer, error) {
	return newLayer(func(w *tar.Writer) error {
		for _, e := range found {
			if err := e.write(w); err != nil {
				return err
			}
		}
		return nil
	})
}

// scan lists what is below a directory of the machine, in the order of names,
// but for the directories to skip; in a layer their names begin with prefix.
func scan(dir, prefix string, skip ...string) ([]entry, error) {
	var found []entry
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		name, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		if slices.Contains(skip, name) {
			return fs.SkipDir
		}
		e, err := treeEntry(p, path.Join(prefix, name), d)
		found = append(found, e)
		return err
	})
	return found, err
}

// entry is one thing in a tree or a layer.
type entry struct {
	name string
	mode int64
	kind byte // of archive/tar
	link string
	size int64
	// sum is the SHA-256 of a file's content.
	sum string
	// path is where the content is, for an entry of a tree.
	path string
}

// same says whether two entries of one name need not be told apart.
func (e entry) same(other entry) bool {
	e.path, other.path = "", ""
	return e == other
}

func treeEntry(p, name string, d fs.DirEntry) (entry, error) {
	info, err := d.Info()
	if err != nil {
		return entry{}, err
	}
	header, err := tar.FileInfoHeader(info, "")
	if err != nil {
		return entry{}, err
	}
	e := entry{name: name, mode: header.Mode, kind: header.Typeflag, path: p}
	switch e.kind {
	case tar.TypeDir:
		return e, nil
	case tar.TypeSymlink:
		e.link, err = os.Readlink(p)
		return e, err
	case tar.TypeReg:
		content, err := os.Open(p)
		if err != nil {
			return entry{}, err
		}
		e.sum, e.size, err = digest(content)
		return e, errors.Join(err, content.Close())
	default:
		return entry{}, fmt.Errorf("%s: a %s has no place in an image", name, d.Type())
	}
}

func digest(r io.Reader) (sum string, size int64, err error) {
	h := sha256.New()
	size, err = io.Copy(h, r)
	return string(h.Sum(nil)), size, err
}

// write writes an entry of a tree.
func (e entry) write(w *tar.Writer) error {
	header := &tar.Header{Typeflag: e.kind, Name: e.name, Linkname: e.link, Mode: e.mode, Size: e.size, ModTime: epoch}
	if e.kind == tar.TypeDir {
		header.Name += "/"
	}
	if err := w.WriteHeader(header); err != nil || e.kind != tar.TypeReg {
		return err
	}
	content, err := os.Open(e.path)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, content)
	return errors.Join(err, content.Close())
}

// entries lists what is in an image of treeLayers.
func entries(img v1.Image) (map[string]entry, error) {
	all := mutate.Extract(img)
	defer all.Close()
	list := make(map[string]entry)
	for r := tar.NewReader(all); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		e := entry{name: path.Clean(header.Name), mode: header.Mode, kind: header.Typeflag, link: header.Linkname, size: header.Size}
		if e.kind == tar.TypeReg {
			if e.sum, _, err = digest(r); err != nil {
				return nil, err
			}
		}
		list[e.name] = e
	}
}

// config is what images have in common.
func config(c v1.Config) v1.Config {
	c.Env = append([]string{"PATH=/usr/local/bin:/usr/bin:/bin", Greeting + "=" + GreetingText}, c.Env...)
	return c
}

// assemble makes an image of layers over those of base.
func assemble(base v1.Image, c v1.Config, layers ...v1.Layer) (v1.Image, error) {
	img, err := mutate.AppendLayers(base, layers...)
	if err != nil {
		return nil, err
	}
	about, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	about = about.DeepCopy()
	about.Architecture, about.OS, about.Config = "amd64", "linux", c
	return mutate.ConfigFile(img, about)
}

// scratch is an image of nothing, in OCI's format.
func scratch() v1.Image {
	return mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
}
