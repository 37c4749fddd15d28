package osthread_test

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

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

func TestTimerSlackIsInherited(t *testing.T) {
	const want = 123_000
	old := slackOf(t, unix.Gettid())
	if err := osthread.SetTimerSlack(want); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := osthread.SetTimerSlack(time.Duration(old)); err != nil {
			t.Error(err)
		}
	}()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		tid, err := strconv.Atoi(task.Name())
		if err != nil {
			t.Fatal(err)
		}
		if got := slackOf(t, tid); got != want {
			t.Errorf("thread %d: got %d ns, want %d", tid, got, want)
		}
	}
	err = osthread.Run(func() error {
		if got := slackOf(t, unix.Gettid()); got != want {
			t.Errorf("a new thread: got %d ns, want %d", got, want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func slackOf(t *testing.T, tid int) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/" + strconv.Itoa(tid) + "/timerslack_ns")
	if err != nil {
		t.Fatal(err)
	}
	slack, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return slack
}
