package flatten

import "encoding/binary"

// The parts of ext4 that an image consists of. Numbers are little-endian.
// Source: Documentation/filesystems/ext4 of the Linux kernel.
const (
	blockSize         = 4096
	blocksPerGroup    = 8 * blockSize
	maxInodesPerGroup = 8 * blockSize
	inodeSize         = 256
	inodesPerBlock    = blockSize / inodeSize
	inodeExtra        = 32
	inodeUsed         = 128 + inodeExtra
	groupDescriptor   = 32
	maxGroups         = blockSize / groupDescriptor
	maxBlocks         = maxGroups * blocksPerGroup

	rootNumber = 2
	firstInode = 11 // those before are reserved

	// fastLink is the length from which on a link's target needs a block.
	fastLink = 60
	// manyLinks is how many links of a directory are counted; with more
	// subdirectories its count is 1.
	manyLinks = 65000
)

const (
	compatExtAttr      = 0x8
	compatSparseSuper2 = 0x200 // with no numbers given: no copies of the superblock

	incompatFiletype = 0x2
	incompatExtents  = 0x40
	incompatFlexBg   = 0x200 // bitmaps and tables of inodes are anywhere

	roCompatLargeFile  = 0x2
	roCompatDirNlink   = 0x20
	roCompatExtraIsize = 0x40
	roCompatReadonly   = 0x1000 // the kernel mounts it read-only or not at all
)

// uuid is of all images: they have no identity besides their content.
var uuid = [16]byte{0x68, 0x65, 0x61, 0x72, 0x74, 0x68, 0x4e, 0x01, 0x80, 0x01, 0x76, 0x6f, 0x6c, 0x75, 0x6d, 0x65}

const superblockAt = 1024

// putSuperblock writes the superblock.
func (l *layout) putSuperblock(b []byte, freeBlocks, freeInodes uint32) {
	le := binary.LittleEndian
	le.PutUint32(b[0x00:], l.groups*l.perGroup)
	le.PutUint32(b[0x04:], l.blocks)
	le.PutUint32(b[0x0c:], freeBlocks)
	le.PutUint32(b[0x10:], freeInodes)
	le.PutUint32(b[0x18:], 2) // block size: 2¹⁰⁺²
	le.PutUint32(b[0x1c:], 2) // cluster size, the same
	le.PutUint32(b[0x20:], blocksPerGroup)
	le.PutUint32(b[0x24:], blocksPerGroup)
	le.PutUint32(b[0x28:], l.perGroup)
	le.PutUint16(b[0x36:], 0xffff) // mounts before a check: never
	le.PutUint16(b[0x38:], 0xef53)
	le.PutUint16(b[0x3a:], 1) // clean
	le.PutUint16(b[0x3c:], 1) // on errors: go on
	le.PutUint32(b[0x4c:], 1) // revision with sizes of inodes
	le.PutUint32(b[0x54:], firstInode)
	le.PutUint16(b[0x58:], inodeSize)
	le.PutUint32(b[0x5c:], compatExtAttr|compatSparseSuper2)
	le.PutUint32(b[0x60:], incompatFiletype|incompatExtents|incompatFlexBg)
	le.PutUint32(b[0x64:], roCompatLargeFile|roCompatDirNlink|roCompatExtraIsize|roCompatReadonly)
	copy(b[0x68:], uuid[:])
	le.PutUint16(b[0x15c:], inodeExtra)
	le.PutUint16(b[0x15e:], inodeExtra)
	b[0x174] = 7 // groups of a flexible group: 2⁷, all
}

