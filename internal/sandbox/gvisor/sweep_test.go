package gvisor_test

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/nftables"

	"hearth/internal/sandbox"
	"hearth/internal/sandbox/gvisor"
	"hearth/internal/sandbox/sandboxtest"
	"hearth/internal/scratch"
)

// victimEnv makes the test binary play a Hearth that is killed: its value is
// the driver's directory.
const victimEnv = "HEARTH_TEST_VICTIM"

const victimInstance = "tvictim"

// newVictim returns a driver of the victim's instance.
func newVictim(dir, init, runsc string) (*gvisor.Driver, error) {
	return gvisor.New(gvisor.Config{
		Runsc: runsc, Init: init, Dir: dir, Instance: victimInstance, Log: slog.New(slog.DiscardHandler),
	})
}

// TestVictim is no test but the process that TestSweep kills.
func TestVictim(t *testing.T) {
	dir := os.Getenv(victimEnv)
	if dir == "" {
		t.Skip("only as a child of TestSweep")
	}
	d, err := newVictim(filepath.Join(dir, "worker"), os.Getenv("HEARTH_TEST_INIT"), runsc(t))
	check(t, err)
	maker, err := scratch.New(filepath.Join(dir, "worker", "templates"))
	check(t, err)
	for i, egress := range []bool{false, true, false} {
		g := sandboxtest.Boot(t, d, sandbox.Spec{Root: os.Getenv("HEARTH_TEST_ROOT"), Egress: egress})
		volume, err := maker.Make(t.Context(), filepath.Join(dir, "worker", fmt.Sprintf("tmp%d", i)), 16)
		check(t, err)
		check(t, g.Attach(t.Context(), "tmp", volume.Dir, false))
		if i == 2 {
			check(t, g.Pause(t.Context()))
		}
	}
	fmt.Println("victim is ready")
	_, _ = io.Copy(io.Discard, os.Stdin) // until killed
}

func TestSweepAfterKill(t *testing.T) {
	dir, root, init := t.TempDir(), sandboxtest.Root(t), sandboxtest.Init(t)
	worker := filepath.Join(dir, "worker")
	victim := exec.Command("/proc/self/exe", "-test.run=^TestVictim$", "-test.v")
	victim.Env = append(os.Environ(), victimEnv+"="+dir, "HEARTH_TEST_INIT="+init, "HEARTH_TEST_ROOT="+root)
	stdin, err := victim.StdinPipe()
	check(t, err)
	defer stdin.Close()
	stdout, err := victim.StdoutPipe()
	check(t, err)
	check(t, victim.Start())
	ready := false
	for lines := bufio.NewScanner(stdout); !ready && lines.Scan(); {
		t.Log(lines.Text())
		ready = strings.Contains(lines.Text(), "victim is ready")
	}
	check(t, victim.Process.Kill())
	_ = victim.Wait() // its error is that it was killed
	if !ready {
		t.Error("the victim did not get ready")
	}
	before := append(traces(t, worker, worker), outside(t)...)
	for _, kind := range []string{"process", "mount", "cgroup", "file", "loop device", "interface", "table"} {
		if !strings.Contains(strings.Join(before, "\n"), "\n"+kind+" ") && !strings.HasPrefix(before[0], kind) {
			t.Errorf("the victim left no %s: the test looks for the wrong things", kind)
		}
	}
	d, err := newVictim(worker, init, runsc(t))
	check(t, err)
	for range 2 { // a sweep of nothing is fine
		check(t, d.Sweep(sandboxtest.Context(t)))
	}
	// Templates and volume directories are the worker's, whose mounts are gone.
	for _, trace := range append(traces(t, worker, worker), outside(t)...) {
		if !strings.HasPrefix(trace, "file ") || strings.Contains(trace, "/sandboxes/") || strings.Contains(trace, "/run/") {
			t.Errorf("left behind: %s", trace)
		}
	}
	// And it is fit to work.
	t.Cleanup(func() { check(t, d.Sweep(sandboxtest.Context(t))) })
	sandboxtest.Boot(t, d, sandbox.Spec{Root: root})
}

// outside lists what the victim has outside its directory.
func outside(t *testing.T) []string {
	t.Helper()
	var found []string
	interfaces, err := net.Interfaces()
	check(t, err)
	for _, i := range interfaces {
		if strings.Contains(i.Name, victimInstance) {
			found = append(found, "interface "+i.Name)
		}
	}
	conn, err := nftables.New()
	check(t, err)
	tables, err := conn.ListTables()
	check(t, err)
	for _, table := range tables {
		if strings.Contains(table.Name, victimInstance) {
			found = append(found, "table "+table.Name)
		}
	}
	cgroups, err := filepath.Glob("/sys/fs/cgroup/*/hearth/" + victimInstance)
	check(t, err)
	for _, cgroup := range cgroups {
		found = append(found, "cgroup "+cgroup)
	}
	return found
}
