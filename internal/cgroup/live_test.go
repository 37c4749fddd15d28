package cgroup_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"hearth/internal/cgroup"
	"hearth/internal/osthread"
)

// newGroup makes a group on this machine, of whichever version it has.
func newGroup(t *testing.T) *cgroup.Group {
	t.Helper()
	h, err := cgroup.Detect()
	if err != nil {
		t.Fatal(err)
	}
	parent := fmt.Sprintf("hearth-test-%d", os.Getpid())
	g, err := h.Create(parent + "/group")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		top, err := h.Group(parent)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range []*cgroup.Group{g, top} {
			if err := g.Kill(t.Context()); err != nil && t.Context().Err() == nil {
				t.Error(err)
			}
			if err := g.Remove(); err != nil {
				t.Error(err)
			}
		}
		if left, err := h.Children(parent); err != nil || len(left) != 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	})
	return g
}

func start(t *testing.T, g *cgroup.Group, script string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sh", "-c", script)
	if err := osthread.Run(func() error { return g.Start(cmd) }); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestStartAndKill(t *testing.T) {
	g := newGroup(t)
	// A family: killing one by one would miss those born meanwhile.
	cmd := start(t, g, "sleep 1000 & (sleep 1000 & sleep 1000) & sleep 1000")
	pids, err := g.Procs()
	if err != nil || len(pids) == 0 || pids[0] != cmd.Process.Pid {
		t.Fatalf("Procs: got %v, %v, want %d among them", pids, err, cmd.Process.Pid)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	if err := g.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err == nil {
		t.Error("the process ended well, want it killed")
	}
	if pids, err := g.Procs(); err != nil || len(pids) != 0 {
		t.Errorf("Procs after Kill: got %v, %v, want none", pids, err)
	}
	if err := g.Kill(t.Context()); err != nil {
		t.Errorf("Kill of an empty group: %v", err)
	}
}

func TestKillLiftsTheQuota(t *testing.T) {
	g := newGroup(t)
	if err := g.SetCPU(50); err != nil {
		t.Fatal(err)
	}
	cmd := start(t, g, "while :; do :; done")
	if err := g.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the process ended well, want it killed")
	}
	if quota, err := g.Quota(); err != nil || quota != "-1" && !strings.HasPrefix(quota, "max") {
		t.Errorf("quota after Kill: got %q, %v, want none", quota, err)
	}
}

func TestManyStarts(t *testing.T) {
	g := newGroup(t)
	for range 20 {
		if err := start(t, g, "grep -q hearth-test /proc/self/cgroup").Wait(); err != nil {
			t.Fatalf("a process is not in the group from its beginning: %v", err)
		}
	}
	// Neither is any thread of ours, or Remove would fail.
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil || strings.Contains(string(own), "hearth-test") {
		t.Errorf("our own groups: %s, %v", own, err)
	}
}

func TestMemoryLimit(t *testing.T) {
	g := newGroup(t)
	const mega = 1 << 20
	// Up and down: version 1 wants the two limits moved in the right order.
	for _, mb := range []int64{64, 256, 128, 32} {
		if err := g.SetMemory(mb * mega); err != nil {
			t.Fatal(err)
		}
	}
	if kills, err := g.OOMKills(); err != nil || kills != 0 {
		t.Fatalf("OOMKills before: got %d, %v, want 0", kills, err)
	}
	w, err := g.WatchMemory()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := start(t, g, "head -c 200000000 /dev/zero | tail").Wait(); err == nil {
		t.Error("a use of 200 MB at a limit of 32 MB ended well")
	}
	if kills, err := g.OOMKills(); err != nil || kills == 0 {
		t.Errorf("OOMKills: got %d, %v, want at least 1", kills, err)
	}
	if err := w.Wait(0); err != nil {
		t.Errorf("Wait after a kill: %v", err)
	}
	usage, err := g.Usage()
	if err != nil || usage.ChargedPeak > 32*mega || usage.ChargedPeak < 24*mega {
		t.Errorf("Usage: got %+v, %v, want a peak near 32 MB", usage, err)
	}
}

func TestMemoryWatchEnds(t *testing.T) {
	w, err := newGroup(t).WatchMemory()
	if err != nil {
		t.Fatal(err)
	}
	// On version 2 the first look may tell of events before it.
	for err == nil {
		err = w.Wait(time.Millisecond)
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Wait for a millisecond: got %v, want %v", err, os.ErrDeadlineExceeded)
	}
	done := make(chan error, 1)
	go func() { done <- w.Wait(0) }()
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, os.ErrClosed) {
		t.Errorf("Wait: got %v, want %v", err, os.ErrClosed)
	}
}

func TestCPULimitChanges(t *testing.T) {
	g := newGroup(t)
	for _, milli := range []int{1000, 70, 5800, 1, 250} {
		if err := g.SetCPU(milli); err != nil {
			t.Errorf("SetCPU(%d): %v", milli, err)
		}
		if err := g.SetWeight(milli); err != nil {
			t.Errorf("SetWeight(%d): %v", milli, err)
		}
	}
	if err := start(t, g, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done").Wait(); err != nil {
		t.Fatal(err)
	}
	if usage, err := g.Usage(); err != nil || usage.CPU <= 0 {
		t.Errorf("CPU: got %v, %v, want more than none", usage.CPU, err)
	}
}

func TestPidsLimit(t *testing.T) {
	g := newGroup(t)
	if err := g.SetPids(3); err != nil {
		t.Fatal(err)
	}
	cmd := start(t, g, "for i in $(seq 9); do sleep 1000 & done; wait")
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	if err := <-done; err == nil {
		t.Error("the shell started nine processes at a limit of three")
	}
	refused, err := g.PidsRefused()
	if err != nil || refused == 0 {
		t.Errorf("PidsRefused: got %d, %v, want at least 1", refused, err)
	}
	pids, err := g.Procs()
	if err != nil || len(pids) > 3 {
		t.Errorf("Procs: got %d, %v, want at most 3", len(pids), err)
	}
}

func TestPathsAreChecked(t *testing.T) {
	h, err := cgroup.Detect()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", "/", "..", "a/../../b", "/a", "a//b", "a/"} {
		if g, err := h.Create(path); err == nil {
			t.Errorf("Create(%s): got %v, want an error", strconv.Quote(path), g)
		}
	}
}
