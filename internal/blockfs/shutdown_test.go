package blockfs

import (
	"context"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestShutdownAfterKill kills a server in the moment in which its client is to
// end: nothing waits for a server that nobody starts any more, and what the
// dead one has left goes.
func TestShutdownAfterKill(t *testing.T) {
	dir := filepath.Join(shortDir(t), "fs")
	c := connect(t, ClientConfig{Dir: dir})
	source, files := tree(t, 1<<20)
	lease := open(t, c, "v", testSpec{Path: image(t, source, "16M")})
	target := mountLease(t, lease)
	expectFiles(t, target, files)
	// From now on it starts no other.
	c.mu.Lock()
	c.ending = true
	c.mu.Unlock()
	if err := syscall.Kill(pidOf(t, c), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	receive(t, "the lease is lost", lease.Lost())
	unmount(t, target)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := c.Shutdown(ctx, true); err != nil {
		t.Error(err)
	}
	if err := lease.Release(ctx); err != nil {
		t.Errorf("releasing a lost lease when there is no server: %v", err)
	}
	expectNothing(t, dir)
}
