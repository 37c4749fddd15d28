package gvisor_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"hearth/internal/sandbox"
	"hearth/internal/sandbox/gvisor"
	"hearth/internal/sandbox/sandboxtest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	sandboxtest.CleanUp()
	if code == 0 {
		if err := goleak.Find(); err != nil {
			println(err.Error())
			code = 1
		}
	}
	os.Exit(code)
}

// runsc finds the binary that `make build` has made.
func runsc(tb testing.TB) string {
	tb.Helper()
	if path := os.Getenv("HEARTH_RUNSC"); path != "" {
		return path
	}
	dir, err := os.Getwd()
	if err != nil {
		tb.Fatal(err)
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "bin", "runsc")
		}
	}
	tb.Fatal("no go.mod above the test's directory")
	return ""
}

func newDriver(tb testing.TB) sandbox.Driver {
	tb.Helper()
	d, err := gvisor.New(gvisor.Config{
		Runsc:    runsc(tb),
		Init:     sandboxtest.Init(tb),
		Dir:      tb.TempDir(),
		Instance: "t" + sandboxtest.NewID()[:7],
		Log:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := d.Sweep(sandboxtest.Context(tb)); err != nil {
			tb.Errorf("Sweep: %v", err)
		}
	})
	return d
}

func TestBoot(t *testing.T) {
	g := sandboxtest.Boot(t, newDriver(t), sandbox.Spec{Root: sandboxtest.Root(t)})
	if err := g.Echo("hello"); err != nil {
		t.Fatal(err)
	}
	out, err := g.Act("list", "/")
	t.Log(out, err)
	t.Log(g.Stats(sandboxtest.Context(t)))
}
