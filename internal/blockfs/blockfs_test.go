package blockfs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// asRole has the test's program be something else than a server.
const asRole = "BLOCKFS_TEST_ROLE"

var roles = map[string]func(){"hearth": roleHearth, "careless": roleCareless, "stranger": roleStranger}

func TestContentAndSharing(t *testing.T) {
	source, files := tree(t, 0, 1, 4096, 5000, 3<<20)
	spec := testSpec{Path: image(t, source, "16M")}
	dir := filepath.Join(shortDir(t), "fs")
	c := connect(t, ClientConfig{Dir: dir})
	first, second := open(t, c, "v1", spec), open(t, c, "v1", spec)
	if first.Device() != second.Device() || first.Size() != 16<<20 {
		t.Errorf("two leases of one volume: got %s and %s of %d bytes", first.Device(), second.Device(), first.Size())
	}
	other := open(t, c, "v2", spec)
	if other.Device() == first.Device() {
		t.Error("two volumes have one device")
	}
	a, b := mountLease(t, first), mountLease(t, second)
	expectFiles(t, a, files)
	expectFiles(t, b, files)
	var fs unix.Statfs_t
	const want = unix.ST_NOSUID | unix.ST_NODEV | unix.ST_RDONLY
	if err := unix.Statfs(a, &fs); err != nil || fs.Flags&want != want {
		t.Errorf("mount has flags %#x, %v, want %#x in them", fs.Flags, err, want)
	}
	if err := unix.Statfs(filepath.Join(dir, mountName), &fs); err != nil || fs.Flags&(want|unix.ST_NOEXEC) != want|unix.ST_NOEXEC {
		t.Errorf("FUSE mount has flags %#x, %v, want nosuid, nodev, noexec and ro in them", fs.Flags, err)
	}
	// The volume goes when its last lease and its last mount have gone.
	for _, l := range []*Lease{first, other} {
		if err := l.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	expectFiles(t, b, files)
	if err := second.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	expectFiles(t, b, files)
	if err := c.Shutdown(t.Context(), false); !errors.Is(err, ErrBusy) {
		t.Errorf("Shutdown with mounts: got %v, want ErrBusy", err)
	}
	unmount(t, a)
	unmount(t, b)
	eventually(t, "the volumes are closed", func() bool {
		l, err := c.List(t.Context())
		return err == nil && len(l.Volumes) == 0
	})
	if err := c.Shutdown(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 || left[0].Name() != logName {
		t.Errorf("the directory holds %v, %v, want the log only", left, err)
	}
	expectNothing(t, dir)
}
