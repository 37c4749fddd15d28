// Package datadir owns Hearth's data directory: who may use it, how it is laid
// out, and the keys and the address that other programs find there. The
// layout is docs/formats/datadir.md.
//
// Invariants:
//
//  1. At most one Hearth serves from a directory; the lock dies with it.
//  2. Nobody but the owner can read anything in it.
//  3. Nothing is written to a directory that is not Hearth's.
//
// Every refusal is an error that says what is wrong and what to do; it wraps
// one of the Err values of this package.
package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"hearth/internal/rootdir"
)

var (
	// ErrNotRoot says that the process is not root.
	ErrNotRoot = errors.New("hearth must run as root")
	// ErrLocked says that another Hearth uses the directory.
	ErrLocked = errors.New("another hearth uses this data directory")
	// ErrNotDataDir says that the directory holds something else.
	ErrNotDataDir = errors.New("not a hearth data directory")
	// ErrVersion says that another version of Hearth made the directory.
	ErrVersion = errors.New("unknown version of the data directory")
	// ErrUnsafe says that others can read or change what is in the directory.
	ErrUnsafe = errors.New("unsafe permissions")
	// ErrDamaged says that a file in the directory cannot be understood.
	ErrDamaged = errors.New("damaged file")
	// ErrNoSpace says that the file system is full.
	ErrNoSpace = errors.New("no space left")
	// ErrReadOnly says that the file system cannot be written.
	ErrReadOnly = errors.New("read-only file system")
	// ErrNotServing says that no Hearth serves from the directory.
	ErrNotServing = errors.New("no hearth is serving")
)

// formatVersion is the version of the layout, kept in the file versionFile.
const formatVersion = 1

// Names in the directory.
const (
	versionFile     = "version"
	lockFile        = "lock"
	credentialsFile = "credentials"
	endpointFile    = "endpoint"
	imagesFile      = "runtime-cache"
	keyringFile     = "keyring"
)

// subdirs are the directories that services keep their data in.
var subdirs = []string{"etcd", "objects", "runtimes", "worker", "logs", "audit", "chunks", "blockfs", "cache", "registry"}

// Dir is a data directory that this process holds the lock of.
type Dir struct {
	path string
	lock *os.File
}

// Open takes a directory for serving, making it if it is not there.
func Open(path string) (*Dir, error) { return open(path, os.Geteuid()) }

func open(path string, uid int) (_ *Dir, err error) {
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	if uid != 0 {
		return nil, fmt.Errorf("data directory %s: %w: sandboxes need it; start it with sudo", path, ErrNotRoot)
	}
	if err := makeRoot(path, uid); err != nil {
		return nil, err
	}
	d := &Dir{path: path}
	if err := d.takeLock(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.lock.Close())
		}
	}()
	if err := d.sweepTemp(); err != nil {
		return nil, err
	}
	for _, name := range subdirs {
		if err := os.Mkdir(d.join(name), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, explain(d.join(name), err)
		}
	}
	// An endpoint is what a former life left: nothing serves yet.
	if err := os.Remove(d.join(endpointFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, explain(d.join(endpointFile), err)
	}
	if err := syncDir(path); err != nil {
		return nil, explain(path, err)
	}
	return d, nil
}

