package blockfs

import (
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// firstNode is the node of the first volume; 1 is the directory's.
const firstNode = fuse.FUSE_ROOT_ID + 1

// maxBackground is how many reads the kernel asks for at once. It counts the
// reads of all volumes, so a stalled source must not use it up: a loop device
// has at most 128 requests under way.
const maxBackground = math.MaxUint16

// files is the FUSE file system: one directory, one file a volume.
type files struct {
	fuse.RawFileSystem

	shelf *shelf
}

// String names the file system's type.
func (*files) String() string { return "hearth-blockfs" }

// Lookup implements fuse.RawFileSystem.
func (f *files) Lookup(_ <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	if header.NodeId != fuse.FUSE_ROOT_ID {
		return fuse.ENOENT
	}
	f.shelf.mu.Lock()
	defer f.shelf.mu.Unlock()
	for _, v := range f.shelf.byNode {
		if v.name == name {
			out.NodeId, out.Attr = v.node, v.attr()
			// A node is one volume for ever. The name is looked up again, so
			// that the kernel does not keep it longer than needed.
			out.SetAttrTimeout(time.Hour)
			return fuse.OK
		}
	}
	return fuse.ENOENT
}

func (v *volume) attr() fuse.Attr {
	return fuse.Attr{
		Ino: v.node, Mode: syscall.S_IFREG | 0o400, Nlink: 1, Blksize: 4096,
		Size: uint64(v.size), Blocks: uint64(v.size) / SectorSize, //nolint:gosec // not negative
	}
}

// GetAttr implements fuse.RawFileSystem.
func (f *files) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	out.SetTimeout(time.Hour)
	if in.NodeId == fuse.FUSE_ROOT_ID {
		out.Attr = fuse.Attr{Ino: in.NodeId, Mode: syscall.S_IFDIR | 0o500, Nlink: 2}
		return fuse.OK
	}
	v := f.shelf.node(in.NodeId)
	if v == nil {
		return fuse.ENOENT
	}
	out.Attr = v.attr()
	return fuse.OK
}

func (s *shelf) node(n uint64) *volume {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byNode[n]
}

// Open implements fuse.RawFileSystem. Direct I/O: the kernel keeps no copy of
// the file, and nobody can map it shared.
func (f *files) Open(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	if in.Flags&syscall.O_ACCMODE != syscall.O_RDONLY {
		return fuse.EROFS
	}
	f.shelf.mu.Lock()
	defer f.shelf.mu.Unlock()
	v := f.shelf.byNode[in.NodeId]
	if v == nil {
		return fuse.ENOENT
	}
	v.handles++
	out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_NOFLUSH
	return fuse.OK
}

// StatFs implements fuse.RawFileSystem.
func (*files) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	out.Bsize, out.NameLen = 4096, 255
	return fuse.OK
}

// Release implements fuse.RawFileSystem.
func (f *files) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	f.shelf.mu.Lock()
	defer f.shelf.mu.Unlock()
	if v := f.shelf.byNode[in.NodeId]; v != nil {
		v.handles--
		if v.handles == 0 {
			f.shelf.settleSoon(v)
		}
	}
}

// Read implements fuse.RawFileSystem.
func (f *files) Read(cancel <-chan struct{}, in *fuse.ReadIn, _ []byte) (fuse.ReadResult, fuse.Status) {
	v := f.shelf.node(in.NodeId)
	if v == nil || in.Offset > math.MaxInt64 {
		return nil, fuse.EIO
	}
	b, err := v.read(cancel, int64(in.Offset), int(in.Size))
	switch {
	case errors.Is(err, errInterrupted):
		return nil, fuse.EINTR
	case err != nil:
		return nil, fuse.EIO
	}
	return readResult{b}, fuse.OK
}

// readResult hands a buffer to the kernel and takes it back.
type readResult struct{ *buffer }

func (r readResult) Bytes([]byte) ([]byte, fuse.Status) { return r.data, fuse.OK }
func (r readResult) Size() int                          { return len(r.data) }
func (r readResult) Done()                              { r.free() }

// Slices has the buffer written as it is.
func (r readResult) Slices() ([][]byte, fuse.Status) { return [][]byte{r.data}, fuse.OK }

// mountFiles mounts the file system at dir.
func mountFiles(s *shelf, dir string) (*fuse.Server, error) {
	// The mount is made here and not by the library, so that the descriptor
	// never is in a child process: the connection ends with its last copy.
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/fuse: %w (try: modprobe fuse)", err)
	}
	options := fmt.Sprintf("fd=%d,rootmode=%o,user_id=%d,group_id=%d,max_read=%d", fd, syscall.S_IFDIR, os.Geteuid(), os.Getegid(), maxRead)
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_RDONLY
	if err := unix.Mount("hearth-blockfs", dir, "fuse.hearth-blockfs", flags, options); err != nil {
		return nil, errors.Join(fmt.Errorf("mount FUSE at %s: %w", dir, err), unix.Close(fd))
	}
	server, err := fuse.NewServer(&files{fuse.NewDefaultRawFileSystem(), s}, fmt.Sprintf("/dev/fd/%d", fd), &fuse.MountOptions{
		MaxWrite: maxRead, MaxBackground: maxBackground, CongestionThreshold: maxBackground,
		// Without it the kernel's worker waits for each read of a loop device
		// before it sends the next.
		ExtraCapabilities: fuse.CAP_ASYNC_DIO,
		DisableXAttrs:     true, DisableSplice: true, DisableReadDirPlus: true,
		Logger: log.New(io.Discard, "", 0),
	})
	if err != nil {
		return nil, fmt.Errorf("start FUSE at %s: %w", dir, err)
	}
	return server, nil
}

// openFile opens a file of the mount to attach it. os.Open would have the Go
// runtime ask the kernel, and the kernel us, whether the file can be polled,
// on a thread that the runtime does not replace.
func openFile(dir, name string) (*os.File, error) {
	path := filepath.Join(dir, name)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}
