package archive

import (
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// File is one thing in checked archives, as it is to be unpacked: regular files
// are readable by all and writable only by their owner, and one that anyone may
// execute may be executed by all; directories have mode 0755; set-user-id and the
// like are dropped.
type File struct {
	// Path is clean and relative.
	Path string
	// Mode has one of the types directory, regular and symbolic link.
	Mode fs.FileMode
	// Modified is the time that the archive gives, or the beginning of 1970 if
	// it gives none that file systems can hold, or does not name a directory.
	Modified time.Time
	// Target is where a symbolic link points.
	Target string
	entry  entry
}

// List checks archives, but for the contents of files, and returns what is there
// when they are unpacked over each other, sorted by path: directories come before
// what is in them. A file of a later archive takes the place of what has its path
// in an earlier one, directories are joined. Limits hold for all of them together,
// and links must not lead out of the result.
func List(l Limits, sources ...Source) ([]File, error) {
	p, err := openAll(l, sources)
	if err != nil {
		return nil, err
	}
	files := make([]File, 0, len(p.tree))
	for name, n := range p.tree {
		if n.kind == directory {
			files = append(files, File{Path: name, Mode: fs.ModeDir | 0o755, Modified: time.Unix(0, 0)})
		}
	}
	for _, e := range p.entries {
		if e.kind == directory {
			continue
		}
		f := File{Path: e.path, Mode: fileMode(e.mode), Modified: e.modified(), entry: e}
		if e.kind == symlink {
			f.Mode, f.Target = fs.ModeSymlink|0o777, p.tree[e.path].target
		}
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	for _, e := range p.entries {
		if e.kind == directory {
			i, _ := slices.BinarySearchFunc(files, e.path, func(f File, path string) int { return strings.Compare(f.Path, path) })
			files[i].Modified = e.modified()
		}
	}
	return files, nil
}

// CopyTo unpacks a regular file, which may have fewer than limit bytes.
func (f *File) CopyTo(w io.Writer, limit int64) (int64, error) { return f.entry.copyTo(w, limit) }

// modified is the time that the archive gives, within what file systems hold.
func (e *entry) modified() time.Time {
	t := e.file.Modified
	if t.Before(time.Unix(0, 0)) || t.After(time.Unix(1<<31-1, 0)) {
		return time.Unix(0, 0)
	}
	return t
}

func fileMode(m fs.FileMode) fs.FileMode {
	mode := m.Perm()&0o700 | 0o444
	if m.Perm()&0o111 != 0 {
		mode |= 0o111
	}
	return mode
}
