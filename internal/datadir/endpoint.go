package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Serving tells other programs the URL at which this Hearth serves, until
// Close.
func (d *Dir) Serving(url string) error {
	return writeFile(d.path, endpointFile, []byte(url+"\n"))
}

// Endpoint returns the URL of the Hearth that serves from the data directory
// at path.
func Endpoint(path string) (string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("data directory %s: %w: it does not exist; give the directory of a running hearth with --data", path, ErrNotDataDir)
	}
	if err != nil {
		return "", explain(path, err)
	}
	if !info.IsDir() {
		return "", fmt.Errorf("data directory %s: %w: it is a file", path, ErrNotDataDir)
	}
	switch known, err := readVersion(path); {
	case err != nil:
		return "", err
	case !known:
		return "", fmt.Errorf("data directory %s: %w; give the directory of a running hearth with --data", path, ErrNotDataDir)
	}
	notServing := fmt.Errorf("data directory %s: %w from it; run: hearth up --data %s", path, ErrNotServing, path)
	b, err := readSmall(filepath.Join(path, endpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", notServing
	}
	if err != nil {
		return "", explain(filepath.Join(path, endpointFile), err)
	}
	// The file outlives a Hearth that was killed; its lock does not.
	held, err := lockHeld(path)
	if err != nil {
		return "", err
	}
	if !held {
		return "", notServing
	}
	return strings.TrimSpace(string(b)), nil
}

// KeepsImages tells other programs in which directory this Hearth keeps images
// of runtimes. They know it when it has stopped, too.
func (d *Dir) KeepsImages(dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	return writeFile(d.path, imagesFile, []byte(dir+"\n"))
}

// Images returns the directory in which the Hearth that last served from the
// data directory at path kept images of runtimes.
func Images(path string) (string, error) {
	b, err := readSmall(filepath.Join(path, imagesFile))
	if errors.Is(err, fs.ErrNotExist) {
		return (&Dir{path: path}).Runtimes(), nil
	}
	if err != nil {
		return "", explain(filepath.Join(path, imagesFile), err)
	}
	return strings.TrimSpace(string(b)), nil
}

// lockHeld says whether a process serves from the directory.
func lockHeld(path string) (held bool, err error) {
	name := filepath.Join(path, lockFile)
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, explain(name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	l := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &l); err != nil {
		return false, explain(name, err)
	}
	return l.Type != unix.F_UNLCK, nil
}

// Holder returns the process that serves from the data directory at path, or
// 0 if none does.
func Holder(path string) (pid int, err error) {
	held, err := lockHeld(path)
	if err != nil || !held {
		return 0, err
	}
	b, err := readSmall(filepath.Join(path, lockFile))
	if err != nil {
		return 0, explain(filepath.Join(path, lockFile), err)
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0, fmt.Errorf("data directory %s: the lock does not name its holder; stop hearth by hand: %w", path, err)
	}
	return pid, nil
}
