package flatten

import (
	"errors"
	"fmt"
	"hash/maphash"
)

// The tree is in arrays without pointers, so that a million files take 120 MB
// and the garbage collector has nothing to look at.

// dentry is a name in a directory. It is never freed, only dead: the same name
// may come back. Dead ones are in no list.
type dentry struct {
	parent, next, prev uint32
	name               uint32 // in tree.names
	inode              uint32 // 0: dead
	layer              uint16 // that had a say in it last
	length             uint8  // of the name
}

// inode is what names lead to.
type inode struct {
	// size is of a file's content or a link's target.
	size int64
	// at is where the content is in the spool, the target in the names, or the
	// first dentry of a directory.
	at      int64
	seconds int64
	nanos   uint32
	uid     uint32
	gid     uint32
	xattrs  uint32 // in tree.xattrs, 0: none
	block   uint32 // where the content is in the image
	number  uint32 // in the image
	links   uint16
	mode    uint16 // with its type, as in stat
	layer   uint16 // that it came with
}

// Types of files, as in stat.
const (
	typeMask    = 0o170000
	typeFIFO    = 0o010000
	typeDir     = 0o040000
	typeRegular = 0o100000
	typeSymlink = 0o120000
)

func (n *inode) is(kind uint16) bool { return n.mode&typeMask == kind }

const slabBits = 13

// slab is a growing array whose elements never move.
type slab[T any] struct {
	parts [][]T
	n     uint32
}

func (s *slab[T]) at(i uint32) *T { return &s.parts[i>>slabBits][i&(1<<slabBits-1)] }

func (s *slab[T]) add() (uint32, *T) {
	if s.n&(1<<slabBits-1) == 0 {
		s.parts = append(s.parts, make([]T, 1<<slabBits))
	}
	s.n++
	return s.n - 1, s.at(s.n - 1)
}

const (
	rootDentry = 1
	rootInode  = 1
)

type tree struct {
	dentries slab[dentry]
	inodes   slab[inode]
	// names holds names and targets; it never moves either.
	names    [][]byte
	nameUsed uint32
	xattrs   [][]xattr
	known    map[string]uint32 // index in xattrs by encoded form
	// table finds a dentry by its parent and name: open addressing, linear
	// probing, nothing is ever removed.
	table    []uint32
	seed     maphash.Seed
	limits   Limits
	metadata int // bytes of names, targets and attributes
	live     int
	steps    int
}

const nameBits = 16

func newTree(l Limits) *tree {
	t := &tree{limits: l, table: make([]uint32, 1<<10), seed: maphash.MakeSeed(), xattrs: make([][]xattr, 1), known: make(map[string]uint32), steps: maxSteps}
	t.dentries.add() // 0 is none
	t.inodes.add()
	_, d := t.dentries.add()
	d.parent, d.inode = rootDentry, rootInode
	_, n := t.inodes.add()
	n.mode, n.layer = typeDir|0o755, 0
	return t
}

// remember keeps bytes and returns where they are.
func (t *tree) remember(s string) (uint32, error) {
	if t.metadata += len(s); t.metadata > t.limits.Names {
		return 0, fmt.Errorf("%w: names, links and attributes have more than %d bytes together", ErrTooLarge, t.limits.Names)
	}
	const size = 1 << nameBits
	if int(t.nameUsed&(size-1))+len(s) > size || t.nameUsed&(size-1) == 0 {
		t.nameUsed = uint32(len(t.names)) << nameBits //nolint:gosec // bounded by limits.Names
		t.names = append(t.names, make([]byte, size))
	}
	at := t.nameUsed
	copy(t.names[at>>nameBits][at&(size-1):], s)
	t.nameUsed += uint32(len(s)) //nolint:gosec // at most maxPath
	return at, nil
}

func (t *tree) bytesAt(at uint32, length int) []byte {
	start := int(at & (1<<nameBits - 1))
	return t.names[at>>nameBits][start : start+length]
}

func (t *tree) name(d *dentry) []byte { return t.bytesAt(d.name, int(d.length)) }

