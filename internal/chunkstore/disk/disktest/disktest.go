// Package disktest has a disk in memory that fails when it is told to, and
// that loses what was not synced when its power is cut.
package disktest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"hearth/internal/chunkstore/disk"
)

// ErrPowerCut is a fault that makes every later operation fail, too.
var ErrPowerCut = errors.New("power cut")

// Disk is a disk.Disk: a file's bytes last only once they are synced, and its
// name only once its directory is, as POSIX has it.
type Disk struct {
	// Now gives files their times; nil for none.
	Now func() time.Time

	mu      sync.Mutex
	live    map[string]*node
	durable map[string]*node // names that survive a power cut
	left    int              // operations until the fault
	fault   error
	failed  bool
	only    func(name string) bool
}

var _ disk.Disk = (*Disk)(nil)

type node struct {
	dir          bool
	data, synced []byte
	modified     time.Time
}

// New makes an empty disk.
func New() *Disk {
	return &Disk{live: map[string]*node{".": {dir: true}}, durable: map[string]*node{".": {dir: true}}}
}

// FailAt makes the n-th changing operation from now fail; 0 for none. It says
// whether the fault set before has struck.
func (d *Disk) FailAt(n int, fault error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	struck := d.failed
	d.left, d.fault, d.failed, d.only = n, fault, false, nil
	return struck
}

// FailEach makes every changing operation on the names chosen fail; nil ends
// it.
func (d *Disk) FailEach(fault error, of func(name string) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault, d.only, d.left, d.failed = fault, of, 0, false
}

// PowerCut returns the disk as it is found when the power is back.
func (d *Disk) PowerCut() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := New()
	after.Now = d.Now
	for name, n := range d.durable {
		lost := false
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			lost = lost || d.durable[dir] == nil
		}
		if !lost {
			after.live[name] = &node{dir: n.dir, data: bytes.Clone(n.synced), synced: bytes.Clone(n.synced), modified: n.modified}
		}
	}
	after.durable = maps.Clone(after.live)
	return after
}

// Kill returns the disk as a killed process leaves it: what was written is
// there, synced or not, and whoever still has the old one changes nothing.
func (d *Disk) Kill() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	after := New()
	after.Now = d.Now
	for name, n := range d.live {
		c := *n
		c.data, c.synced = bytes.Clone(n.data), bytes.Clone(n.synced)
		after.live[name] = &c
		if d.durable[name] == n {
			after.durable[name] = &c
		}
	}
	return after
}

// Files returns the names of all files below a directory, sorted.
func (d *Disk) Files(dir string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var found []string
	for name, n := range d.live {
		if !n.dir && (dir == "." || strings.HasPrefix(name, dir+"/")) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	return found
}

// Bytes is the size of all files below a directory.
func (d *Disk) Bytes(dir string) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	var sum int64
	for name, n := range d.live {
		if !n.dir && (dir == "." || strings.HasPrefix(name, dir+"/")) {
			sum += int64(len(n.data))
		}
	}
	return sum
}

// Edit changes a file's bytes behind everybody's back. It says whether there is
// such a file.
func (d *Disk) Edit(name string, edit func([]byte) []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.live[name]
	if n == nil || n.dir {
		return false
	}
	n.data = edit(bytes.Clone(n.data))
	n.synced = bytes.Clone(n.data)
	return true
}

// op is called, locked, at the beginning of each operation that changes the
// disk.
func (d *Disk) op(name string) error {
	switch {
	case d.only != nil && d.only(name):
		d.failed = true
		return d.fault
	case d.fault == nil || d.left == 0:
		return nil
	case d.failed && errors.Is(d.fault, ErrPowerCut):
		return d.fault
	}
	if d.left--; d.left > 0 {
		return nil
	}
	d.failed = true
	if errors.Is(d.fault, ErrPowerCut) {
		d.left = 1 // and every one after it
	}
	return d.fault
}

