package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"hearth/test/harness"
)

// archives writes two versions of the function of the tests, for clients that
// read files.
func archives(t *testing.T, runtime string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, version := range []string{"1", "2"} {
		if err := os.WriteFile(filepath.Join(dir, version+".zip"), code(t, runtime, version), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// tool finds a program of the test clients: in build/venv, where make test
// installs them, or else on the PATH.
func tool(t *testing.T, name string) string {
	t.Helper()
	if path := filepath.Join(root(t), "build", "venv", "bin", name); exec.Command(path, "--version").Run() == nil {
		return path
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%v; install the test clients with: make clients", err)
	}
	return path
}

func root(t *testing.T) string {
	t.Helper()
	root, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// script runs a client's script against the shared Hearth.
func script(t *testing.T, env []string, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(shared.Env(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
	t.Logf("%s", out)
}

// TestBoto3 takes a function through its life with boto3.
func TestBoto3(t *testing.T) {
	t.Parallel()
	interpreter := tool(t, "python3")
	if out, err := exec.Command(interpreter, "-c", "import boto3").CombinedOutput(); err != nil {
		t.Fatalf("%s has no boto3; install the test clients with: make clients\n%s", interpreter, out)
	}
	script(t, nil, interpreter, filepath.Join(root(t), "test/python/lifecycle.py"), archives(t, python))
}

// TestJavaScriptSDK takes a function through its life with the JavaScript SDK.
func TestJavaScriptSDK(t *testing.T) {
	t.Parallel()
	modules := "NODE_PATH=" + os.Getenv("NODE_PATH")
	for _, dir := range []string{"build/js/node_modules", "test/js/node_modules"} {
		if _, err := os.Stat(filepath.Join(root(t), dir, "@aws-sdk/client-lambda")); err == nil {
			modules = "NODE_PATH=" + filepath.Join(root(t), dir)
			break
		}
	}
	interpreter, err := exec.LookPath("node")
	if err != nil {
		t.Fatalf("%v; install it with: apt-get install nodejs", err)
	}
	find := exec.Command(interpreter, "-e", "require('@aws-sdk/client-lambda')")
	find.Env = append(os.Environ(), modules)
	if out, err := find.CombinedOutput(); err != nil {
		t.Fatalf("node finds no @aws-sdk/client-lambda; install the test clients with: make clients\n%s", out)
	}
	script(t, []string{modules}, interpreter, filepath.Join(root(t), "test/js/lifecycle.js"), archives(t, node))
}