func (t *tree) target(n *inode) string {
	return string(t.bytesAt(uint32(n.at), int(n.size))) //nolint:gosec // as remember returned it
}

func (t *tree) node(d uint32) *inode { return t.inodes.at(t.dentries.at(d).inode) }

func (t *tree) hash(parent uint32, name string) uint64 {
	return maphash.Comparable(t.seed, parent)*31 ^ maphash.String(t.seed, name)
}

// find returns the slot in the table where a name is, or belongs.
func (t *tree) find(parent uint32, name string) (slot uint64, d uint32) {
	mask := uint64(len(t.table) - 1) //nolint:gosec // positive
	for slot = t.hash(parent, name) & mask; ; slot = (slot + 1) & mask {
		d = t.table[slot]
		if d == 0 {
			return slot, 0
		}
		if e := t.dentries.at(d); e.parent == parent && string(t.name(e)) == name {
			return slot, d
		}
	}
}

// lookup returns the live dentry of a name, or 0.
func (t *tree) lookup(parent uint32, name string) uint32 {
	if _, d := t.find(parent, name); d != 0 && t.dentries.at(d).inode != 0 {
		return d
	}
	return 0
}

// enter returns the dentry of a name, which is dead if it was not there.
func (t *tree) enter(parent uint32, name string) (uint32, error) {
	slot, d := t.find(parent, name)
	if d != 0 {
		return d, nil
	}
	if int(t.dentries.n) >= t.limits.Entries/2*3 {
		return 0, fmt.Errorf("%w: more than %d names", ErrTooLarge, t.limits.Entries/2*3)
	}
	at, err := t.remember(name)
	if err != nil {
		return 0, err
	}
	d, e := t.dentries.add()
	e.parent, e.name, e.length = parent, at, uint8(len(name)) //nolint:gosec // names are checked
	t.table[slot] = d
	if int(t.dentries.n) > len(t.table)/4*3 {
		t.grow()
	}
	return d, nil
}

func (t *tree) grow() {
	old := t.table
	t.table = make([]uint32, 2*len(old))
	mask := uint64(len(t.table) - 1) //nolint:gosec // positive
	for _, d := range old {
		if d == 0 {
			continue
		}
		e := t.dentries.at(d)
		slot := t.hash(e.parent, string(t.name(e))) & mask
		for t.table[slot] != 0 {
			slot = (slot + 1) & mask
		}
		t.table[slot] = d
	}
}

// attach makes a dead dentry live.
func (t *tree) attach(d, node uint32, layer uint16) error {
	if t.live++; t.live > t.limits.Entries {
		return fmt.Errorf("%w: more than %d files, directories and links", ErrTooLarge, t.limits.Entries)
	}
	e := t.dentries.at(d)
	parent := t.node(e.parent)
	e.inode, e.layer = node, layer
	e.prev, e.next = 0, uint32(parent.at) //nolint:gosec // a dentry
	if e.next != 0 {
		t.dentries.at(e.next).prev = d
	}
	parent.at = int64(d)
	n := t.inodes.at(node)
	if n.links == maxLinks {
		return fmt.Errorf("%w: it has more than %d hard links", ErrTooLarge, maxLinks)
	}
	n.links++
	return nil
}

// maxLinks is how many names ext4 allows a file.
const maxLinks = 65000

// detach makes a dentry dead, and all below it.
func (t *tree) detach(d uint32) {
	e := t.dentries.at(d)
	n := t.node(d)
	if n.is(typeDir) {
		for n.at != 0 {
			t.detach(uint32(n.at)) //nolint:gosec // a dentry
		}
	}
	if e.prev != 0 {
		t.dentries.at(e.prev).next = e.next
	} else {
		t.node(e.parent).at = int64(e.next)
	}
	if e.next != 0 {
		t.dentries.at(e.next).prev = e.prev
	}
	n.links--
	e.inode, e.prev, e.next = 0, 0, 0
	t.live--
}

var errNotDirectory = errors.New("a part of its path is not a directory")
