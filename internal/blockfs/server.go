package blockfs

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"hearth/internal/mount"
)

// Config is what a Server is made of.
type Config struct {
	// Dir is the server's own directory. It is made, for the owner only.
	Dir string
	// Opener makes the volumes.
	Opener Opener
	// Locked, which may be nil, is called once, when the directory is this
	// server's and no other has it: the time to open what only one may have
	// open. Unlocked is called before the directory is given back.
	Locked   func() error
	Unlocked func()
	// Build names the program, for clients of other builds; see Build.
	Build string
	// Counters says what the opener's volumes have cost since the start, as
	// JSON; nothing if it is nil.
	Counters func() any
	Log      *slog.Logger
	// ReadTimeout is when a read is answered with EIO (default 30 s).
	ReadTimeout time.Duration
	// OpenTimeout is how long the opener may take (default 30 s).
	OpenTimeout time.Duration
	// ReadsPerVolume bounds the reads of a volume's source under way, and so
	// the memory that a stalled one holds: 1 MiB each (default 64).
	ReadsPerVolume int
	// PrefetchDepth bounds the chunks of a volume that are fetched ahead at
	// once (default 16).
	PrefetchDepth int
	// ReadAhead is how many bytes the kernel reads ahead of a reader, 0 to
	// 16 MiB, in steps of 4 KiB (default 512 KiB).
	ReadAhead int
}

func (c *Config) fill() error {
	if c.ReadTimeout == 0 {
		c.ReadTimeout = 30 * time.Second
	}
	if c.OpenTimeout == 0 {
		c.OpenTimeout = 30 * time.Second
	}
	if c.ReadsPerVolume == 0 {
		c.ReadsPerVolume = 64
	}
	if c.PrefetchDepth == 0 {
		c.PrefetchDepth = 16
	}
	if c.ReadAhead == 0 {
		c.ReadAhead = defaultReadAhead
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Locked == nil {
		c.Locked = func() error { return nil }
	}
	if c.Unlocked == nil {
		c.Unlocked = func() {}
	}
	if c.Counters == nil {
		c.Counters = func() any { return struct{}{} }
	}
	var errs []error
	if c.Dir == "" {
		errs = append(errs, errors.New("no directory"))
	}
	if c.Opener == nil {
		errs = append(errs, errors.New("no opener"))
	}
	if c.ReadTimeout < 0 || c.OpenTimeout < 0 || c.ReadsPerVolume < 0 || c.PrefetchDepth < 0 {
		errs = append(errs, errors.New("a negative bound"))
	}
	if c.ReadAhead < 0 || c.ReadAhead > 16<<20 || c.ReadAhead%4096 != 0 {
		errs = append(errs, fmt.Errorf("read-ahead of %d bytes", c.ReadAhead))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("blockfs: config: %w", err)
	}
	return nil
}

// defaultReadAhead is a chunk: more would fetch what nobody reads.
const defaultReadAhead = DefaultChunkSize

const (
	// maxName bounds ids of volumes and names of owners.
	maxName = 512
	// maxSessions bounds clients, maxCalls the calls of one under way.
	maxSessions = 32
	maxCalls    = 64
	// helloTimeout is how long each side waits for the other's first frame,
	// and writeTimeout for it to take a frame.
	helloTimeout = 10 * time.Second
	writeTimeout = 10 * time.Second
)

// Names in the directory.
const (
	socketName = "socket"
	lockName   = "lock"
	mountName  = "mnt"
	logName    = "log"
)

// Server shows volumes.
type Server struct {
	cfg      Config
	instance string
	lock     *os.File
	dir      *os.File // holds the directory of the socket
	shelf    *shelf
	fuse     *fuse.Server
	listener *net.UnixListener

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	// serving is of the FUSE library's loop, which ends with the mount.
	serving sync.WaitGroup
	slots   chan struct{}
	ended   chan struct{}
	end     sync.Once
}

// NewServer makes a Server; Start starts it.
func NewServer(cfg Config) (*Server, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("blockfs: %w", err)
	}
	cfg.Dir = dir
	var instance [4]byte
	_, _ = rand.Read(instance[:]) // never fails
	s := &Server{cfg: cfg, instance: hex.EncodeToString(instance[:]), slots: make(chan struct{}, maxSessions), ended: make(chan struct{})}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.shelf = newShelf(s.ctx, &s.cfg, filePrefix(dir)+s.instance+"-")
	s.shelf.attach, s.shelf.detach = s.attach, mount.DetachLoopNamed
	return s, nil
}

// filePrefix begins the names of all files that servers of a directory show.
// It tells their loop devices from others even when the mount is gone from
// the tree. With instance and node a name has at most 57 bytes.
func filePrefix(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return "hearth-blockfs-" + hex.EncodeToString(sum[:6]) + "-"
}

// Start takes the directory, removes what a former server left in it, and
// serves. The context bounds the starting only.
func (s *Server) Start(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("blockfs: start: %w", errors.Join(err, s.Stop()))
		}
	}()
	if err := makeDir(s.cfg.Dir); err != nil {
		return err
	}
	if s.lock, err = takeLock(ctx, s.cfg.Dir); err != nil {
		return err
	}
	if err := s.cfg.Locked(); err != nil {
		return err
	}
	if err := sweep(s.cfg.Dir); err != nil {
		return err
	}
	if err := os.Mkdir(s.mountpoint(), 0o700); err != nil {
		return err
	}
	if s.fuse, err = mountFiles(s.shelf, s.mountpoint()); err != nil {
		return err
	}
	s.serving.Go(s.fuse.Serve)
	if s.dir, s.listener, err = listen(s.cfg.Dir); err != nil {
		return err
	}
	listener := s.listener
	s.wg.Go(func() { s.accept(listener) })
	s.wg.Go(func() {
		select {
		case <-s.shelf.idle:
			s.finish()
		case <-s.ctx.Done():
		}
	})
	return nil
}

