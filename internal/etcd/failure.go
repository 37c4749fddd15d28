package etcd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"go.uber.org/zap"

	"hearth/internal/rootdir"
)

var (
	// ErrInUse says that another process has the database open.
	ErrInUse = errors.New("etcd's directory is in use by another process")
	// ErrCorrupt says that the database or the write-ahead log is damaged.
	ErrCorrupt = errors.New("etcd's data is damaged")
	// ErrDiskFull says that the file system has no space left.
	ErrDiskFull = errors.New("no space left for etcd's data")
)

// deepCheckBytes is the size up to which every page of the database is visited
// before it is used: 64 MiB cost some tens of milliseconds.
const deepCheckBytes = 64 << 20

// checkData looks at the database before etcd opens it. etcd opens it in a
// goroutine of its own, where a damaged file ends the process with a stack
// trace, and waits without end for a file that another process has locked.
func checkData(dir string) error {
	path := filepath.Join(dir, "member", "snap", "db")
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	logDir := filepath.Join(dir, "member", "wal")
	if info.Size() == 0 && !wal.Exist(logDir) {
		return nil // a first start that was cut off before anything was stored
	}
	return checkDatabase(path, info.Size(), logDir)
}

func checkDatabase(path string, size int64, logDir string) (err error) {
	// bbolt trusts what its pages say: on nonsense it panics, or reads memory
	// that is not there.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %s: %v", ErrCorrupt, path, p)
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: 200 * time.Millisecond})
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return ErrInUse
	case errors.Is(err, fs.ErrPermission):
		return err
	case err != nil:
		return fmt.Errorf("%w: %s: %w", ErrCorrupt, path, err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return db.View(func(tx *bbolt.Tx) error {
		// Without this check a page beyond the end of a cut-off file would be
		// touched in mapped memory, which is a signal and not an error.
		if tx.Size() > size {
			return fmt.Errorf("%w: %s has %d bytes and should have %d", ErrCorrupt, path, size, tx.Size())
		}
		if err := checkLog(logDir, applied(tx)); err != nil {
			return err
		}
		if size > deepCheckBytes {
			return nil
		}
		return walk(tx)
	})
}

// checkLog makes sure that the write-ahead log holds the last entry that the
// database has applied. A log that is missing, or was cut off further back,
// would have etcd wait until its indexes have caught up, and skip every write
// until then as one that it has seen before.
func checkLog(dir string, applied uint64) error {
	if applied == 0 {
		return nil
	}
	if !wal.Exist(dir) {
		return fmt.Errorf("%w: the write-ahead log %s is missing", ErrCorrupt, dir)
	}
	last, err := lastLogged(dir)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return err
	case err != nil:
		return fmt.Errorf("%w: write-ahead log %s: %w", ErrCorrupt, dir, err)
	case last < applied:
		return fmt.Errorf("%w: the write-ahead log %s ends at entry %d, the database is at %d", ErrCorrupt, dir, last, applied)
	}
	return nil
}

// lastLogged returns the index of the last whole entry in the log.
func lastLogged(dir string) (uint64, error) {
	log := zap.NewNop()
	snapshots, err := wal.ValidSnapshotEntries(log, dir)
	if err != nil {
		return 0, err
	}
	if len(snapshots) == 0 {
		return 0, nil
	}
	last := snapshots[len(snapshots)-1]
	w, err := wal.OpenForRead(log, dir, last)
	if err != nil {
		return 0, err
	}
	_, _, entries, err := w.ReadAll()
	_ = w.Close() // it fails for a log that was opened to be read
	if err != nil {
		return 0, err
	}
	if n := len(entries); n > 0 {
		return entries[n-1].GetIndex(), nil
	}
	return last.GetIndex(), nil
}

// applied is the index of the last entry of the log that is in the database.
func applied(tx *bbolt.Tx) uint64 {
	meta := tx.Bucket(schema.Meta.Name())
	if meta == nil {
		return 0
	}
	index := meta.Get(schema.MetaConsistentIndexKeyName)
	if len(index) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(index)
}

// walk visits every page of the database. bbolt has a check of its own, but it
// runs in a goroutine whose panics nobody can catch.
func walk(tx *bbolt.Tx) error {
	return tx.ForEach(func(bucket []byte, b *bbolt.Bucket) error {
		var last []byte
		return b.ForEach(func(k, _ []byte) error {
			if last != nil && bytes.Compare(last, k) >= 0 {
				return fmt.Errorf("%w: keys of bucket %q are out of order", ErrCorrupt, bucket)
			}
			last = k
			return nil
		})
	})
}

// startMember starts etcd and turns its panics and fatal log entries of the
// start into an error.
func startMember(cfg Config) (e *embed.Etcd, err error) {
	log := newZapBridge(cfg)
	c, err := memberConfig(cfg, log)
	if err != nil {
		return nil, err
	}
	defer func() {
		p := recover()
		if p == nil {
			log.started()
			return
		}
		cause := log.lastFatal()
		if cause == nil {
			cause = fmt.Errorf("etcd cannot make sense of %s: %v", cfg.Dir, p)
		}
		e, err = nil, fmt.Errorf("%w: %w", ErrCorrupt, cause)
	}()
	hadLog := wal.Exist(filepath.Join(cfg.Dir, "member", "wal"))
	e, err = embed.StartEtcd(c)
	if err != nil && hadLog && !ofFileSystem(err) {
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return e, err
}

// ofFileSystem says whether err is not about what the files hold.
func ofFileSystem(err error) bool {
	var errno syscall.Errno
	return errors.As(err, &errno)
}

// explain adds what to do to an error of Start.
func explain(dir string, err error) error {
	switch {
	case rootdir.IsFull(err), strings.Contains(err.Error(), syscall.ENOSPC.Error()):
		return fmt.Errorf("start etcd in %s: %w (%w); free some space on its file system and start again, nothing is lost", dir, ErrDiskFull, err)
	case errors.Is(err, ErrInUse):
		return fmt.Errorf("start etcd in %s: %w; stop that process, or choose another data directory with --data", dir, err)
	case errors.Is(err, ErrCorrupt):
		return fmt.Errorf("start etcd in %s: %w; restore the directory from a backup, or move it away to start empty", dir, err)
	}
	return fmt.Errorf("start etcd in %s: %w", dir, err)
}
