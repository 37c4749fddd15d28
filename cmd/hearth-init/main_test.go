package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestSmall: hearth-init is in every sandbox, beside code that is hostile to
// it: it must stay small, static, and free of what it does not need.
func TestSmall(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.Lines(string(out)) {
		for _, bad := range []string{"aws-sdk", "smithy", "etcd", "cobra", "grpc", "net/http", "crypto/tls", "testing"} {
			if strings.Contains(dep, bad) {
				t.Errorf("depends on %s", dep)
			}
		}
	}
	bin := filepath.Join(t.TempDir(), "hearth-init")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	info, err := os.Stat(bin)
	if err != nil {
		t.Fatal(err)
	}
	if limit := int64(10 << 20); info.Size() >= limit {
		t.Errorf("%d bytes, want less than %d", info.Size(), limit)
	}
	// By hand it does nothing: it would kill every process it can see.
	if out, err := exec.Command(bin).CombinedOutput(); err == nil || !strings.Contains(string(out), "process 1") {
		t.Errorf("run by hand: %v, %q", err, out)
	}
}
