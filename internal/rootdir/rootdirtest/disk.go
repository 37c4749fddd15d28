// Package rootdirtest has a directory in memory, for the tests of stores over a
// rootdir.Dir. Its operations fail when they are told to, and what was not synced
// is lost when its power is cut. Stores put it behind their own seam, with what
// they add to a rootdir.Dir.
package rootdirtest

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
)

// ErrPowerCut is a fault that makes every later operation fail, too.
var ErrPowerCut = errors.New("power cut")

// Disk is the directory: a file's bytes last only once they are synced, and its
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

// FailEach makes every changing operation on the names chosen fail, but removing,
// which a full disk allows; nil ends it.
func (d *Disk) FailEach(fault error, of func(name string) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault, d.only, d.left, d.failed = fault, of, 0, false
}

// op is called, locked, at the beginning of each operation that changes the
// disk.
func (d *Disk) op(name string) error {
	if d.only != nil && d.only(name) {
		d.failed = true
		return d.fault
	}
	return d.count()
}

// count counts an operation, and is the fault if it is its turn.
func (d *Disk) count() error {
	switch {
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

// Rename gives a file or a directory another name. A directory takes what is
// below it along.
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

// Remove removes a file or an empty directory.
func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.count(); err != nil {
		return err
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

// Mkdir makes a directory.
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

// Sync makes a file's bytes, or the names in a directory, durable.
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

// SyncAll makes all that was written so far durable, names too.
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

// ReadDir lists a directory, sorted.
func (d *Disk) ReadDir(name string) ([]fs.DirEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.live[name] == nil {
		return nil, fs.ErrNotExist
	}
	var found []fs.DirEntry
	for n, node := range d.live {
		if n != "." && path.Dir(n) == name {
			found = append(found, newEntry(n, node))
		}
	}
	slices.SortFunc(found, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return found, nil
}

// Close does nothing.
func (d *Disk) Close() error { return nil }
