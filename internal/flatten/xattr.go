package flatten

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// xattrRecord begins the names of a tar's PAX records for extended attributes.
const xattrRecord = "SCHILY.xattr."

// xattr is an extended attribute as ext4 has it: its name's prefix is a number.
type xattr struct {
	index uint8
	name  string
	value string
}

// Which attributes are kept, as in container runtimes: a program's capabilities
// and what belongs to users. Labels and signatures of the machine that made a
// layer, overlayfs's own marks and POSIX ACLs mean nothing here.
const (
	xattrUser     = 1
	xattrSecurity = 6
)

// setXattrs returns the number of a set of attributes; equal sets have one.
func (b *builder) setXattrs(records map[string]string) (uint32, error) {
	var set []xattr
	for key, value := range records {
		full, ok := strings.CutPrefix(key, xattrRecord)
		if !ok {
			continue
		}
		x := xattr{value: value}
		if name, ok := strings.CutPrefix(full, "user."); ok && name != "" && !strings.HasPrefix(name, "overlay.") {
			x.index, x.name = xattrUser, name
		} else if full == "security.capability" {
			x.index, x.name = xattrSecurity, "capability"
		} else {
			b.skipped++
			continue
		}
		if len(x.name) > math.MaxUint8 || strings.IndexByte(x.name, 0) >= 0 {
			return 0, errors.New("it has an extended attribute with a bad name")
		}
		set = append(set, x)
	}
	if len(set) == 0 {
		return 0, nil
	}
	// The kernel searches a block in this order.
	slices.SortFunc(set, func(a, b xattr) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
	if xattrSize(set) > blockSize-xattrBlockHeader {
		return 0, fmt.Errorf("its extended attributes do not fit into %d bytes", blockSize)
	}
	return b.tree.internXattrs(set)
}

func (t *tree) internXattrs(set []xattr) (uint32, error) {
	var key []byte
	for _, x := range set {
		key = append(key, x.index, byte(len(x.name))) //nolint:gosec // checked
		key = append(key, x.name...)
		key = binary.LittleEndian.AppendUint16(key, uint16(len(x.value))) //nolint:gosec // less than a block
		key = append(key, x.value...)
	}
	if i, ok := t.known[string(key)]; ok {
		return i, nil
	}
	const overhead = 256 // of the maps and slices for a set
	if t.metadata += 2*len(key) + overhead; t.metadata > t.limits.Names {
		return 0, fmt.Errorf("%w: names, links and attributes have more than %d bytes together", ErrTooLarge, t.limits.Names)
	}
	i := uint32(len(t.xattrs)) //nolint:gosec // bounded by limits.Names
	t.xattrs = append(t.xattrs, set)
	t.known[string(key)] = i
	return i, nil
}

// Sizes of the format.
const (
	xattrMagic       = 0xea020000
	xattrBlockHeader = 32
	xattrEntryHeader = 16
	xattrInInode     = inodeSize - inodeUsed - 4 // less the magic number
)

// xattrSize is the room that a set takes, its end marker included.
func xattrSize(set []xattr) int {
	size := 4
	for _, x := range set {
		size += xattrEntryHeader + align4(len(x.name)) + align4(len(x.value))
	}
	return size
}

func align4(n int) int { return (n + 3) &^ 3 }

// putXattrs writes entries from the front of room and values from its end.
// base is what is added to the values' offsets.
func putXattrs(room []byte, set []xattr, base int) {
	front, end := 0, len(room)
	for _, x := range set {
		end -= align4(len(x.value))
		copy(room[end:], x.value)
		e := room[front:]
		e[0], e[1] = uint8(len(x.name)), x.index                   //nolint:gosec // checked
		binary.LittleEndian.PutUint16(e[2:], uint16(end+base))     //nolint:gosec // less than a block
		binary.LittleEndian.PutUint32(e[8:], uint32(len(x.value))) //nolint:gosec // less than a block
		binary.LittleEndian.PutUint32(e[12:], hashXattr(x.name, room[end:end+align4(len(x.value))]))
		copy(e[xattrEntryHeader:], x.name)
		front += xattrEntryHeader + align4(len(x.name))
	}
}

// hashXattr is what e2fsck expects of an entry: the name's bytes are shifted in
// by five bits each, then the padded value's words by sixteen.
func hashXattr(name string, value []byte) uint32 {
	h := uint32(0)
	for i := range len(name) {
		h = h<<5 ^ h>>27 ^ uint32(name[i])
	}
	for ; len(value) > 0; value = value[4:] {
		h = h<<16 ^ h>>16 ^ binary.LittleEndian.Uint32(value)
	}
	return h
}

// setTime keeps a time within what ext4 can hold: 1901 to 2446.
func (n *inode) setTime(t time.Time) {
	const first, last = -1 << 31, 3<<32 + 1<<31 - 1
	n.seconds, n.nanos = t.Unix(), uint32(t.Nanosecond()) //nolint:gosec // below 10⁹
	if n.seconds < first || n.seconds > last {
		n.seconds, n.nanos = min(max(n.seconds, first), last), 0
	}
}
