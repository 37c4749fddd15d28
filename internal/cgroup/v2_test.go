package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// fakeV2 is a directory that looks like a version 2 hierarchy with one group.
func fakeV2(t *testing.T, files map[string]string) (*Group, string) {
	t.Helper()
	root := t.TempDir()
	writeFile(t, filepath.Join(root, "cgroup.controllers"), "cpuset cpu io memory pids\n")
	h, err := NewV2(root)
	if err != nil {
		t.Fatal(err)
	}
	g, err := h.Create("hearth/x/1")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "hearth/x/1")
	for name, content := range files {
		writeFile(t, filepath.Join(dir, name), content)
	}
	return g, dir
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestV2HandsControllersDown(t *testing.T) {
	_, dir := fakeV2(t, nil)
	for range 3 { // of each level above the group
		dir = filepath.Dir(dir)
		if got, want := readFile(t, filepath.Join(dir, "cgroup.subtree_control")), "+memory +cpu +pids"; got != want {
			t.Errorf("%s: got %q, want %q", dir, got, want)
		}
	}
}

func TestV2Limits(t *testing.T) {
	g, dir := fakeV2(t, map[string]string{
		"memory.max": "", "memory.oom.group": "", "memory.swap.max": "",
		"cpu.max": "", "cpu.weight": "", "cpu.max.burst": "", "pids.max": "", "cgroup.kill": "",
	})
	for _, err := range []error{g.SetMemory(192 << 20), g.SetCPU(250), g.SetPids(77), g.killOnce(nil)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for file, want := range map[string]string{
		"memory.max": "201326592", "memory.oom.group": "1", "memory.swap.max": "0",
		"cpu.max": "5000 20000", "cpu.weight": "25", "cpu.max.burst": "5000", "pids.max": "77", "cgroup.kill": "1",
	} {
		if got := readFile(t, filepath.Join(dir, file)); got != want {
			t.Errorf("%s: got %q, want %q", file, got, want)
		}
	}
}

func TestV2Weight(t *testing.T) {
	for milli, want := range map[int]string{1: "1", 100: "10", 1000: "100", 200_000: "10000"} {
		g, dir := fakeV2(t, map[string]string{"cpu.weight": ""})
		if err := g.SetWeight(milli); err != nil {
			t.Fatal(err)
		}
		if got := readFile(t, filepath.Join(dir, "cpu.weight")); got != want {
			t.Errorf("SetWeight(%d): got %q, want %q", milli, got, want)
		}
	}
}

func TestV2KillLiftsTheQuota(t *testing.T) {
	g, dir := fakeV2(t, map[string]string{"cgroup.procs": "41\n", "cgroup.kill": "", "cpu.max": ""})
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the fake's process does not die
	if err := g.Kill(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if got := readFile(t, filepath.Join(dir, "cpu.max")); got != "max" {
		t.Errorf("cpu.max: got %q, want max", got)
	}
}

// TestV2Watch uses a file of the kernel's, for no fake can be polled, and one
// that changes without a memory controller: version 2 may be mounted beside
// version 1.
func TestV2Watch(t *testing.T) {
	h := &Hierarchy{unified: unifiedMount(t)}
	g, err := h.Group(fmt.Sprintf("hearth-watch-%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(g.dir(""), 0o755); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
	}()
	file, err := openPolled(filepath.Join(g.dir(""), "cgroup.events"))
	if err != nil {
		t.Fatal(err)
	}
	w := &MemoryWatch{group: g, file: file}
	defer w.Close()
	want := func(state string) {
		t.Helper()
		if err := w.Wait(0); err != nil || !strings.Contains(w.last, state) {
			t.Errorf("Wait: got %q, %v, want %q", w.last, err, state)
		}
	}
	want("populated 0")
	cmd := exec.Command("sleep", "1000")
	if err := g.Start(cmd); err != nil {
		t.Fatal(err)
	}
	want("populated 1")
	if err := g.Kill(t.Context()); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // killed
	want("populated 0")
}

func unifiedMount(t *testing.T) string {
	t.Helper()
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		if strings.Contains(line, " - cgroup2 ") {
			return strings.Fields(line)[4]
		}
	}
	t.Skip("no cgroup2 is mounted")
	return ""
}

func TestV2OlderKernels(t *testing.T) {
	// No bursts, no swap accounting, no peak.
	g, _ := fakeV2(t, map[string]string{
		"memory.max": "", "memory.oom.group": "", "cpu.max": "", "cpu.weight": "",
		"memory.stat": "anon 5\nfile 9\nshmem 2\n", "memory.current": "20\n", "cpu.stat": "usage_usec 3\n",
	})
	for _, err := range []error{g.SetMemory(1 << 20), g.SetCPU(100)} {
		if err != nil {
			t.Error(err)
		}
	}
	if got, err := g.Usage(); err != nil || got != (Usage{Memory: 7, Charged: 20, CPU: 3 * time.Microsecond}) {
		t.Errorf("Usage: got %+v, %v", got, err)
	}
}

func TestV2Usage(t *testing.T) {
	g, _ := fakeV2(t, map[string]string{
		"memory.stat":    "anon 1000\nfile 500\nkernel 20\nshmem 300\nfile_mapped 1\npgmajfault 6\n",
		"memory.current": "1820\n",
		"memory.peak":    "4000\n",
		"cpu.stat":       "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\n",
		"memory.events":  "low 0\nhigh 0\nmax 12\noom 2\noom_kill 1\noom_group_kill 1\n",
		"pids.events":    "max 4\n",
		"cgroup.procs":   "41\n42\n",
	})
	want := Usage{Memory: 1300, Charged: 1820, ChargedPeak: 4000, CPU: 1500 * time.Millisecond, MajorFaults: 6}
	if got, err := g.Usage(); err != nil || got != want {
		t.Errorf("Usage: got %+v, %v, want %+v", got, err, want)
	}
	if got, err := g.OOMKills(); err != nil || got != 1 {
		t.Errorf("OOMKills: got %d, %v, want 1", got, err)
	}
	if got, err := g.PidsRefused(); err != nil || got != 4 {
		t.Errorf("PidsRefused: got %d, %v, want 4", got, err)
	}
	if got, err := g.Procs(); err != nil || len(got) != 2 || got[0] != 41 {
		t.Errorf("Procs: got %v, %v, want 41 and 42", got, err)
	}
}

func TestLayouts(t *testing.T) {
	const v1 = "31 25 0:27 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n" +
		"32 25 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
	const pids = "33 25 0:29 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n"
	const unified = "34 25 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
	for _, test := range []struct{ name, table, problem string }{
		{"hybrid", v1 + pids + unified, ""},
		{"version 1 alone", v1 + pids, ""},
		{"a controller is missing", v1 + unified, `"pids" is not mounted`},
		{"nothing", "21 1 8:1 / / rw - ext4 /dev/vda rw\n", "no cgroup hierarchy"},
		{"garbage", "\n - \n1 2\n - cgroup\n", "no cgroup hierarchy"},
	} {
		h, err := fromMountInfo(test.table)
		switch {
		case test.problem == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.problem == "" && h.roots["cpuacct"] != "/sys/fs/cgroup/cpu,cpuacct":
			t.Errorf("%s: got %v", test.name, h.roots)
		case test.problem != "" && (err == nil || !strings.Contains(err.Error(), test.problem)):
			t.Errorf("%s: got %v, want %q", test.name, err, test.problem)
		}
	}
	g := &Group{hierarchy: &Hierarchy{roots: map[string]string{"memory": "/m", "cpu": "/c", "cpuacct": "/c", "pids": "/p"}}, path: "x"}
	if got := strings.Join(g.dirs(), " "); got != "/m/x /c/x /p/x" {
		t.Errorf("dirs: got %s, want each hierarchy once", got)
	}
}

func FuzzMountInfo(f *testing.F) {
	f.Add("31 25 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n")
	f.Add("34 25 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
	f.Fuzz(func(_ *testing.T, table string) { _, _ = fromMountInfo(table) })
}
