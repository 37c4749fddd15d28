package sandboxtest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hearth/internal/sandbox"
)

// attach checks that a directory attached to the running sandbox is seen, is
// read-only if so asked, and can be bound to its place.
func (s *suite) attach(t *testing.T, g *Guest) {
	ctx, dir := Context(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "app"), []byte("the code"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil { // only the mount forbids writing
		t.Fatal(err)
	}
	// A look-up that fails before must not be remembered.
	if _, err := g.actAsRoot("read", sandbox.LateDir+"/task/app"); err == nil {
		t.Fatal("the directory is there before it is attached")
	}
	if err := g.Attach(ctx, "task", dir, true); err != nil {
		t.Fatal(err)
	}
	if _, err := g.actAsRoot("write", sandbox.LateDir+"/task/new", "1"); err == nil {
		t.Error("a directory attached read-only can be written to by sandbox-root")
	}
	if err := g.bind("task", "/var/task", true); err != nil {
		t.Fatal(err)
	}
	if got, err := g.Act("read", "/var/task/app"); err != nil || got != "the code" {
		t.Errorf("read /var/task/app: got %q, %v, want %q", got, err, "the code")
	}
	if _, err := g.Act("write", "/var/task/new", "1"); err == nil || !strings.Contains(err.Error(), "read-only") {
		t.Errorf("write /var/task/new: got %v, want a read-only file system", err)
	}
	if err := g.Attach(ctx, "task", dir, true); err == nil {
		t.Error("a name can be attached twice")
	}
}

// scratch checks that /tmp is bounded by its volume and is no memory: writing
// 400 MB at a memory limit of 128 MB must succeed.
func (s *suite) scratch(t *testing.T, g *Guest) {
	ctx := Context(t)
	if err := g.Limit(ctx, sandbox.Limits{MemoryMB: 128}); err != nil {
		t.Fatal(err)
	}
	if err := g.Attach(ctx, "tmp", s.volume.Dir, false); err != nil {
		t.Fatal(err)
	}
	if err := g.bind("tmp", "/tmp", false); err != nil {
		t.Fatal(err)
	}
	if got, err := g.Act("write", "/tmp/most", "400"); err != nil || got != "400" {
		t.Fatalf("write 400 MB: got %s MB, %v", got, err)
	}
	usage, err := g.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if most := int64(64 << 20); usage.MemoryPeakBytes > most {
		t.Errorf("memory peak after a write of 400 MB to /tmp: got %d, want at most %d", usage.MemoryPeakBytes, most)
	}
	got, err := g.Act("write", "/tmp/rest", "400")
	if err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("write beyond the quota: got %s MB, %v, want no space left", got, err)
	}
	if len(got) != 3 || got < "105" || got > "125" {
		t.Errorf("write beyond the quota: %s MB went in, want 512-400", got)
	}
}

// memory checks that what a function uses is what is counted.
func (s *suite) memory(t *testing.T, g *Guest) {
	ctx := Context(t)
	if err := g.Limit(ctx, sandbox.Limits{MemoryMB: 256}); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Act("hog", "100"); err != nil {
		t.Fatal(err)
	}
	usage, err := g.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got := usage.MemoryPeakBytes >> 20; got < 80 || got > 160 {
		t.Errorf("memory peak after using 100 MB: got %d MB, want 80 to 160", got)
	}
	if usage.CPU <= 0 {
		t.Errorf("CPU time: got %v, want more than none", usage.CPU)
	}
}

func (s *suite) outOfMemory(t *testing.T) {
	ctx := Context(t)
	g := s.boot(t)
	// The CPU quota of a function of this size: dying takes CPU time too.
	if err := g.Limit(ctx, sandbox.Limits{MemoryMB: 128, MilliCPU: 72}); err != nil {
		t.Fatal(err)
	}
	if out, err := g.Act("hog", "1000"); !errors.Is(err, errHungUp) {
		t.Errorf("use of 1000 MB at a limit of 128: got %q, %v, want the sandbox killed", out, err)
	}
	exit, err := g.waitExit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !exit.OutOfMemory {
		t.Errorf("Exit: got %+v, want OutOfMemory", exit)
	}
}

// cpu checks that a running sandbox can be held to a share of a core.
func (s *suite) cpu(t *testing.T, g *Guest) {
	ctx := Context(t)
	if err := g.Limit(ctx, sandbox.Limits{MilliCPU: 200}); err != nil {
		t.Fatal(err)
	}
	before, err := g.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if _, err := g.Act("spin", "1s"); err != nil {
		t.Fatal(err)
	}
	wall := time.Since(start)
	after, err := g.Stats(ctx)
	if err != nil {
		t.Fatal(err)
	}
	// A busy machine gives less, never more but for bursts.
	if used, most := after.CPU-before.CPU, wall*3/10; used > most {
		t.Errorf("CPU time in %v at a fifth of a core: got %v, want at most %v", wall, used, most)
	}
	if err := g.Limit(ctx, sandbox.Limits{MilliCPU: 2000}); err != nil {
		t.Fatal(err)
	}
}

// forkBomb checks that a function that forks forever ends at the limit of
// processes, alone.
func (s *suite) forkBomb(t *testing.T) {
	ctx := Context(t)
	neighbour, g := s.boot(t), s.boot(t)
	if err := g.Limit(ctx, sandbox.Limits{MemoryMB: 512, Pids: 96}); err != nil {
		t.Fatal(err)
	}
	// Refused by its kernel or killed with its sandbox: both are contained.
	if out, err := g.Act("fork"); err == nil {
		t.Errorf("a fork bomb met no limit after %s forks", out)
	} else if errors.Is(err, errHungUp) {
		exit, err := g.waitExit(ctx)
		if err != nil || !strings.Contains(exit.Detail, "processes") {
			t.Errorf("Exit: got %+v, %v, want a detail about processes", exit, err)
		}
	}
	if err := neighbour.Echo("unharmed"); err != nil {
		t.Errorf("neighbour: %v", err)
	}
	if err := g.Close(ctx); err != nil {
		t.Error(err)
	}
	for _, trace := range s.Traces(t, g.ID) {
		t.Errorf("left behind: %s", trace)
	}
}
