package deploy

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// maxZip is the largest archive that CreateFunction takes in a request.
const maxZip = 50 << 20

// Load makes a Package of dir. runtime and handler, where they are not empty,
// override what is detected.
func Load(ctx context.Context, dir, runtime, handler string) (*Package, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a directory; deploy takes the directory that holds the function", dir)
	}
	k, err := detect(dir)
	if err != nil && (runtime == "" || handler == "") {
		return nil, err
	}
	if k.include == nil {
		k.include = everything
	}
	built, err := os.MkdirTemp("", "hearth-deploy-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(built) }()
	if k.build != nil {
		if err := k.build(ctx, dir, built); err != nil {
			return nil, err
		}
	}
	p := &Package{Runtime: or(runtime, k.runtime), Handler: or(handler, k.handler)}
	p.Zip, p.Files, err = pack(built, dir, k.include)
	if err != nil {
		return nil, err
	}
	if p.Files == 0 {
		return nil, fmt.Errorf("%s holds no files to deploy", dir)
	}
	if len(p.Zip) > maxZip {
		return nil, fmt.Errorf("the archive of %s is %d MB; the API takes at most %d MB", dir, len(p.Zip)>>20, maxZip>>20)
	}
	return p, nil
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// skipped are names that are never part of a function.
var skipped = []string{".git", ".hg", ".svn", "__pycache__", ".venv", "venv", ".DS_Store", ".pytest_cache"}

// pack writes the files of both directories (the second wins) into one
// archive whose bytes depend on nothing but their names, modes and content.
func pack(built, dir string, include func(string) bool) ([]byte, int, error) {
	files := map[string]string{} // name in the archive → path
	if err := find(built, everything, files); err != nil {
		return nil, 0, err
	}
	if err := find(dir, include, files); err != nil {
		return nil, 0, err
	}
	names := slices.Sorted(maps.Keys(files))
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	w.RegisterCompressor(zip.Deflate, func(out io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(out, flate.BestSpeed)
	})
	for _, name := range names {
		if err := add(w, name, files[name]); err != nil {
			return nil, 0, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, 0, err
	}
	return buf.Bytes(), len(names), nil
}

// find notes the files below root that belong into an archive.
func find(root string, include func(string) bool, files map[string]string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if slices.Contains(skipped, d.Name()) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		name, err := filepath.Rel(root, path)
		if err != nil || d.IsDir() || !include(name) || strings.HasSuffix(name, ".pyc") {
			return err
		}
		if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
			return err // links to files are followed, the rest is left out
		}
		files[filepath.ToSlash(name)] = path
		return nil
	})
}

// epoch is the earliest time that a zip archive can hold.
var epoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

func add(w *zip.Writer, name, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: epoch}
	mode := fs.FileMode(0o644)
	if info.Mode()&0o111 != 0 {
		mode = 0o755
	}
	h.SetMode(mode)
	out, err := w.CreateHeader(h)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, f)
	return err
}
