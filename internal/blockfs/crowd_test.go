package blockfs

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"hearth/internal/mount"
)

// TestComeAndGo has many goroutines open, mount, read, unmount and release
// volumes that they share, in either order of the last two. Each sees the volume
// that it has opened and no other; in the end nothing is left of any: no lease,
// no file, no device, no mount.
func TestComeAndGo(t *testing.T) {
	const volumes, goroutines, rounds = 6, 12, 12
	dir := filepath.Join(shortDir(t), "fs")
	c := connect(t, ClientConfig{Dir: dir})
	specs, contents := make([]testSpec, volumes), make([]map[string][]byte, volumes)
	for i := range volumes {
		source, files := tree(t, 10_000+i) // of a size of its own
		specs[i], contents[i] = testSpec{Path: image(t, source, "4M")}, files
	}
	base := t.TempDir()
	var group sync.WaitGroup
	for g := range goroutines {
		random := rand.New(rand.NewPCG(uint64(g), 1))
		target := filepath.Join(base, fmt.Sprint(g))
		if err := os.Mkdir(target, 0o700); err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			for range rounds {
				i := random.IntN(volumes)
				l, err := c.Open(t.Context(), fmt.Sprint("v", i), specs[i].json())
				if err != nil {
					t.Errorf("open: %v", err)
					return
				}
				comeAndGo(t, l, target, contents[i], random.IntN(3))
			}
		})
	}
	group.Wait()
	// Nobody has asked for the end of the server: it has emptied itself.
	eventually(t, "no volume is open", func() bool {
		l, err := c.List(t.Context())
		return err == nil && len(l.Volumes) == 0
	})
	if points, err := mount.Below(base); err != nil || len(points) > 0 {
		t.Errorf("mounts: got %v, %v, want none", points, err)
	}
	eventually(t, "no loop device is left", func() bool {
		devices, err := mount.LoopsNamed(filePrefix(dir))
		return err == nil && len(devices) == 0
	})
	shutdown(t, c)
}

// comeAndGo uses a lease up, in one of three ways.
func comeAndGo(t *testing.T, l *Lease, target string, files map[string][]byte, way int) {
	t.Helper()
	const notMounted, releasedFirst = 0, 1
	release := func() {
		if err := l.Release(t.Context()); err != nil {
			t.Errorf("release: %v", err)
		}
	}
	if way == notMounted {
		release()
		return
	}
	if err := l.Mount(target); err != nil {
		t.Errorf("mount: %v", err)
		release()
		return
	}
	if way == releasedFirst {
		release()
	}
	expectFiles(t, target, files)
	if err := mount.Unmount(target); err != nil {
		t.Errorf("unmount: %v", err)
	}
	if way != releasedFirst {
		release()
	}
}
