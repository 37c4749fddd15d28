package flatten

import (
	"encoding/binary"
	"math"
)

// finish computes the image and appends its metadata to the spool.
func (b *builder) finish() (*Image, error) {
	l, err := b.tree.arrange()
	if err != nil {
		return nil, err
	}
	l.metaStart = l.next
	if l.next >= largeFile { // of a small image, nothing is gained by it
		l.metaStart = (l.next + alignment - 1) / alignment * alignment
		l.gaps = append(l.gaps, gap{l.next, l.metaStart})
	}
	l.metaAt = b.spool.offset()
	w := &metadata{layout: l, spool: b.spool, next: uint64(l.metaStart)}
	if err := w.directories(); err != nil {
		return nil, err
	}
	if err := w.attributes(); err != nil {
		return nil, err
	}
	if err := w.extents(); err != nil {
		return nil, err
	}
	if w.next >= maxBlocks {
		return nil, tooLong()
	}
	if err := l.divide(uint32(w.next)); err != nil {
		return nil, err
	}
	if err := w.inodes(); err != nil {
		return nil, err
	}
	image := &Image{spool: b.spool, layout: l, stats: l.stats}
	if err := w.bitmaps(&image.head); err != nil {
		return nil, err
	}
	if err := b.spool.finish(); err != nil {
		return nil, err
	}
	image.stats.Size = int64(l.blocks) * blockSize
	image.stats.Bytes, image.stats.Skipped = b.limits.Bytes-b.left, b.skipped
	l.tree.forget()
	l.order = nil
	return image, nil
}

// forget drops what reading the image does not need.
func (t *tree) forget() {
	t.dentries, t.table, t.known, t.xattrs = slab[dentry]{}, nil, nil, nil
}

// metadata writes block after block.
type metadata struct {
	*layout

	spool *spool
	next  uint64 // block
	// attributesAt and leafAt are the first blocks of those parts.
	attributesAt, leafAt uint64
}

func (w *metadata) emit(block []byte) error {
	w.next++
	_, err := w.spool.Write(block)
	return err
}

