package flatten_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"hearth/internal/flatten"
	"hearth/internal/lint"
)

// debs returns the directory with the packages that scripts/debs fetches.
func debs(t *testing.T) string {
	t.Helper()
	root, err := lint.Root()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(filepath.Join(root, "scripts", "debs")).CombinedOutput(); err != nil {
		t.Fatalf("scripts/debs: %v\n%s", err, out)
	}
	return filepath.Join(root, "build", "debs")
}

// output runs a program in a directory.
func output(t *testing.T, dir, program string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	var errors bytes.Buffer
	cmd.Stderr = &errors
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, strings.Join(args, " "), err, &errors)
	}
	return out
}

// debianTar is a Debian package's files, as a tar.
func debianTar(t *testing.T, dir, name string) []byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, name+"_*.deb"))
	if err != nil || len(files) != 1 {
		t.Fatalf("package %s: got %v, %v", name, files, err)
	}
	return output(t, dir, "dpkg-deb", "--fsys-tarfile", files[0])
}

// app is a layer that GNU tar packs, over those of packages.
func app(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	for name, content := range map[string]string{
		"app/main": "#!/bin/sh\n", "app/data/one": "1", "app/data/two": strings.Repeat("2", 300<<10),
		"etc/.wh.debian_version": "", "usr/share/doc/.wh..wh..opq": "", "usr/share/doc/new": "kept", "usr/share/.wh.base-files": "",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	capability := "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	for _, err := range []error{
		os.Link(at("app/data/one"), at("app/data/also-one")),
		os.Symlink("/proc/self/fd", at("app/fd")),
		os.Chmod(at("app/main"), 0o755|os.ModeSetuid),
		os.Chown(at("app/data"), 4711, 815),
		os.Chmod(at("app/data"), 0o770|os.ModeSetgid|os.ModeSticky),
		os.Chtimes(at("app/data"), someTime, someTime),
		unix.Lsetxattr(at("app/main"), "security.capability", []byte(capability), 0),
		unix.Lsetxattr(at("app/data"), "user.purpose", bytes.Repeat([]byte("data "), 100), 0),
		unix.Lsetxattr(at("app/data/two"), "user.number", []byte("2"), 0),
		unix.Lsetxattr(at("app/data/two"), "user.numeral", []byte(strings.Repeat("II", 70)), 0),
		unix.Mkfifo(at("app/fifo"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return output(t, dir, "tar", "--create", "--format=pax", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--sparse", ".")
}

// second is a version of app with one file changed: no directories in it, and
// a hard link to a file of a layer below.
func second(t *testing.T) []byte {
	t.Helper()
	return pack(t, file("app/data/one", "changed"), hardlink("app/data/base", "app/data/two"), hardlink("app/release", "usr/lib/os-release"), symlink("app/new", "data"))
}

// union unpacks layers over each other with GNU tar. Whiteouts are applied by
// hand before each.
func union(t *testing.T, layers [][]byte) string {
	t.Helper()
	scratch := t.TempDir()
	dir := filepath.Join(scratch, "root")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(dir, unixStart, unixStart); err != nil {
		t.Fatal(err)
	}
	for _, layer := range layers {
		name := filepath.Join(scratch, "layer")
		if err := os.WriteFile(name, layer, 0o600); err != nil {
			t.Fatal(err)
		}
		times := directoryTimes(t, dir)
		for path := range strings.Lines(string(output(t, dir, "tar", "--list", "--file", name))) {
			path = filepath.Clean(strings.TrimSuffix(path, "\n"))
			delete(times, path)
			up, base := filepath.Split(path)
			switch hidden, isWhiteout := strings.CutPrefix(base, ".wh."); {
			case base == ".wh..wh..opq":
				output(t, dir, "find", "./"+up, "-mindepth", "1", "-delete")
			case isWhiteout:
				output(t, dir, "rm", "-rf", up+hidden)
			}
		}
		output(t, dir, "tar", "--extract", "--file", name, "--preserve-permissions", "--same-owner", "--numeric-owner",
			"--xattrs", "--xattrs-include=*", "--exclude=.wh.*", "--delay-directory-restore")
		// A layer that does not name a directory says nothing about it.
		for path, at := range times {
			err := unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(dir, path), []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
		}
	}
	return dir
}

func directoryTimes(t *testing.T, root string) map[string]unix.Timespec {
	t.Helper()
	times := make(map[string]unix.Timespec)
	for path := range strings.SplitSeq(string(output(t, root, "find", ".", "-type", "d", "-print0")), "\x00") {
		if path == "" {
			continue
		}
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(root, path), &st); err != nil {
			t.Fatal(err)
		}
		times[filepath.Clean(path)] = st.Mtim
	}
	return times
}

// TestDebian compares images of Debian packages, mounted, with what GNU tar
// unpacks.
func TestDebian(t *testing.T) {
	dir := debs(t)
	for name, layers := range map[string][]string{
		"one package":    {"busybox-static"},
		"time zones":     {"base-files", "tzdata", "busybox-static"},
		"certificates":   {"base-files", "netbase", "ca-certificates"},
		"shells":         {"base-files", "bash", "dash", "passwd"},
		"twice":          {"base-files", "netbase", "iputils-ping", "base-files"},
		"application":    {"base-files", "bash", "netbase", "tzdata", "app"},
		"second version": {"base-files", "passwd", "app", "second"},
		"all":            {"base-files", "bash", "busybox-static", "ca-certificates", "dash", "iputils-ping", "netbase", "passwd", "tzdata", "app", "second", "app"},
	} {
		t.Run(name, func(t *testing.T) {
			var tars [][]byte
			var list []flatten.Layer
			for i, l := range layers {
				b := layerNamed(t, dir, l)
				tars = append(tars, b)
				if i%2 == 1 {
					b = gzipped(b)
				}
				list = append(list, layer(b))
			}
			m, err := flatten.New(t.Context(), list, options(t.TempDir()))
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			want := snapshot(t, union(t, tars))
			if len(want) < 10 {
				t.Fatalf("only %d files to compare", len(want))
			}
			compare(t, snapshot(t, mounted(t, m)), want)
		})
	}
}

func layerNamed(t *testing.T, dir, name string) []byte {
	t.Helper()
	switch name {
	case "app":
		return app(t)
	case "second":
		return second(t)
	default:
		return debianTar(t, dir, name)
	}
}

func gzipped(b []byte) []byte {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = io.Copy(w, bytes.NewReader(b))
	_ = w.Close()
	return z.Bytes()
}
