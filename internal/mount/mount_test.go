package mount_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"hearth/internal/mount"
)

func makeImage(t *testing.T, dir string) string {
	t.Helper()
	image := filepath.Join(dir, "image")
	out, err := exec.Command("mke2fs", "-q", "-F", "-t", "ext4", image, "4M").CombinedOutput()
	if err != nil {
		t.Fatalf("mke2fs: %v: %s", err, out)
	}
	return image
}

func makeDir(t *testing.T, path string) string {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// tempDir is a directory below which nothing stays mounted.
func tempDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() {
		if err := mount.UnmountBelow(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func expectClean(t *testing.T, dir string) {
	t.Helper()
	if points, err := mount.Below(dir); err != nil || len(points) != 0 {
		t.Errorf("Below: got %v, %v, want none", points, err)
	}
	// A sandbox that another test starts in this moment has a copy of all
	// mounts for a moment; a loop device goes with the last copy of its mount.
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for {
		loops, err := mount.LoopsBelow(dir)
		if err == nil && len(loops) == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("LoopsBelow: got %v, %v, want none", loops, err)
			return
		}
	}
}

func TestExt4(t *testing.T) {
	dir := tempDir(t)
	image, target := makeImage(t, dir), makeDir(t, filepath.Join(dir, "a b"))
	if err := mount.Ext4(image, target, false, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(target, "file"), []byte("x"), 0o644); err != nil {
		t.Error(err)
	}
	if loops, err := mount.LoopsBelow(dir); err != nil || len(loops) != 1 {
		t.Errorf("LoopsBelow: got %v, %v, want one", loops, err)
	}
	if points, err := mount.Below(dir); err != nil || len(points) != 1 || points[0] != target {
		t.Errorf("Below: got %q, %v, want %q", points, err, target)
	}
	if err := mount.Unmount(target); err != nil {
		t.Fatal(err)
	}
	expectClean(t, dir)
	if err := mount.Ext4(image, target, true, ""); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(target, "file"), nil, 0o644); !errors.Is(err, unix.EROFS) {
		t.Errorf("write to a read-only mount: got %v, want EROFS", err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(target, &fs); err != nil || fs.Flags&unix.ST_NOSUID == 0 || fs.Flags&unix.ST_NODEV == 0 {
		t.Errorf("flags: got %#x, %v, want nosuid and nodev", fs.Flags, err)
	}
}

func TestExt4Refusals(t *testing.T) {
	dir := tempDir(t)
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(garbage, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	target := makeDir(t, filepath.Join(dir, "target"))
	for _, test := range []struct{ image, target string }{
		{garbage, target},
		{filepath.Join(dir, "missing"), target},
		{makeImage(t, dir), filepath.Join(dir, "missing")},
	} {
		if err := mount.Ext4(test.image, test.target, true, ""); err == nil {
			t.Errorf("Ext4(%s, %s): got no error", test.image, test.target)
		}
	}
	expectClean(t, dir) // a failed mount holds no loop device
}

func TestNamedLoop(t *testing.T) {
	dir := tempDir(t)
	image, target := makeImage(t, dir), makeDir(t, filepath.Join(dir, "target"))
	backing, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer backing.Close()
	device, err := mount.AttachLoop(backing, "a-name")
	if err != nil {
		t.Fatal(err)
	}
	if err := mount.SetReadAhead(device, 1<<20); err != nil {
		t.Error(err)
	}
	sysfs := filepath.Join("/sys/block", filepath.Base(device))
	for file, want := range map[string]string{"queue/read_ahead_kb": "1024", "loop/dio": "1", "ro": "1", "loop/autoclear": "0"} {
		if got, err := os.ReadFile(filepath.Join(sysfs, file)); err != nil || strings.TrimSpace(string(got)) != want {
			t.Errorf("%s: got %q, %v, want %s", file, got, err, want)
		}
	}
	if _, err := mount.OpenLoop(device, "another"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("OpenLoop by another name: got %v, want ErrNotExist", err)
	}
	if err := mount.DetachLoopNamed(device, "another"); err != nil {
		t.Errorf("DetachLoopNamed by another name: %v", err)
	}
	// The name in sysfs is that of the file.
	if named, err := mount.LoopsNamed("imag"); err != nil || named[device] != "image" {
		t.Errorf("LoopsNamed: got %v, %v, want %s", named, err, device)
	}
	open, err := mount.OpenLoop(device, "a-name")
	if err != nil {
		t.Fatal(err)
	}
	// While it is open, or mounted, it is not freed.
	if err := mount.DetachLoopNamed(device, "a-name"); err != nil {
		t.Error(err)
	}
	if err := mount.Ext4Device(open, target, ""); err != nil {
		t.Error(err)
	}
	if err := open.Close(); err != nil {
		t.Error(err)
	}
	if points, err := mount.Below(target); err != nil || len(points) != 1 {
		t.Errorf("Below: got %v, %v, want one", points, err)
	}
	if err := mount.Abort(target); err != nil {
		t.Error(err)
	}
	expectClean(t, dir)
	if _, err := mount.OpenLoop(device, "a-name"); err == nil {
		t.Error("OpenLoop of what was detached: got no error")
	}
	if err := mount.Abort(target); err != nil {
		t.Errorf("Abort of what is not mounted: %v", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	dir := tempDir(t)
	var group sync.WaitGroup
	for i := range 16 {
		sub := makeDir(t, filepath.Join(dir, string(rune('a'+i))))
		image, target := makeImage(t, sub), makeDir(t, filepath.Join(sub, "mnt"))
		group.Go(func() {
			if err := mount.Ext4(image, target, false, ""); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if err := mount.UnmountBelow(dir); err != nil {
		t.Error(err)
	}
	expectClean(t, dir)
}

func TestBind(t *testing.T) {
	dir := tempDir(t)
	source := makeDir(t, filepath.Join(dir, "source"))
	shared := makeDir(t, filepath.Join(dir, "shared"))
	copied := makeDir(t, filepath.Join(dir, "copied"))
	if err := mount.Shared(shared); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(shared, copied, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	for _, readOnly := range []bool{true, false} {
		name := map[bool]string{true: "ro", false: "rw"}[readOnly]
		if err := mount.Bind(source, makeDir(t, filepath.Join(shared, name)), readOnly); err != nil {
			t.Fatal(err)
		}
		// What has propagated is as restricted as the mount itself.
		for _, place := range []string{shared, copied} {
			err := os.WriteFile(filepath.Join(place, name, "file"), nil, 0o644)
			if got := errors.Is(err, unix.EROFS); got != readOnly {
				t.Errorf("write to %s/%s: got %v", place, name, err)
			}
		}
	}
	// A mount in use is detached all the same.
	held, err := os.Open(filepath.Join(shared, "rw"))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if err := mount.UnmountBelow(dir); err != nil {
		t.Error(err)
	}
	expectClean(t, dir)
	if err := mount.Unmount(shared); err != nil {
		t.Errorf("Unmount of what is not mounted: %v", err)
	}
}

func TestOverlay(t *testing.T) {
	dir := tempDir(t)
	top, bottom := makeDir(t, filepath.Join(dir, "t:o,p")), makeDir(t, filepath.Join(dir, "bottom"))
	for path, text := range map[string]string{
		filepath.Join(top, "both"): "top", filepath.Join(bottom, "both"): "bottom", filepath.Join(bottom, "one"): "bottom",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	target := makeDir(t, filepath.Join(dir, "target"))
	if err := mount.Overlay(target, top, bottom); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"both": "top", "one": "bottom"} {
		if got, err := os.ReadFile(filepath.Join(target, name)); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
	if err := os.WriteFile(filepath.Join(target, "new"), nil, 0o644); !errors.Is(err, unix.EROFS) {
		t.Errorf("write: got %v, want EROFS", err)
	}
}
