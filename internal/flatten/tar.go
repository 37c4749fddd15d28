package flatten

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Tar is a layer of a container image.
type Tar struct {
	// Open returns the layer's bytes, which are read once, to their end: a tar,
	// or one packed by gzip or zstd, as its first bytes tell. Errors of reading
	// and of Close fail the build, so a reader can verify a digest.
	Open func() (io.ReadCloser, error)
}

// tarOverhead is how much of a tar may be headers and padding, an entry.
const tarOverhead = 4 << 10

// checkedEvery is after how many entries the context is looked at.
const checkedEvery = 256

func (l Tar) add(ctx context.Context, b *builder) (err error) {
	file, err := l.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	raw := &source{r: file, ctx: ctx}
	unpacked, stop, err := unpack(bufio.NewReaderSize(raw, 64<<10))
	if err == nil {
		err = b.addTar(ctx, &bounded{r: unpacked, left: &b.raw})
		stop()
	}
	// What the layer is read from may be at fault, not the layer.
	if raw.err != nil {
		return raw.err
	}
	return err
}

// source remembers what went wrong in the reader below.
type source struct {
	r   io.Reader
	ctx context.Context
	err error
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		s.err = context.Cause(s.ctx)
		return 0, s.err
	}
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF {
		s.err = err
	}
	return n, err
}

// bounded counts what a layer unpacks to.
type bounded struct {
	r    io.Reader
	left *int64
}

var errTooMuch = fmt.Errorf("%w: too many bytes between files", ErrTooLarge)

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if *b.left -= int64(n); *b.left < 0 {
		return 0, errTooMuch
	}
	return n, err
}

func (b *builder) addTar(ctx context.Context, r io.Reader) error {
	buffered := bufio.NewReaderSize(r, 64<<10)
	t := tar.NewReader(buffered)
	for i := 0; ; i++ {
		if i%checkedEvery == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		header, err := t.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) { // names are checked here
			return damaged(err)
		}
		if err := b.addEntry(header, t); err != nil {
			return blame(header.Name, err)
		}
	}
	// The end of what was packed holds its checksum, and the caller may want
	// to see all bytes.
	if _, err := io.Copy(io.Discard, buffered); err != nil {
		return damaged(err)
	}
	return nil
}

// damaged marks errors of the formats around the entries.
func damaged(err error) error {
	if errors.Is(err, ErrTooLarge) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrInvalid, cutOff(err))
}

// cutOff says what the end of a layer in the middle of something means.
func cutOff(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("it is cut off, build it again: %w", err)
	}
	return err
}

// blame names the entry at fault.
func blame(name string, err error) error {
	var disk diskError
	switch {
	case errors.As(err, &disk):
		return err
	case errors.Is(err, ErrTooLarge), errors.Is(err, ErrInvalid):
		return fmt.Errorf("entry %.100q: %w", name, err)
	default:
		return fmt.Errorf("%w: entry %.100q: %w", ErrInvalid, name, cutOff(err))
	}
}

// Names that say something about layers below.
const (
	whiteoutPrefix = ".wh."
	whiteoutMeta   = ".wh..wh."
	opaque         = ".wh..wh..opq"
)

func (b *builder) addEntry(h *tar.Header, content io.Reader) error {
	if h.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	segments, err := splitPath(h.Name)
	if err != nil {
		return err
	}
	if len(segments) == 0 {
		return b.setRoot(h)
	}
	base := segments[len(segments)-1]
	if strings.HasPrefix(base, whiteoutPrefix) {
		return b.whiteout(segments[:len(segments)-1], base)
	}
	if isDevice(h.Typeflag) {
		return b.device(h, segments)
	}
	n, err := b.newInode(h)
	if err != nil {
		return err
	}
	// A link's target is looked for before anything is made on the way to it.
	parent, err := b.directory(segments[:len(segments)-1], walk{create: true})
	if err != nil {
		return err
	}
	switch h.Typeflag {
	case tar.TypeLink:
		target, err := splitPath(h.Linkname)
		if err != nil {
			return fmt.Errorf("the target of the hard link: %w", err)
		}
		return b.link(parent, base, target)
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		if err := b.take(&n, h.Size, content); err != nil {
			return err
		}
	}
	d, err := b.put(parent, base, n)
	if err != nil {
		return err
	}
	if n.is(typeDir) && h.PAXRecords[xattrRecord+"trusted.overlay.opaque"] == "y" {
		b.clear(d)
	}
	return nil
}

