package flatten

import (
	"bytes"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// Where things are in an image, in this order:
//
//	block 0       superblock
//	block 1       group descriptors, of at most 128 groups: 16 GiB
//	from 2        contents of files and of long links: layer by layer, by path
//	              within a layer; directories of gaps let a change stay local
//	then          directories, attributes, extents that do not fit into inodes,
//	              the table of inodes, the bitmaps: "metadata"
//
// Contents of lower layers come first and are placed by themselves alone, so
// images of one base begin alike. Metadata is at the end for the same reason.

const (
	firstData = 2
	// alignment is a chunk of a volume, in blocks. Large files begin on one, and
	// so do some small ones: which, depends on their names alone. After a change
	// of sizes, all that comes after the next such file is in the same chunks
	// as before, if elsewhere.
	alignment = 512 << 10 / blockSize
	// largeFile begins on a chunk of its own: half a chunk of at least 8 is lost.
	largeFile = 8 * alignment
	// minRun and meanRun are how many blocks small files take between two
	// alignments: half a chunk of nearly twenty is lost, 3 %.
	minRun  = 2 * alignment
	meanRun = 16 * alignment
)

// maxExtent is the most blocks an extent describes, inlineExtents how many of
// them an inode holds, leafExtents how many a block.
const (
	maxExtent     = 1 << 15
	inlineExtents = 4
	leafExtents   = (blockSize - 12) / 12
)

type gap struct{ from, to uint32 }

// layout is what is where.
type layout struct {
	tree *tree
	// order has all inodes by rising number.
	order []uint32
	// placed has those of them with blocks of content, by rising block.
	placed []uint32
	gaps   []gap // free blocks among the contents
	stats  Stats

	next, aligned uint32 // the next free block, and the last one that was aligned

	metaStart, metaEnd uint32 // blocks
	inodeTable, bitmap uint32 // blocks
	blocks             uint32 // of the whole image
	groups, perGroup   uint32 // and inodes per group
	metaAt             int64  // where metadata begins in the spool
}

// arrange numbers the inodes and places the contents.
func (t *tree) arrange() (*layout, error) {
	l := &layout{tree: t, next: firstData, aligned: firstData, order: make([]uint32, 0, t.live+1)}
	l.number()
	l.placed = make([]uint32, 0, l.stats.Files)
	for _, i := range l.order {
		n := t.inodes.at(i)
		hash := n.block
		if size := n.blocks(); size > 0 {
			if err := l.place(i, n, size, hash); err != nil {
				return nil, err
			}
		}
	}
	return l, nil
}

// blocks is how many blocks of content an inode has, directories excepted.
func (n *inode) blocks() int64 {
	if n.is(typeSymlink) && n.size < fastLink {
		return 0
	}
	if n.is(typeRegular) || n.is(typeSymlink) {
		return (n.size + blockSize - 1) / blockSize
	}
	return 0
}

// number walks the tree by sorted names, puts the inodes in order by layer, and
// sorts each directory's list on the way. Until inodes are placed, their block
// is a hash of the first of their paths.
func (l *layout) number() {
	l.see(rootInode, 0)
	var scratch []uint32
	l.visit(rootDentry, 0, &scratch)
	t := l.tree
	slices.SortStableFunc(l.order, func(a, b uint32) int { return int(t.inodes.at(a).layer) - int(t.inodes.at(b).layer) })
	for k, i := range l.order {
		t.inodes.at(i).number = uint32(k) + firstInode - 1
	}
	t.inodes.at(rootInode).number = rootNumber
}

func (l *layout) visit(d, hash uint32, scratch *[]uint32) {
	t := l.tree
	t.sortDirectory(d, scratch)
	for c := uint32(t.node(d).at); c != 0; c = t.dentries.at(c).next { //nolint:gosec // a dentry
		e := t.dentries.at(c)
		h := hashPath(hash, t.name(e))
		l.see(e.inode, h)
		if t.node(c).is(typeDir) {
			l.visit(c, h, scratch)
		}
	}
}

// see takes an inode under the first of its names.
func (l *layout) see(i, hash uint32) {
	n := l.tree.inodes.at(i)
	if n.number != 0 {
		return
	}
	n.number, n.block = 1, hash
	l.order = append(l.order, i)
	l.count(n)
}

func (l *layout) count(n *inode) {
	switch n.mode & typeMask {
	case typeDir:
		l.stats.Dirs++
	case typeSymlink:
		l.stats.Links++
	default:
		l.stats.Files++
	}
}

// sortDirectory puts a directory's list in the order of its names' bytes.
func (t *tree) sortDirectory(d uint32, scratch *[]uint32) {
	n := t.node(d)
	list := (*scratch)[:0]
	for c := uint32(n.at); c != 0; c = t.dentries.at(c).next { //nolint:gosec // a dentry
		list = append(list, c)
	}
	slices.SortFunc(list, func(a, b uint32) int {
		return bytes.Compare(t.name(t.dentries.at(a)), t.name(t.dentries.at(b)))
	})
	prev := uint32(0)
	for _, c := range list {
		t.dentries.at(c).prev = prev
		if prev == 0 {
			n.at = int64(c)
		} else {
			t.dentries.at(prev).next = c
		}
		prev = c
	}
	if prev != 0 {
		t.dentries.at(prev).next = 0
	}
	*scratch = list
}

// hashPath is FNV-1a of a path, and a last step that spreads its bits.
func hashPath(h uint32, name []byte) uint32 {
	if h == 0 {
		h = 2166136261
	}
	for _, c := range name {
		h = (h ^ uint32(c)) * 16777619
	}
	return (h ^ '/') * 16777619
}

// place gives an inode its blocks.
func (l *layout) place(i uint32, n *inode, size int64, hash uint32) error {
	if int64(l.next)+size > maxBlocks {
		return tooLong()
	}
	length := uint32(size) //nolint:gosec // less than maxBlocks
	if l.breaks(length, hash) {
		if to := (l.next + alignment - 1) / alignment * alignment; to > l.next {
			l.gaps = append(l.gaps, gap{l.next, to})
			l.next = to
		}
		l.aligned = l.next
	}
	n.block = l.next
	l.next += length
	if l.next > maxBlocks {
		return tooLong()
	}
	l.placed = append(l.placed, i)
	return nil
}

// breaks says whether a file begins on a chunk of its own. That of small ones
// is likelier the larger they are: once every meanRun.
func (l *layout) breaks(length, hash uint32) bool {
	if length >= largeFile {
		return true
	}
	spread := bits.Reverse32(hash * 2654435761)
	return l.next-l.aligned >= minRun && uint64(spread) < uint64(length)*(math.MaxUint32/meanRun)
}

func tooLong() error {
	return fmt.Errorf("%w: the image would have more than %d bytes", ErrTooLarge, int64(maxBlocks)*blockSize)
}

// divide finds how many groups the image has. Inodes ask for groups as blocks
// do, and their table takes blocks itself.
func (l *layout) divide(dataEnd uint32) error {
	inodes := uint32(len(l.order)) + firstInode - 2 //nolint:gosec // bounded by limits.Entries
	for groups := max(1, (inodes+maxInodesPerGroup-1)/maxInodesPerGroup); groups <= maxGroups; groups++ {
		perGroup := (inodes + groups - 1) / groups
		perGroup = (perGroup + inodesPerBlock - 1) / inodesPerBlock * inodesPerBlock
		table := groups * perGroup / inodesPerBlock
		end := uint64(dataEnd) + uint64(table) + 2*uint64(groups)
		if (end+blocksPerGroup-1)/blocksPerGroup > uint64(groups) {
			continue
		}
		l.groups, l.perGroup = groups, perGroup
		l.inodeTable = dataEnd
		l.bitmap = dataEnd + table
		l.metaEnd = uint32(end) //nolint:gosec // at most maxBlocks
		l.blocks = max(l.metaEnd, (groups-1)*blocksPerGroup+1)
		return nil
	}
	return tooLong()
}
