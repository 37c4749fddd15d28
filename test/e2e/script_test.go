package e2e

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"hearth/test/harness"
)

// TestScripts runs testdata/script, each script with a data directory of its
// own in $HEARTH_DATA and an address that is in use in $TAKEN.
func TestScripts(t *testing.T) {
	t.Parallel()
	bin, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	// One script runs it as another user.
	if err := os.Chmod(filepath.Dir(bin), 0o755); err != nil {
		t.Fatal(err)
	}
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			data, err := harness.NewData()
			if err != nil {
				return err
			}
			env.Defer(func() {
				// The script's own hearth down has done it, if all went well.
				down := exec.CommandContext(context.Background(), bin, "down", "--data", data)
				if out, err := down.CombinedOutput(); err != nil {
					t.Logf("%s", out)
				}
				_ = os.RemoveAll(data)
				_ = os.Remove(data + ".log")
			})
			env.Setenv("HEARTH_DATA", data)
			env.Setenv("HEARTH_RUNTIME_CACHE", harness.RuntimeCache())
			env.Setenv("TAKEN", taken.Addr().String())
			env.Setenv("PATH", filepath.Dir(bin)+":"+os.Getenv("PATH"))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"leftovers": func(ts *testscript.TestScript, _ bool, _ []string) {
				if left := harness.Remaining(ts.Getenv("HEARTH_DATA")); len(left) > 0 {
					ts.Fatalf("left behind:\n%s", strings.Join(left, "\n"))
				}
			},
		},
	})
}