// makeRoot makes the directory, or checks that the one there is Hearth's.
func makeRoot(path string, uid int) error {
	err := os.MkdirAll(path, 0o700)
	if err != nil {
		return explain(path, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return explain(path, err)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); ok && int(owner.Uid) != uid {
		return fmt.Errorf("data directory %s: %w: it belongs to user %d; run: chown -R %d %s", path, ErrUnsafe, owner.Uid, uid, path)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return explain(path, err)
	}
	switch known, err := readVersion(path); {
	case err != nil:
		return err
	case known:
		if info.Mode().Perm()&0o077 != 0 {
			return fmt.Errorf("data directory %s: %w: others can enter it (mode %04o); run: chmod 700 %s",
				path, ErrUnsafe, info.Mode().Perm(), path)
		}
		return nil
	case !onlyLeftovers(entries):
		return fmt.Errorf("data directory %s: %w, and it is not empty; choose another with --data, or an empty one", path, ErrNotDataDir)
	}
	if err := os.Chmod(path, 0o700); err != nil {
		return explain(path, err)
	}
	return writeFile(path, versionFile, []byte(strconv.Itoa(formatVersion)+"\n"))
}

// onlyLeftovers says whether a directory without a version is empty but for
// what a crash in makeRoot leaves, or for what a fresh file system holds.
func onlyLeftovers(entries []fs.DirEntry) bool {
	for _, e := range entries {
		if e.Name() != "lost+found" && !strings.HasPrefix(e.Name(), tempPrefix) {
			return false
		}
	}
	return true
}

// readVersion says whether the directory has a version that is understood.
func readVersion(path string) (bool, error) {
	b, err := readSmall(filepath.Join(path, versionFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, explain(filepath.Join(path, versionFile), err)
	}
	v, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return false, fmt.Errorf("data directory %s: %w: %s holds %.40q, not a number; restore it from a backup",
			path, ErrDamaged, versionFile, b)
	}
	if v != formatVersion {
		return false, fmt.Errorf("data directory %s: %w: it has version %d, this hearth understands version %d; "+
			"use the hearth that made it, or another directory", path, ErrVersion, v, formatVersion)
	}
	return true, nil
}

// sweepTemp removes files that a crash left half-written.
func (d *Dir) sweepTemp() error {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return explain(d.path, err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempPrefix) {
			continue
		}
		if err := os.Remove(d.join(e.Name())); err != nil {
			return explain(d.join(e.Name()), err)
		}
	}
	return nil
}

func (d *Dir) takeLock() error {
	name := d.join(lockFile)
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return explain(name, err)
	}
	// A lock of the open file, not of the process, so that it cannot be lost by
	// closing another descriptor; and one that others can ask about without
	// taking it for a moment, as flock(2) would have them do.
	l := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &l); err != nil {
		holder := holderOf(f)
		closeErr := f.Close()
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return errors.Join(fmt.Errorf("data directory %s: %w%s; stop it, or choose another directory with --data",
				d.path, ErrLocked, holder), closeErr)
		}
		return errors.Join(explain(name, err), closeErr)
	}
	// The pid is for people; the lock itself is what counts.
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil {
		return errors.Join(explain(name, err), f.Close())
	}
	d.lock = f
	return nil
}

func holderOf(f *os.File) string {
	var b [20]byte
	n, _ := f.ReadAt(b[:], 0) // best effort: the message is good without it
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil {
		return ""
	}
	return fmt.Sprintf(" (process %d)", pid)
}

// Close takes the endpoint away and releases the directory.
func (d *Dir) Close() error {
	err := os.Remove(d.join(endpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, d.lock.Close())
}

func (d *Dir) join(name string) string { return filepath.Join(d.path, name) }

// Path is the directory, as an absolute path.
func (d *Dir) Path() string { return d.path }

// Etcd is the metadata store's directory.
func (d *Dir) Etcd() string { return d.join("etcd") }

// Objects is the object store's directory.
func (d *Dir) Objects() string { return d.join("objects") }

// Runtimes is the directory of runtime images.
func (d *Dir) Runtimes() string { return d.join("runtimes") }

// Worker is the worker's directory; all in it can be made again.
func (d *Dir) Worker() string { return d.join("worker") }

// Chunks is where the chunks of volumes are.
func (d *Dir) Chunks() string { return d.join("chunks") }

// Blockfs is the directory of the process that shows volumes. It outlives
// crashes of this one, and so is not below Worker.
func (d *Dir) Blockfs() string { return d.join("blockfs") }

// Cache is where copies of chunks are kept that are stored elsewhere.
func (d *Dir) Cache() string { return d.join("cache") }

// Keyring is the file of the master keys.
func (d *Dir) Keyring() SecretFile { return SecretFile{dir: d.path, name: keyringFile} }

// Logs is the directory of function logs.
func (d *Dir) Logs() string { return d.join("logs") }

// Audit holds the audit log.
func (d *Dir) Audit() string { return d.join("audit") }

// Registry holds pushed container images.
func (d *Dir) Registry() string { return d.join("registry") }

// explain says what to do about errors of the file system.
func explain(path string, err error) error {
	switch {
	case rootdir.IsFull(err):
		return fmt.Errorf("%s: %w: free some on its file system and start again: %w", path, ErrNoSpace, err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%s: %w: mount it for writing, or choose another directory with --data: %w", path, ErrReadOnly, err)
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EEXIST):
		return fmt.Errorf("%s: %w: a file is in its place; choose another path with --data: %w", path, ErrNotDataDir, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %w: no permission; run as root: %w", path, ErrUnsafe, err)
	}
	return fmt.Errorf("data directory: %w", err)
}
