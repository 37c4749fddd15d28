package osthread_test

import (
	"errors"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"hearth/internal/osthread"
)

func TestRunUsesThreadsOfItsOwn(t *testing.T) {
	want := errors.New("of do")
	for range 100 {
		tid := 0
		if err := osthread.Run(func() error { tid = unix.Gettid(); return want }); !errors.Is(err, want) {
			t.Fatalf("Run: got %v, want the error of do", err)
		}
		if tid == os.Getpid() {
			t.Fatal("do ran on the process's first thread")
		}
		// The thread ends soon after Run returns.
		for i := 0; exists(tid); i++ {
			if i == 1_000_000 {
				t.Fatalf("thread %d does not end", tid)
			}
		}
	}
}

func exists(tid int) bool {
	_, err := os.Stat("/proc/self/task/" + strconv.Itoa(tid))
	return err == nil
}
