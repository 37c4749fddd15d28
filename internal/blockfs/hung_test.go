package blockfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestHungServer stops a server's process, as a debugger or a lack of memory
// may, while readers wait in the kernel for it: one whose read it had begun, and
// one whose read it never sees. A reader in the kernel cannot be killed, nor can
// what it reads be unmounted: both must be given an error.
func TestHungServer(t *testing.T) {
	callback, lost := lostVolumes()
	dir := filepath.Join(shortDir(t), "fs")
	c := connect(t, ClientConfig{Dir: dir, Lost: callback, Watch: 10 * time.Millisecond, Patience: 2 * time.Second})
	spec, _ := stallingImage(t)
	lease := open(t, c, "v", spec)
	target := mountLease(t, lease)
	file, err := os.Open(filepath.Join(target, "file0"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := unix.Fadvise(int(file.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 2)
	read := func(off int64) {
		_, err := file.ReadAt(make([]byte, 4096), off)
		result <- err
	}
	go read(40 << 20) // behind where the source stalls
	eventually(t, "the read has come to the source", func() bool {
		s, err := c.Stats(t.Context(), "v")
		return err == nil && slices.Max(append(s.Touched, 0)) >= 64
	})
	pid := pidOf(t, c)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server's threads are stopped", func() bool { return stopped(t, pid) })
	go read(16 << 20) // which the source would have answered
	for range cap(result) {
		if err := receive(t, "the end of a read", result); !errors.Is(err, unix.EIO) {
			t.Errorf("read: got %v, want EIO", err)
		}
	}
	if got := receive(t, "the volume is lost", lost); !slices.Equal(got, []string{"v"}) {
		t.Errorf("lost: got %v, want v", got)
	}
	receive(t, "the lease is lost", lease.Lost())
	if now := pidOf(t, c); now == pid {
		t.Errorf("process %d serves still", pid)
	}
	// What is mounted can be unmounted, and then nothing is left of it.
	if err := errors.Join(file.Close(), unix.Unmount(target, 0)); err != nil {
		t.Errorf("unmount: %v", err)
	}
	if err := lease.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the server that hung: got %v, want that it was reaped", err)
	}
	// Its successor serves the same volume.
	spec.StallAt = 0
	again := open(t, c, "v", spec)
	fresh := mountLease(t, again)
	whole, err := os.Open(filepath.Join(fresh, "file0"))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, whole); n != 48<<20 || err != nil {
		t.Errorf("read of the successor: got %d bytes, %v", n, err)
	}
	if err := whole.Close(); err != nil {
		t.Error(err)
	}
	unmount(t, fresh)
	if err := again.Release(t.Context()); err != nil {
		t.Error(err)
	}
	shutdown(t, c)
}

// stopped says whether all threads of a process have been stopped: a signal is
// taken by each in its own time.
func stopped(t *testing.T, pid int) bool {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(threads) == 0 {
		t.Fatalf("threads of process %d: %v, %v", pid, threads, err)
	}
	for _, thread := range threads {
		// "pid (name) state ...", where the name may hold anything.
		stat, err := os.ReadFile(thread)
		if _, state, ok := bytes.Cut(stat, []byte(") ")); err != nil || !ok || !bytes.HasPrefix(state, []byte("T")) {
			return false
		}
	}
	return true
}
