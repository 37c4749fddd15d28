package objectstore

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// errPowerCut makes this and every later operation of a memDisk fail.
var errPowerCut = errors.New("power cut")

// memDisk is a disk that forgets: a file's bytes last only once they are
// synced, and its name only once its directory is, as POSIX has it.
type memDisk struct {
	mu      sync.Mutex
	live    map[string]*node
	durable map[string]*node // names that survive a power cut
	left    int              // operations until the fault
	fault   error
	failed  bool
}

type node struct {
	dir    bool
	data   []byte
	synced []byte
}

func newMemDisk() *memDisk {
	return &memDisk{live: map[string]*node{".": {dir: true}}, durable: map[string]*node{".": {dir: true}}}
}

// failAt makes the n-th operation from now fail; 0 for none. It says whether
// the fault set before has struck.
func (d *memDisk) failAt(n int, fault error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	struck := d.failed
	d.left, d.fault, d.failed = n, fault, false
	return struck
}

// powerCut returns the disk as it is found when the power is back.
func (d *memDisk) powerCut() *memDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := newMemDisk()
	for name, n := range d.durable {
		lost := false
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			lost = lost || d.durable[dir] == nil
		}
		if !lost {
			after.live[name] = &node{dir: n.dir, data: bytes.Clone(n.synced), synced: bytes.Clone(n.synced)}
		}
	}
	after.durable = maps.Clone(after.live)
	return after
}

func (d *memDisk) count(dir string) int {
	entries, err := d.ReadDir(dir)
	if err != nil {
		return -1
	}
	return len(entries)
}

// op is called, locked, at the beginning of each operation that changes the
// disk.
func (d *memDisk) op() error {
	if d.fault == nil || d.left == 0 {
		return nil
	}
	if d.failed && errors.Is(d.fault, errPowerCut) {
		return d.fault
	}
	if d.left--; d.left > 0 {
		return nil
	}
	d.failed = true
	if errors.Is(d.fault, errPowerCut) {
		d.left = 1 // and every one after it
	}
	return d.fault
}

func (d *memDisk) Create(name string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op(); err != nil {
		return nil, err
	}
	if d.live[name] != nil {
		return nil, fs.ErrExist
	}
	n := &node{}
	d.live[name] = n
	return &memFile{d, n}, nil
}

type memFile struct {
	disk *memDisk
	node *node
}

func (f *memFile) Write(p []byte) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.disk.op(); err != nil {
		half := p[:len(p)/2]
		f.node.data = append(f.node.data, half...)
		return len(half), err
	}
	f.node.data = append(f.node.data, p...)
	return len(p), nil
}

func (f *memFile) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.disk.op(); err != nil {
		return err
	}
	f.node.synced = bytes.Clone(f.node.data)
	return nil
}

func (f *memFile) Close() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return f.disk.op()
}

func (d *memDisk) Open(name string) (io.ReadSeekCloser, int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.live[name]
	if n == nil || n.dir {
		return nil, 0, fs.ErrNotExist
	}
	return struct {
		io.ReadSeeker
		io.Closer
	}{bytes.NewReader(n.data), io.NopCloser(nil)}, int64(len(n.data)), nil
}

func (d *memDisk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op(); err != nil {
		return err
	}
	if d.live[from] == nil || d.live[path.Dir(to)] == nil {
		return fs.ErrNotExist
	}
	d.live[to] = d.live[from]
	delete(d.live, from)
	return nil
}

func (d *memDisk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed && errors.Is(d.fault, errPowerCut) {
		return d.fault
	}
	if d.live[name] == nil {
		return fs.ErrNotExist
	}
	for other := range d.live {
		if strings.HasPrefix(other, name+"/") {
			return errors.New("directory not empty")
		}
	}
	delete(d.live, name)
	return nil
}

func (d *memDisk) Mkdir(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op(); err != nil {
		return err
	}
	if d.live[path.Dir(name)] == nil {
		return fs.ErrNotExist
	}
	if d.live[name] != nil {
		return fs.ErrExist
	}
	d.live[name] = &node{dir: true}
	return nil
}

func (d *memDisk) SyncDir(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op(); err != nil {
		return err
	}
	maps.DeleteFunc(d.durable, func(n string, _ *node) bool { return n != "." && path.Dir(n) == name })
	for n, node := range d.live {
		if n != "." && path.Dir(n) == name {
			d.durable[n] = node
		}
	}
	return nil
}

func (d *memDisk) ReadDir(name string) ([]fs.DirEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.live[name] == nil {
		return nil, fs.ErrNotExist
	}
	var found []fs.DirEntry
	for _, n := range slices.Sorted(maps.Keys(d.live)) {
		if n != "." && path.Dir(n) == name {
			found = append(found, memEntry{path.Base(n), d.live[n]})
		}
	}
	return found, nil
}

func (d *memDisk) Close() error { return nil }

type memEntry struct {
	name string
	node *node
}

func (e memEntry) Name() string { return e.name }
func (e memEntry) IsDir() bool  { return e.node.dir }
func (e memEntry) Type() fs.FileMode {
	if e.node.dir {
		return fs.ModeDir
	}
	return 0
}
func (e memEntry) Info() (fs.FileInfo, error) { return memInfo{e}, nil }

type memInfo struct{ memEntry }

func (i memInfo) Size() int64        { return int64(len(i.node.data)) }
func (i memInfo) Mode() fs.FileMode  { return i.Type() }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) Sys() any           { return nil }
