package flatten

import (
	"errors"
	"io"
	"sort"
)

// Image is an ext4 file system that is computed as it is read. It can be read
// by many at once.
type Image struct {
	spool  *spool
	layout *layout
	head   [firstData * blockSize]byte
	stats  Stats
}

// ReadAt implements io.ReaderAt.
func (m *Image) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("flatten: read before the image's beginning")
	}
	n := 0
	for n < len(p) {
		at := off + int64(n)
		if at >= m.stats.Size {
			return n, io.EOF
		}
		rest := p[n:]
		if left := m.stats.Size - at; int64(len(rest)) > left {
			rest = rest[:left]
		}
		read, err := m.readPart(rest, at)
		n += read
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// readPart reads at least a byte from one part of the image.
func (m *Image) readPart(p []byte, at int64) (int, error) {
	l := m.layout
	metaStart, metaEnd := int64(l.metaStart)*blockSize, int64(l.metaEnd)*blockSize
	switch {
	case at < int64(len(m.head)):
		return copy(p, m.head[at:]), nil
	case at >= metaEnd:
		clear(p)
		return len(p), nil
	case at >= metaStart:
		p = p[:min(int64(len(p)), metaEnd-at)]
		return m.spool.readAt(p, l.metaAt+at-metaStart)
	}
	return m.readContent(p[:min(int64(len(p)), metaStart-at)], at)
}

// readContent reads from the content that is at a place, or the zeros after it.
func (m *Image) readContent(p []byte, at int64) (int, error) {
	l := m.layout
	inodes := &l.tree.inodes
	block := uint32(at / blockSize) //nolint:gosec // at most maxBlocks
	after := sort.Search(len(l.placed), func(i int) bool { return inodes.at(l.placed[i]).block > block })
	if after < len(l.placed) {
		next := int64(inodes.at(l.placed[after]).block) * blockSize
		p = p[:min(int64(len(p)), next-at)]
	}
	if after == 0 {
		clear(p)
		return len(p), nil
	}
	n := inodes.at(l.placed[after-1])
	from := at - int64(n.block)*blockSize
	if from >= n.size {
		clear(p)
		return len(p), nil
	}
	p = p[:min(int64(len(p)), n.size-from)]
	if n.is(typeSymlink) {
		return copy(p, l.tree.target(n)[from:]), nil
	}
	return m.spool.readAt(p, n.at+from)
}

func (s *spool) readAt(p []byte, off int64) (int, error) {
	n, err := s.file.ReadAt(p, off)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF // all that an image has was written
	}
	return n, err
}