// putInode writes an inode's entry in the table.
func (l *layout) putInode(b []byte, n *inode, links uint32) {
	le := binary.LittleEndian
	le.PutUint16(b[0x00:], n.mode)
	le.PutUint16(b[0x02:], uint16(n.uid)) //nolint:gosec // the low half
	le.PutUint16(b[0x18:], uint16(n.gid)) //nolint:gosec // the low half
	le.PutUint16(b[0x78:], uint16(n.uid>>16))
	le.PutUint16(b[0x7a:], uint16(n.gid>>16))
	if n.is(typeDir) && links >= manyLinks {
		links = 1
	}
	le.PutUint16(b[0x1a:], uint16(links))
	le.PutUint16(b[0x80:], inodeExtra)
	low, high := uint32(n.seconds), uint32((n.seconds-int64(int32(n.seconds)))>>32)&3|n.nanos<<2           //nolint:gosec // two parts of one number
	for _, at := range []struct{ low, high int }{{0x08, 0x8c}, {0x0c, 0x84}, {0x10, 0x88}, {0x90, 0x94}} { // accessed, changed, modified, created
		le.PutUint32(b[at.low:], low)
		le.PutUint32(b[at.high:], high)
	}
}

// putContent says in an inode where its content is. leaf is the block of its
// extents if they are too many for the inode.
func putContent(b []byte, size int64, start, blocks, leaf uint32) {
	le := binary.LittleEndian
	putSize(b, size)
	le.PutUint32(b[0x20:], 0x80000) // it uses extents
	root := b[0x28:0x64]
	if count := extents(blocks); count > inlineExtents {
		putExtentHeader(root, 1, inlineExtents, 1)
		le.PutUint32(root[12+4:], leaf)
		return
	}
	putExtents(root, start, blocks, inlineExtents)
}

func putSize(b []byte, size int64) {
	binary.LittleEndian.PutUint32(b[0x04:], uint32(size))     //nolint:gosec // the low half
	binary.LittleEndian.PutUint32(b[0x6c:], uint32(size>>32)) //nolint:gosec // the high half
}

func extents(blocks uint32) uint32 { return (blocks + maxExtent - 1) / maxExtent }

func putExtentHeader(b []byte, entries, room, depth uint16) {
	le := binary.LittleEndian
	le.PutUint16(b[0:], 0xf30a)
	le.PutUint16(b[2:], entries)
	le.PutUint16(b[4:], room)
	le.PutUint16(b[6:], depth)
}

func putExtents(b []byte, start, blocks uint32, room uint16) {
	le := binary.LittleEndian
	putExtentHeader(b, uint16(extents(blocks)), room, 0) //nolint:gosec // at most 128
	for done, e := uint32(0), b[12:]; done < blocks; e = e[12:] {
		length := min(blocks-done, maxExtent)
		le.PutUint32(e[0:], done)
		le.PutUint16(e[4:], uint16(length)) //nolint:gosec // at most maxExtent
		le.PutUint32(e[8:], start+done)
		done += length
	}
}

// Types of files in directories.
func direntType(n *inode) byte {
	switch n.mode & typeMask {
	case typeRegular:
		return 1
	case typeDir:
		return 2
	case typeFIFO:
		return 5
	case typeSymlink:
		return 7
	default:
		return 0
	}
}

const direntHeader = 8

// directoryWriter puts entries into blocks, none across two.
type directoryWriter struct {
	block  [blockSize]byte
	used   int
	last   int // where the last entry begins
	blocks uint32
	emit   func([]byte) error // nil: only count
}

func (w *directoryWriter) add(number uint32, kind byte, name []byte) error {
	length := align4(direntHeader + len(name))
	if w.used+length > blockSize {
		if err := w.finish(); err != nil {
			return err
		}
	}
	if w.emit != nil {
		e := w.block[w.used:]
		binary.LittleEndian.PutUint32(e, number)
		binary.LittleEndian.PutUint16(e[4:], uint16(length)) //nolint:gosec // less than a block
		e[6], e[7] = uint8(len(name)), kind                  //nolint:gosec // names are checked
		copy(e[direntHeader:], name)
	}
	w.last = w.used
	w.used += length
	return nil
}

// finish lets the last entry reach to the end of the block.
func (w *directoryWriter) finish() error {
	w.blocks++
	if w.emit == nil {
		w.used = 0
		return nil
	}
	binary.LittleEndian.PutUint16(w.block[w.last+4:], uint16(blockSize-w.last)) //nolint:gosec // at most a block
	err := w.emit(w.block[:])
	clear(w.block[:])
	w.used, w.last = 0, 0
	return err
}