// WriteFile implements disk.Disk. It counts as two operations: creating and
// writing.
func (d *Disk) WriteFile(name string, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op(name); err != nil {
		return err
	}
	if d.live[name] != nil {
		return fs.ErrExist
	}
	if parent := d.live[path.Dir(name)]; parent == nil || !parent.dir {
		return fs.ErrNotExist
	}
	n := &node{}
	if d.Now != nil {
		n.modified = d.Now()
	}
	d.live[name] = n
	if err := d.op(name); err != nil {
		n.data = bytes.Clone(data[:len(data)/2])
		return err
	}
	n.data = bytes.Clone(data)
	return nil
}

// ReadFile implements disk.Disk.
func (d *Disk) ReadFile(name string, limit int64) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.live[name]
	switch {
	case n == nil || n.dir:
		return nil, fs.ErrNotExist
	case int64(len(n.data)) > limit:
		return nil, disk.ErrTooLong
	}
	return bytes.Clone(n.data), nil
}

// Stat implements disk.Disk.
func (d *Disk) Stat(name string) (disk.Info, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.live[name]
	if n == nil || n.dir {
		return disk.Info{}, fs.ErrNotExist
	}
	return disk.Info{Size: int64(len(n.data)), Modified: n.modified}, nil
}

// Rename implements disk.Disk. A directory takes what is below it along.
func (d *Disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op(to); err != nil {
		return err
	}
	if d.live[from] == nil || d.live[path.Dir(to)] == nil {
		return fs.ErrNotExist
	}
	for _, name := range slices.Collect(maps.Keys(d.live)) {
		if below, ok := strings.CutPrefix(name, from); ok && (below == "" || below[0] == '/') {
			d.live[to+below] = d.live[name]
			delete(d.live, name)
		}
	}
	return nil
}

// Remove implements disk.Disk.
func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.failed && errors.Is(d.fault, ErrPowerCut) {
		return d.fault
	}
	if d.live[name] == nil {
		return fs.ErrNotExist
	}
	if d.live[name].dir {
		for other := range d.live {
			if strings.HasPrefix(other, name+"/") {
				return fmt.Errorf("remove %s: directory not empty", name)
			}
		}
	}
	delete(d.live, name)
	return nil
}

// Mkdir implements disk.Disk.
func (d *Disk) Mkdir(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op(name); err != nil {
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

// Sync implements disk.Disk.
func (d *Disk) Sync(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op(name); err != nil {
		return err
	}
	n := d.live[name]
	if n == nil {
		return fs.ErrNotExist
	}
	if !n.dir {
		n.synced = bytes.Clone(n.data)
		return nil
	}
	before := maps.Clone(d.durable)
	maps.DeleteFunc(d.durable, func(n string, _ *node) bool { return n != "." && path.Dir(n) == name })
	for n, node := range d.live {
		if n != "." && path.Dir(n) == name {
			d.durable[n] = node
			if node.dir && before[n] != node {
				d.bringAlong(before, n, node)
			}
		}
	}
	return nil
}

// bringAlong has what is durable in a directory be so by the directory's new
// name, too.
func (d *Disk) bringAlong(before map[string]*node, name string, dir *node) {
	for old, n := range before {
		if n != dir {
			continue
		}
		for child, n := range before {
			if below, ok := strings.CutPrefix(child, old+"/"); ok {
				d.durable[name+"/"+below] = n
			}
		}
	}
}

// SyncAll implements disk.Disk.
func (d *Disk) SyncAll() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.op("."); err != nil {
		return err
	}
	for _, n := range d.live {
		n.synced = bytes.Clone(n.data)
	}
	d.durable = maps.Clone(d.live)
	return nil
}

// ReadDir implements disk.Disk.
func (d *Disk) ReadDir(name string) ([]fs.DirEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.live[name] == nil {
		return nil, fs.ErrNotExist
	}
	var found []fs.DirEntry
	for n, node := range d.live {
		if n != "." && path.Dir(n) == name {
			found = append(found, entry{path.Base(n), node.dir, int64(len(node.data)), node.modified})
		}
	}
	slices.SortFunc(found, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return found, nil
}

// Close implements disk.Disk.
func (d *Disk) Close() error { return nil }

// entry is a directory entry and its own info.
type entry struct {
	name     string
	dir      bool
	size     int64
	modified time.Time
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