// newInode is what a header says, without the content.
func (b *builder) newInode(h *tar.Header) (inode, error) {
	n := inode{mode: uint16(h.Mode & 0o7777)}
	var err error
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		n.mode |= typeRegular
	case tar.TypeDir:
		n.mode |= typeDir
	case tar.TypeFifo:
		n.mode |= typeFIFO
	case tar.TypeLink:
		return n, nil // all else is its target's
	case tar.TypeSymlink:
		n.mode = typeSymlink | 0o777
		if err = b.setTarget(&n, h.Linkname); err != nil {
			return n, err
		}
	default:
		return n, fmt.Errorf("it is of type %q, which no image may hold", h.Typeflag)
	}
	if h.Uid < 0 || h.Gid < 0 || int64(h.Uid) >= 1<<32-1 || int64(h.Gid) >= 1<<32-1 {
		return n, errors.New("its owner is out of range")
	}
	n.uid, n.gid = uint32(h.Uid), uint32(h.Gid)
	n.setTime(h.ModTime)
	n.xattrs, err = b.setXattrs(h.PAXRecords)
	return n, err
}

func (b *builder) setTarget(n *inode, target string) error {
	switch {
	case target == "":
		return errors.New("it is a symbolic link without a target")
	case len(target) > maxPath:
		return fmt.Errorf("it is a symbolic link whose target is longer than %d bytes", maxPath)
	case strings.IndexByte(target, 0) >= 0:
		return errors.New("it is a symbolic link with a zero byte in its target")
	}
	at, err := b.tree.remember(target)
	n.at, n.size = int64(at), int64(len(target))
	return err
}

// take keeps a file's content.
func (b *builder) take(n *inode, size int64, content io.Reader) error {
	if size < 0 || size > b.left {
		return fmt.Errorf("%w: the contents of all files have more than %d bytes", ErrTooLarge, b.limits.Bytes)
	}
	b.left -= size
	n.size, n.at = size, b.spool.offset()
	return b.spool.readFrom(content, size)
}

// setRoot takes what a layer says about the image's root.
func (b *builder) setRoot(h *tar.Header) error {
	if h.Typeflag != tar.TypeDir {
		return errors.New("the root is not a directory")
	}
	n, err := b.newInode(h)
	if err != nil {
		return err
	}
	b.tree.node(rootDentry).setAttributes(&n)
	return nil
}

// whiteout takes away what layers below have.
func (b *builder) whiteout(parent []string, base string) error {
	name := strings.TrimPrefix(base, whiteoutPrefix)
	if base != opaque {
		if strings.HasPrefix(base, whiteoutMeta) {
			b.skipped++ // what AUFS kept for itself
			return nil
		}
		if name == "" || name == "." || name == ".." {
			return errors.New("it is a whiteout of nothing")
		}
	}
	dir, err := b.directory(parent, walk{})
	if err != nil || dir == 0 {
		return err
	}
	if base == opaque {
		b.clear(dir)
	} else {
		b.hide(dir, name)
	}
	return nil
}

func isDevice(kind byte) bool { return kind == tar.TypeChar || kind == tar.TypeBlock }

// device decides about device nodes. No sandbox lets its function use one, and
// /dev is mounted over: below it they are left out, as archives of whole
// systems have them. A character device 0/0 is how overlayfs hides a name.
func (b *builder) device(h *tar.Header, segments []string) error {
	last := len(segments) - 1
	switch {
	case h.Typeflag == tar.TypeChar && h.Devmajor == 0 && h.Devminor == 0:
		dir, err := b.directory(segments[:last], walk{})
		if err == nil && dir != 0 {
			b.hide(dir, segments[last])
		}
		return err
	case segments[0] == "dev" && last > 0:
		b.skipped++
		return nil
	default:
		return errors.New("it is a device outside of /dev")
	}
}
