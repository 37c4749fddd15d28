package flatten_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hearth/internal/flatten"
	"hearth/internal/mount"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// entry is one of a tar; its type follows from the name and the fields.
type entry struct {
	tar.Header

	content string
}

func file(name, content string) entry {
	return entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644}, content}
}

func dir(name string) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755}}
}

func symlink(name, target string) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}}
}

func hardlink(name, target string) entry {
	return entry{Header: tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target}}
}

func whiteout(name string) entry {
	parent, base := filepath.Split(name)
	return file(parent+".wh."+base, "")
}

func opaque(dir string) entry { return file(dir+"/.wh..wh..opq", "") }

func pack(t fataler, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.Size == 0 {
			e.Size = int64(len(e.content))
		}
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatalf("%s: %v", e.Name, err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatalf("%s: %v", e.Name, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	return b.Bytes()
}

// fataler is a *testing.T or a *rapid.T.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func layer(b []byte) flatten.Layer {
	return flatten.Tar{Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil }}
}

// packed is a layer of entries.
func packed(t fataler, entries ...entry) flatten.Layer {
	t.Helper()
	return layer(pack(t, entries...))
}

func options(dir string) flatten.Options {
	return flatten.Options{Dir: dir, Limits: flatten.Default()}
}

// build returns the image's bytes.
func build(t *testing.T, layers ...flatten.Layer) []byte {
	t.Helper()
	m, err := flatten.New(t.Context(), layers, options(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	b, err := io.ReadAll(io.NewSectionReader(m, 0, m.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// mounted writes an image to a file, has e2fsck look at it, and mounts it.
func mounted(t *testing.T, m *flatten.Image) string {
	t.Helper()
	scratch := t.TempDir()
	name := filepath.Join(scratch, "image")
	writeImage(t, m, name)
	if out, err := exec.Command("e2fsck", "-f", "-n", name).CombinedOutput(); err != nil {
		t.Fatalf("e2fsck: %v\n%s", err, out)
	}
	return mountAt(t, name)
}

func writeImage(t fataler, m *flatten.Image, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer f.Close()
	if _, err := io.Copy(f, io.NewSectionReader(m, 0, m.Size())); err != nil {
		t.Fatalf("%v", err)
	}
}

func mountAt(t *testing.T, image string) string {
	t.Helper()
	at := t.TempDir()
	if err := mount.Ext4(image, at, true, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := mount.UnmountBelow(at); err != nil {
			t.Error(err)
		}
	})
	return at
}

// snapshot describes all that is below a directory, a line each: what two trees
// must have in common to be the same.
func snapshot(t fataler, root string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	first := make(map[uint64]string) // of hard links: the first name
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		line := fmt.Sprintf("%o %d:%d %d.%09d", st.Mode, st.Uid, st.Gid, st.Mtim.Sec, st.Mtim.Nsec)
		switch info.Mode().Type() {
		case 0:
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += " " + digest(b)[:16]
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line += " → " + target
		default:
		}
		if !info.IsDir() {
			if first[st.Ino] == "" {
				first[st.Ino] = name
			}
			line += fmt.Sprintf(" %d×%s", st.Nlink, first[st.Ino])
		}
		xattrs, err := readXattrs(path)
		if err != nil {
			return err
		}
		all[name] = line + xattrs
		return nil
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return all
}

func readXattrs(path string) (string, error) {
	names := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, names)
	if err != nil {
		return "", err
	}
	var all []string
	for name := range strings.SplitSeq(string(names[:n]), "\x00") {
		if name == "" {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, fmt.Sprintf(" %s=%q", name, value[:n]))
	}
	slices.Sort(all)
	return strings.Join(all, ""), nil
}

// compare reports how two snapshots differ.
func compare(t interface{ Errorf(string, ...any) }, got, want map[string]string) {
	for name, line := range want {
		if got[name] != line {
			t.Errorf("%s:\n got %s\nwant %s", name, got[name], line)
		}
	}
	for name, line := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: got %s, want nothing", name, line)
		}
	}
}

var (
	someTime  = time.Unix(1_700_000_000, 123_456_789)
	unixStart = time.Unix(0, 0)
)

// writeSparse is writeImage for images of mostly nothing.
func writeSparse(t *testing.T, m *flatten.Image, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	none := make([]byte, 1<<20)
	for off := int64(0); off < m.Size(); off += 1 << 20 {
		p := make([]byte, min(1<<20, m.Size()-off))
		_, err := m.ReadAt(p, off)
		if err == nil && !bytes.Equal(p, none[:len(p)]) {
			_, err = f.WriteAt(p, off)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(m.Size()); err != nil {
		t.Fatal(err)
	}
}
