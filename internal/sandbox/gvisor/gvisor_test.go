package gvisor_test

import (
	"log/slog"
	"net/netip"
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

// newDriver returns a driver with a directory and an instance of its own,
// swept at the end of the test.
func newDriver(tb testing.TB, dir string, resolvers ...netip.Addr) *gvisor.Driver {
	tb.Helper()
	d, err := gvisor.New(gvisor.Config{
		Runsc:     runsc(tb),
		Init:      sandboxtest.Init(tb),
		Dir:       dir,
		Instance:  "t" + sandboxtest.NewID()[:7],
		Resolvers: resolvers,
		Log:       slog.New(slog.DiscardHandler),
	})
	check(tb, err)
	tb.Cleanup(func() {
		if err := d.Sweep(sandboxtest.Context(tb)); err != nil {
			tb.Errorf("Sweep: %v", err)
		}
	})
	return d
}

func TestConformance(t *testing.T) {
	dir := t.TempDir()
	sandboxtest.Run(t, sandboxtest.Subject{
		New:    func(tb testing.TB) sandbox.Driver { return newDriver(tb, dir) },
		Traces: func(tb testing.TB, id string) []string { return traces(tb, dir, id) },
	})
}