// directories writes the directories' blocks in the order of their inodes. A
// directory's size in bytes tells putInode how many there are.
func (w *metadata) directories() error {
	t := w.tree
	// Directories' own dentries are found through their parents: an inode does
	// not know its name. Root first, then each by its number.
	parents := make(map[uint32]uint32, w.stats.Dirs) // inode → inode of its parent
	for _, i := range w.order {
		n := t.inodes.at(i)
		if !n.is(typeDir) {
			continue
		}
		for c := uint32(n.at); c != 0; c = t.dentries.at(c).next { //nolint:gosec // a dentry
			if t.node(c).is(typeDir) {
				parents[t.dentries.at(c).inode] = i
			}
		}
	}
	parents[rootInode] = rootInode
	d := &directoryWriter{emit: w.emit}
	for _, i := range w.order {
		if n := t.inodes.at(i); n.is(typeDir) {
			if err := w.directory(d, n, t.inodes.at(parents[i])); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *metadata) directory(d *directoryWriter, n, parent *inode) error {
	t := w.tree
	if w.next >= maxBlocks {
		return tooLong()
	}
	n.block = uint32(w.next)
	before := d.blocks
	links := uint32(2)
	if err := d.add(n.number, direntType(n), []byte(".")); err != nil {
		return err
	}
	if err := d.add(parent.number, direntType(parent), []byte("..")); err != nil {
		return err
	}
	for c := uint32(n.at); c != 0; c = t.dentries.at(c).next { //nolint:gosec // a dentry
		child := t.node(c)
		if child.is(typeDir) {
			links++
		}
		if err := d.add(child.number, direntType(child), t.name(t.dentries.at(c))); err != nil {
			return err
		}
	}
	if err := d.finish(); err != nil {
		return err
	}
	n.size = int64(d.blocks-before) * blockSize
	n.at = 0
	n.links = uint16(min(links, math.MaxUint16))
	return nil
}

// attributes writes those that do not fit into inodes, a block each.
func (w *metadata) attributes() error {
	w.attributesAt = w.next
	var block [blockSize]byte
	for _, i := range w.order {
		set := w.tree.xattrs[w.tree.inodes.at(i).xattrs]
		if !needsBlock(set) {
			continue
		}
		clear(block[:])
		binary.LittleEndian.PutUint32(block[0:], xattrMagic)
		binary.LittleEndian.PutUint32(block[4:], 1) // references
		binary.LittleEndian.PutUint32(block[8:], 1) // blocks
		putXattrs(block[xattrBlockHeader:], set, xattrBlockHeader)
		if err := w.emit(block[:]); err != nil {
			return err
		}
	}
	return nil
}

func needsBlock(set []xattr) bool { return len(set) > 0 && xattrSize(set) > xattrInInode }

// allBlocks is how many blocks of content an inode has, directories included.
func (n *inode) allBlocks() uint32 {
	if n.is(typeDir) {
		return uint32(n.size / blockSize) //nolint:gosec // less than maxBlocks
	}
	return uint32(n.blocks()) //nolint:gosec // less than maxBlocks
}

// extents writes the blocks of extents that do not fit into inodes.
func (w *metadata) extents() error {
	w.leafAt = w.next
	var block [blockSize]byte
	for _, i := range w.order {
		n := w.tree.inodes.at(i)
		blocks := n.allBlocks()
		if extents(blocks) <= inlineExtents {
			continue
		}
		clear(block[:])
		putExtents(block[:], n.block, blocks, leafExtents)
		if err := w.emit(block[:]); err != nil {
			return err
		}
	}
	return nil
}

// inodes writes the table.
func (w *metadata) inodes() error {
	attributes, leaf := uint32(w.attributesAt), uint32(w.leafAt) //nolint:gosec // less than maxBlocks
	table := make([]byte, blockSize)
	written := uint32(0)
	room := func(number uint32) ([]byte, error) {
		for block := (number - 1) / inodesPerBlock; written < block; written++ {
			if err := w.emit(table); err != nil {
				return nil, err
			}
			clear(table)
		}
		at := (number - 1) % inodesPerBlock * inodeSize
		return table[at : at+inodeSize], nil
	}
	for _, i := range w.order {
		n := w.tree.inodes.at(i)
		b, err := room(n.number)
		if err != nil {
			return err
		}
		blocks := n.allBlocks()
		w.putInode(b, n, uint32(n.links))
		used := blocks
		switch {
		case n.is(typeSymlink) && n.size < fastLink:
			putSize(b, n.size)
			copy(b[0x28:], w.tree.target(n))
		case !n.is(typeFIFO):
			putContent(b, n.size, n.block, blocks, leaf)
			if extents(blocks) > inlineExtents {
				leaf++
				used++
			}
		}
		if set := w.tree.xattrs[n.xattrs]; needsBlock(set) {
			binary.LittleEndian.PutUint32(b[0x68:], attributes)
			attributes++
			used++
		} else if len(set) > 0 {
			binary.LittleEndian.PutUint32(b[inodeUsed:], xattrMagic)
			putXattrs(b[inodeUsed+4:], set, 0)
		}
		binary.LittleEndian.PutUint32(b[0x1c:], used*(blockSize/512))
	}
	_, err := room(w.groups*w.perGroup + 1)
	return err
}

// bitmaps writes the groups' bitmaps, and the head of the image.
func (w *metadata) bitmaps(head *[firstData * blockSize]byte) error {
	le := binary.LittleEndian
	inodes := uint32(len(w.order)) + firstInode - 2 //nolint:gosec // bounded by limits.Entries
	dirs := make([]uint16, w.groups)
	for _, i := range w.order {
		if n := w.tree.inodes.at(i); n.is(typeDir) {
			dirs[(n.number-1)/w.perGroup]++
		}
	}
	var freeBlocks, freeInodes uint32
	blockBits, inodeBits := make([]byte, 0, w.groups*blockSize), make([]byte, 0, w.groups*blockSize)
	for g := range w.groups {
		first := g * blocksPerGroup
		var used [blockSize]byte
		setBits(&used, 0, within(w.metaEnd, first))
		for _, gap := range w.gaps {
			clearBits(&used, within(gap.from, first), within(gap.to, first))
		}
		end := within(w.blocks, first)
		free := end - countBits(&used, end)
		setBits(&used, end, blocksPerGroup)
		blockBits = append(blockBits, used[:]...)

		taken := min(max(inodes, g*w.perGroup)-g*w.perGroup, w.perGroup)
		used = [blockSize]byte{}
		setBits(&used, 0, taken)
		setBits(&used, w.perGroup, maxInodesPerGroup)
		inodeBits = append(inodeBits, used[:]...)

		d := head[blockSize+g*groupDescriptor:]
		le.PutUint32(d[0x0:], w.bitmap+g)
		le.PutUint32(d[0x4:], w.bitmap+w.groups+g)
		le.PutUint32(d[0x8:], w.inodeTable+g*(w.perGroup/inodesPerBlock))
		le.PutUint16(d[0xc:], uint16(free))             //nolint:gosec // at most 32768
		le.PutUint16(d[0xe:], uint16(w.perGroup-taken)) //nolint:gosec // at most 32768
		le.PutUint16(d[0x10:], dirs[g])
		freeBlocks += free
		freeInodes += w.perGroup - taken
	}
	w.putSuperblock(head[superblockAt:], freeBlocks, freeInodes)
	for _, bits := range [][]byte{blockBits, inodeBits} {
		for ; len(bits) > 0; bits = bits[blockSize:] {
			if err := w.emit(bits[:blockSize]); err != nil {
				return err
			}
		}
	}
	return nil
}

// within is a block's place in the group that begins at first, or the nearest.
func within(block, first uint32) uint32 { return min(max(block, first)-first, blocksPerGroup) }

func setBits(b *[blockSize]byte, from, to uint32) {
	for i := from; i < to; i++ {
		b[i/8] |= 1 << (i % 8)
	}
}

func clearBits(b *[blockSize]byte, from, to uint32) {
	for i := from; i < to; i++ {
		b[i/8] &^= 1 << (i % 8)
	}
}

func countBits(b *[blockSize]byte, to uint32) uint32 {
	n := uint32(0)
	for i := range to {
		n += uint32(b[i/8] >> (i % 8) & 1)
	}
	return n
}
