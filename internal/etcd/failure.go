package etcd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
	"go.etcd.io/etcd/server/v3/embed"
)

var (
	// ErrInUse says that another process has the database open.
	ErrInUse = errors.New("etcd's directory is in use by another process")
	// ErrCorrupt says that the database or the write-ahead log is damaged.
	ErrCorrupt = errors.New("etcd's data is damaged")
	// ErrDiskFull says that the file system has no space left.
	ErrDiskFull = errors.New("no space left for etcd's data")
)

// deepCheckBytes is the size up to which every page of the database is checked
// before it is used: reading 64 MiB costs some tens of milliseconds.
const deepCheckBytes = 64 << 20

// checkDatabase looks at the database before etcd opens it. etcd opens it in a
// goroutine of its own, where a damaged file ends the process with a stack
// trace, and waits without end for a file that another process has locked.
func checkDatabase(path string) (err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() {
		// bbolt trusts what its pages say and panics on nonsense.
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
		if tx.Size() > info.Size() {
			return fmt.Errorf("%w: %s has %d bytes and should have %d", ErrCorrupt, path, info.Size(), tx.Size())
		}
		if info.Size() > deepCheckBytes {
			return nil
		}
		return firstProblem(path, tx.Check())
	})
}

// firstProblem drains problems, as its sender blocks otherwise.
func firstProblem(path string, problems <-chan error) error {
	var first error
	for p := range problems {
		if first == nil {
			first = fmt.Errorf("%w: %s: %w", ErrCorrupt, path, p)
		}
	}
	return first
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
			cause = fmt.Errorf("panic: %v", p)
		}
		e, err = nil, fmt.Errorf("%w: %w", ErrCorrupt, cause)
	}()
	return embed.StartEtcd(c)
}

// explain adds what to do to an error of Start.
func explain(dir string, err error) error {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), strings.Contains(err.Error(), syscall.ENOSPC.Error()):
		return fmt.Errorf("start etcd in %s: %w (%w); free some space on its file system and start again, nothing is lost", dir, ErrDiskFull, err)
	case errors.Is(err, ErrInUse):
		return fmt.Errorf("start etcd in %s: %w; stop that process, or choose another data directory with --data", dir, err)
	case errors.Is(err, ErrCorrupt):
		return fmt.Errorf("start etcd in %s: %w; restore the directory from a backup, or move it away to start empty", dir, err)
	}
	return fmt.Errorf("start etcd in %s: %w", dir, err)
}
