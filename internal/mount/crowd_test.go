package mount_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"hearth/internal/mount"
)

// TestCrowd has far more attach a device at once than one of them would try for
// one that others of the process take: all get one, each another.
func TestCrowd(t *testing.T) {
	const crowd = 300
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	devices := make([]string, crowd)
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range devices {
		wg.Go(func() {
			f, err := os.Open(image)
			if err != nil {
				t.Error(err)
				return
			}
			defer f.Close()
			<-begin
			if devices[i], err = mount.AttachLoop(f, fmt.Sprintf("crowd-%d", i)); err != nil {
				t.Error(err)
			}
		})
	}
	close(begin)
	wg.Wait()
	seen := make(map[string]bool)
	for i, device := range devices {
		if device == "" {
			continue
		}
		if seen[device] {
			t.Errorf("%s was given twice", device)
		}
		seen[device] = true
		if err := mount.DetachLoopNamed(device, fmt.Sprintf("crowd-%d", i)); err != nil {
			t.Error(err)
		}
	}
}
