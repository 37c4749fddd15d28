package managedruntime

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"hearth/runtimes"
)

// imageTime is the time stamp of every file of an image, so that images of
// the same content are the same: 2026-01-01, in seconds.
const imageTime = 1767225600

// Certificates that OpenSSL and curl trust, in one file.
const certificateBundle = "etc/ssl/certs/ca-certificates.crt"

// arrange does the recipe's own steps on an unpacked tree.
func arrange(root string, r runtimes.Recipe) error {
	tree, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer tree.Close()
	for _, m := range r.Move {
		if err := tree.MkdirAll(inside(path.Dir(m.To)), 0o755); err != nil {
			return err
		}
		if err := moveInto(tree, inside(m.From), inside(m.To)); err != nil {
			return fmt.Errorf("move %s: %w", m.From, err)
		}
	}
	for _, pattern := range r.Remove {
		matches, err := fs.Glob(tree.FS(), inside(pattern))
		if err != nil {
			return fmt.Errorf("remove %s: %w", pattern, err)
		}
		for _, match := range matches {
			if err := tree.RemoveAll(match); err != nil {
				return fmt.Errorf("remove %s: %w", match, err)
			}
		}
	}
	for _, dir := range r.Dirs {
		if err := tree.MkdirAll(inside(dir), 0o755); err != nil {
			return err
		}
	}
	for _, files := range r.Files {
		if err := overlay(tree, files); err != nil {
			return err
		}
	}
	for _, link := range r.Links {
		if err := replaceLink(tree, inside(link.From), link.To); err != nil {
			return fmt.Errorf("link %s: %w", link.From, err)
		}
	}
	return nil
}

// inside makes a path of the image one relative to its root.
func inside(p string) string { return strings.TrimPrefix(path.Clean(p), "/") }

// moveInto renames from to to; if both are directories, the entries of from
// move into to.
func moveInto(tree *os.Root, from, to string) error {
	target, err := tree.Lstat(to)
	if err != nil || !target.IsDir() {
		return tree.Rename(from, to)
	}
	entries, err := fs.ReadDir(tree.FS(), from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := moveInto(tree, path.Join(from, e.Name()), path.Join(to, e.Name())); err != nil {
			return err
		}
	}
	return tree.Remove(from)
}

// overlay copies files over the tree; what begins as a script is made
// executable, since embedded files have no mode.
func overlay(tree *os.Root, files fs.FS) error {
	return fs.WalkDir(files, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(files, p)
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if bytes.HasPrefix(content, []byte("#!")) {
			mode = 0o755
		}
		return writeFile(tree, p, bytes.NewReader(content), mode)
	})
}

// writeFile writes a new file, with the directories above it, in place of
// whatever has its name.
func writeFile(tree *os.Root, name string, content io.Reader, mode fs.FileMode) error {
	name = inside(name)
	if err := tree.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if err := tree.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := tree.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, content)
	return errors.Join(err, f.Close())
}

func replaceLink(tree *os.Root, name, target string) error {
	if err := tree.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if err := tree.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return tree.Symlink(target, name)
}

// bundleCertificates joins the certificates of ca-certificates into the one
// file that programs read, as the package's own script would.
func bundleCertificates(root string) error {
	var bundle bytes.Buffer
	dir := filepath.Join(root, "usr/share/ca-certificates")
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(p) != ".crt" {
			return err
		}
		pem, err := os.ReadFile(p) //nolint:gosec // nobody else writes to a tree under construction
		if err != nil {
			return err
		}
		bundle.Write(bytes.TrimSpace(pem))
		bundle.WriteByte('\n')
		return nil
	})
	if err != nil {
		return fmt.Errorf("certificates: %w", err)
	}
	tree, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer tree.Close()
	if err := tree.RemoveAll("usr/share/ca-certificates"); err != nil {
		return err
	}
	return writeFile(tree, certificateBundle, &bundle, 0o644)
}

// usage is what a tree needs in a file system.
type usage struct{ blocks, inodes int64 }

// seal gives every file of a tree its final owner, mode and time, and returns
// the tree's digest. Only plain files, directories and links may be in it.
func seal(root string) (digest string, u usage, err error) {
	h := sha256.New()
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		mode, content, err := sealOne(p, name, d)
		if err != nil {
			return fmt.Errorf("seal %s: %w", name, err)
		}
		info, err := os.Lstat(p)
		if err != nil {
			return err
		}
		u.inodes++
		u.blocks += (info.Size() + blockSize - 1) / blockSize
		fmt.Fprintf(h, "%q %o %s\n", name, mode, content)
		return nil
	})
	if err != nil {
		return "", usage{}, err
	}
	// Directories got their time when their entries did; once more, now that
	// nothing changes any longer.
	err = filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		stamp := []unix.Timespec{{Sec: imageTime}, {Sec: imageTime}}
		return unix.UtimesNanoAt(unix.AT_FDCWD, p, stamp, unix.AT_SYMLINK_NOFOLLOW)
	})
	return hex.EncodeToString(h.Sum(nil)), u, err
}

// sealOne seals one file and returns what goes into the digest: its mode,
// and its link target or the digest of its content.
func sealOne(p, name string, d fs.DirEntry) (mode uint32, content string, err error) {
	if err := os.Lchown(p, 0, 0); err != nil {
		return 0, "", err
	}
	switch {
	case d.Type() == fs.ModeSymlink:
		target, err := os.Readlink(p)
		return unix.S_IFLNK, target, err
	case d.IsDir():
		mode = 0o755
		if name == "tmp" || name == "var/tmp" {
			mode = 0o1777
		}
		return unix.S_IFDIR | mode, "", unix.Chmod(p, mode)
	case d.Type().IsRegular():
		info, err := d.Info()
		if err != nil {
			return 0, "", err
		}
		// Readable by all, executable by all or by none, never set-uid:
		// there is no privilege in an image.
		mode = 0o644
		if info.Mode()&0o100 != 0 {
			mode = 0o755
		}
		if err := unix.Chmod(p, mode); err != nil {
			return 0, "", err
		}
		content, err = fileDigest(p)
		return unix.S_IFREG | mode, content, err
	}
	return 0, "", fmt.Errorf("a %s has no place in an image", d.Type())
}

func fileDigest(p string) (string, error) {
	f, err := os.Open(p)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
