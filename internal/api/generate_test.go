package api

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// generated runs a generator and compares its output with the file in the
// tree.
func generated(t *testing.T, command, file string) {
	t.Helper()
	out := filepath.Join(t.TempDir(), file)
	if b, err := exec.CommandContext(t.Context(), "go", "run", command, out).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	want, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not current: go generate ./internal/api", file)
	}
}

func TestOperationsAreCurrent(t *testing.T) {
	sdkDir(t)
	generated(t, "./operationgen", "operations_gen.go")
}

func TestConstraintsAreCurrent(t *testing.T) {
	version, err := exec.CommandContext(t.Context(), "python3", "-c", "import botocore; print(botocore.__version__)").Output()
	if err != nil {
		t.Skip("python3 has no botocore here, whose model the constraints come from")
	}
	if v := strings.TrimSpace(string(version)); v != modelVersion {
		t.Skipf("botocore here is %s; the constraints come from %s", v, modelVersion)
	}
	generated(t, "./constraintgen", "constraint_gen.go")
}
