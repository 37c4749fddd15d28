package archive

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Extract unpacks an archive into a new directory dir, which appears whole or
// not at all: the files are unpacked beside it, in a directory whose name
// begins with TempPrefix, and renamed. Nothing is synced: the directory is a
// copy that can be made again, and its user must drop it after a power cut.
//
// Files are readable by all and writable only by their owner, which is
// whoever runs Extract; a file that anyone may execute may be executed by all.
// Directories have mode 0755. Set-user-id and the like are dropped.
func Extract(r io.ReaderAt, size int64, dir string, l Limits) error {
	return ExtractAll(dir, l, Source{r, size})
}

func (p *plan) extract(dir string, l Limits) (err error) {
	temp := filepath.Join(filepath.Dir(dir), TempPrefix+rand.Text())
	if err := os.Mkdir(temp, 0o700); err != nil {
		return fmt.Errorf("unpack archive: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temp))
		}
	}()
	if err := p.extractTo(temp, l); err != nil {
		return err
	}
	if err := os.Rename(temp, dir); err != nil {
		return fmt.Errorf("unpack archive: %w", err)
	}
	return nil
}

// TempPrefix begins the names of directories that Extract is filling. One that
// is there at start-up was left by a crash and can be removed.
const TempPrefix = ".unpacking-"

func (p *plan) extractTo(dir string, l Limits) (err error) {
	// The tree was checked, and yet nothing here relies on it to stay inside:
	// os.Root follows no link out of the directory, and links are made last.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("unpack archive: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	if err := p.makeDirs(root); err != nil {
		return fmt.Errorf("unpack archive: %w", err)
	}
	left := l.Bytes
	for _, e := range p.entries {
		if e.kind != regular {
			continue
		}
		n, err := e.extract(root, left)
		if err != nil {
			return err
		}
		left -= n
	}
	for _, e := range p.entries {
		if e.kind != symlink {
			continue
		}
		if err := root.Symlink(p.tree[e.path].target, e.path); err != nil {
			return fmt.Errorf("unpack archive: %w", err)
		}
	}
	return p.finishDirs(root)
}

func (p *plan) makeDirs(root *os.Root) error {
	for name, n := range p.tree {
		if n.kind != directory {
			continue
		}
		if err := root.MkdirAll(name, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// finishDirs sets what later writes would have changed, or the process's file
// mode mask has.
func (p *plan) finishDirs(root *os.Root) error {
	for name, n := range p.tree {
		if n.kind != directory {
			continue
		}
		if err := root.Chmod(name, 0o755); err != nil {
			return fmt.Errorf("unpack archive: %w", err)
		}
	}
	for _, e := range p.entries {
		if e.kind != directory {
			continue
		}
		if err := setTime(root, e); err != nil {
			return err
		}
	}
	if err := root.Chmod(".", 0o755); err != nil {
		return fmt.Errorf("unpack archive: %w", err)
	}
	return nil
}

func (e *entry) extract(root *os.Root, limit int64) (n int64, err error) {
	f, err := root.OpenFile(e.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return 0, fmt.Errorf("unpack archive: %w", err)
	}
	n, err = e.copyTo(f, limit)
	if err = errors.Join(err, f.Chmod(fileMode(e.mode)), f.Close()); err != nil {
		return n, fmt.Errorf("unpack archive: %w", err)
	}
	return n, setTime(root, *e)
}

// setTime keeps the time that the archive gives, within what file systems can
// hold; an archive without times gives the beginning of 1980.
func setTime(root *os.Root, e entry) error {
	t := e.modified()
	if err := root.Chtimes(e.path, t, t); err != nil {
		return fmt.Errorf("unpack archive: %w", err)
	}
	return nil
}

func fileMode(m fs.FileMode) fs.FileMode {
	mode := m.Perm()&0o700 | 0o444
	if m.Perm()&0o111 != 0 {
		mode |= 0o111
	}
	return mode
}

// SweepTemp removes what interrupted runs of Extract left in dir.
func SweepTemp(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("sweep unfinished extractions: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), TempPrefix) {
			continue
		}
		if err := os.RemoveAll(path.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("sweep unfinished extractions: %w", err)
		}
	}
	return nil
}
