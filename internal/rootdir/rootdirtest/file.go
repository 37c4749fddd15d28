package rootdirtest

import (
	"bytes"
	"io/fs"
	"path"
	"time"
)

// File is a file that is being written. Each of its methods is an operation that
// can fail; of a write that does a half is there.
type File struct {
	disk *Disk
	name string
	node *node
}

// Create makes a file that is not there.
func (d *Disk) Create(name string) (*File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op(name); err != nil {
		return nil, err
	}
	if d.live[name] != nil {
		return nil, fs.ErrExist
	}
	if parent := d.live[path.Dir(name)]; parent == nil || !parent.dir {
		return nil, fs.ErrNotExist
	}
	n := &node{}
	if d.Now != nil {
		n.modified = d.Now()
	}
	d.live[name] = n
	return &File{d, name, n}, nil
}

// Append opens a file that is there, to write at its end.
func (d *Disk) Append(name string) (*File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op(name); err != nil {
		return nil, err
	}
	n := d.live[name]
	if n == nil || n.dir {
		return nil, fs.ErrNotExist
	}
	return &File{d, name, n}, nil
}

// Write implements io.Writer.
func (f *File) Write(p []byte) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	err := f.disk.op(f.name)
	if err != nil {
		p = p[:len(p)/2]
	}
	f.node.data = append(f.node.data, p...)
	if f.disk.Now != nil {
		f.node.modified = f.disk.Now()
	}
	return len(p), err
}

// Sync makes the file's bytes durable.
func (f *File) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.disk.op(f.name); err != nil {
		return err
	}
	f.node.synced = bytes.Clone(f.node.data)
	return nil
}

// Close implements io.Closer.
func (f *File) Close() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return f.disk.op(f.name)
}

// Reader reads a file as it was when it was opened.
type Reader struct {
	*bytes.Reader
	info fs.FileInfo
}

// Open opens a file to read it.
func (d *Disk) Open(name string) (*Reader, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.live[name]
	if n == nil || n.dir {
		return nil, fs.ErrNotExist
	}
	return &Reader{bytes.NewReader(bytes.Clone(n.data)), newEntry(name, n)}, nil
}

// Stat describes the file.
func (r *Reader) Stat() (fs.FileInfo, error) { return r.info, nil }

// Close implements io.Closer.
func (*Reader) Close() error { return nil }

// Stat describes a file or a directory.
func (d *Disk) Stat(name string) (fs.FileInfo, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.live[name]
	if n == nil {
		return nil, fs.ErrNotExist
	}
	return newEntry(name, n), nil
}

// Touch gives a file another time.
func (d *Disk) Touch(name string, at time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.live[name]
	if n == nil {
		return fs.ErrNotExist
	}
	n.modified = at
	return nil
}

// entry is a directory entry and its own info.
type entry struct {
	name     string
	dir      bool
	size     int64
	modified time.Time
}

func newEntry(name string, n *node) entry {
	return entry{path.Base(name), n.dir, int64(len(n.data)), n.modified}
}

func (e entry) Name() string               { return e.name }
func (e entry) IsDir() bool                { return e.dir }
func (e entry) Info() (fs.FileInfo, error) { return e, nil }
func (e entry) Size() int64                { return e.size }
func (e entry) ModTime() time.Time         { return e.modified }
func (e entry) Mode() fs.FileMode          { return e.Type() }
func (e entry) Sys() any                   { return nil }
func (e entry) Type() fs.FileMode {
	if e.dir {
		return fs.ModeDir
	}
	return 0
}