func (s *Server) mountpoint() string { return filepath.Join(s.cfg.Dir, mountName) }

// Done is closed when the server has been asked to end: by a client, or since
// it was to retire and nobody uses it any more. Stop is due then.
func (s *Server) Done() <-chan struct{} { return s.ended }

// Retire has the server end when nobody uses it any more.
func (s *Server) Retire() { s.shelf.retire() }

func (s *Server) finish() { s.end.Do(func() { close(s.ended) }) }

// Stop ends the server. What is still mounted from it gives EIO from now on.
func (s *Server) Stop() error {
	s.finish()
	var errs []error
	if s.listener != nil {
		errs = append(errs, s.listener.Close(), s.dir.Close()) // and removes the socket
		s.listener = nil
	}
	s.cancel() // sessions end, reads fail
	s.wg.Wait()
	if s.fuse != nil {
		s.shelf.clear()
		errs = append(errs, mount.Abort(s.mountpoint()))
		s.serving.Wait()
		s.fuse = nil
	}
	if s.lock != nil {
		s.cfg.Unlocked()
		errs = append(errs, sweep(s.cfg.Dir), os.Remove(filepath.Join(s.cfg.Dir, lockName)), s.lock.Close())
		s.lock = nil
	}
	s.shelf.closeAll() // last: it waits for sources, which may hang
	return errors.Join(errs...)
}

// attach makes a loop device of a file of the mount.
func (s *Server) attach(name string) (string, error) {
	f, err := openFile(s.mountpoint(), name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	device, err := mount.AttachLoop(f, name)
	if err != nil {
		return "", err
	}
	if err := mount.SetReadAhead(device, s.cfg.ReadAhead); err != nil {
		return "", errors.Join(err, mount.DetachLoopNamed(device, name))
	}
	return device, nil
}

// makeDir makes the directory, or checks that nobody else can enter it.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || st.Mode&0o077 != 0 {
		return fmt.Errorf("%s must be a directory that only user %d can enter; run: chown %d %s && chmod 700 %s", dir, os.Geteuid(), os.Geteuid(), dir, dir)
	}
	return nil
}

// lockRetry is how often a lock that is held is asked for again. A server that
// was killed holds it until the kernel has closed its files.
const lockRetry = 5 * time.Millisecond

// errTaken says that another server serves the directory.
var errTaken = errors.New("another blockfs serves the directory")

// takeLock locks the directory. It waits for a server that is ending, and not
// for one that serves.
func takeLock(ctx context.Context, dir string) (*os.File, error) {
	return lockUnless(ctx, dir, listens)
}

// awaitLock locks the directory of a server that is ending.
func awaitLock(ctx context.Context, dir string) (*os.File, error) {
	return lockUnless(ctx, dir, func(string) bool { return false })
}

func lockUnless(ctx context.Context, dir string, served func(string) bool) (*os.File, error) {
	tick := time.NewTicker(lockRetry)
	defer tick.Stop()
	for {
		f, err := tryLock(filepath.Join(dir, lockName))
		if err == nil || !errors.Is(err, unix.EAGAIN) {
			return f, err
		}
		if served(dir) {
			return nil, errTaken
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", errTaken, context.Cause(ctx))
		}
	}
}

// listens says whether somebody listens at the socket.
func listens(dir string) bool {
	d, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer d.Close()
	conn, err := net.DialUnix("unix", nil, socketAddr(d))
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// tryLock locks a file. EAGAIN says that somebody else has it.
func tryLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f, path); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func lockFile(f *os.File, path string) error {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("lock %s: %w", path, err)
	}
	// A server that ends removes its lock: this one may be of no directory.
	var ours, there unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &ours); err != nil {
		return err
	}
	if err := unix.Stat(path, &there); err != nil || there.Ino != ours.Ino {
		return unix.EAGAIN
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := fmt.Fprintf(f, "%d\n", os.Getpid())
	return err
}

// sweep removes what a server left in its directory. The order matters: where
// a file was is not known any more when the mount is detached.
func sweep(dir string) error {
	devices, err := mount.LoopsNamed(filePrefix(dir))
	if err != nil {
		return err
	}
	var errs []error
	for device, name := range devices {
		errs = append(errs, mount.DetachLoopNamed(device, name))
	}
	mnt := filepath.Join(dir, mountName)
	points, err := mount.Below(mnt)
	errs = append(errs, err)
	for _, point := range points {
		errs = append(errs, mount.Abort(point))
	}
	for _, path := range []string{mnt, filepath.Join(dir, socketName)} {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// listen makes the socket. Its address goes through an open directory, as a
// path in an address has at most 107 bytes.
func listen(dir string) (*os.File, *net.UnixListener, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	l, err := net.ListenUnix("unix", socketAddr(d))
	if err != nil {
		return nil, nil, errors.Join(err, d.Close())
	}
	return d, l, nil
}

func socketAddr(dir *os.File) *net.UnixAddr {
	return &net.UnixAddr{Net: "unix", Name: fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), socketName)}
}
