package sandboxtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"hearth/internal/mount"
)

// buildInit compiles testdata/init once per test process.
var buildInit = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "hearth-sandboxtest-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "init")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path,
		"hearth/internal/sandbox/sandboxtest/testdata/init")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the test's init: %w\n%s", err, out)
	}
	return path, nil
})

// Init returns the path of a static program that can stand in for hearth-init.
func Init(tb testing.TB) string {
	tb.Helper()
	path, err := buildInit()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// CleanUp removes what Init has built. Call it from TestMain.
func CleanUp() {
	if path, err := buildInit(); err == nil {
		os.RemoveAll(filepath.Dir(path))
	}
}

// Root returns a mounted root file system: next to nothing, and what a hostile
// image might hold.
func Root(tb testing.TB) string {
	tb.Helper()
	content, dir := tb.TempDir(), tb.TempDir()
	for _, sub := range []string{"etc", "tmp", "var/task", "opt", ".hearth"} {
		if err := os.MkdirAll(filepath.Join(content, sub), 0o777); err != nil {
			tb.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(content, "tmp"), 0o1777); err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(content, "etc", "marker"), []byte("root image"), 0o644); err != nil {
		tb.Fatal(err)
	}
	// An image that tries to send the driver's mounts elsewhere.
	if err := os.Symlink("/etc", filepath.Join(content, ".hearth", "late")); err != nil {
		tb.Fatal(err)
	}
	mountPoint := filepath.Join(dir, "root")
	if err := os.Mkdir(mountPoint, 0o755); err != nil {
		tb.Fatal(err)
	}
	mountImage(tb, makeImage(tb, filepath.Join(dir, "root.img"), 8, "-d", content), mountPoint, true)
	return mountPoint
}

// makeImage makes an ext4 image of the given size.
func makeImage(tb testing.TB, image string, sizeMB int, options ...string) string {
	tb.Helper()
	args := append([]string{"-q", "-F", "-m", "0", "-O", "^has_journal"}, options...)
	args = append(args, image, fmt.Sprintf("%dM", sizeMB))
	if out, err := exec.Command("mke2fs", append([]string{"-t", "ext4"}, args...)...).CombinedOutput(); err != nil {
		tb.Fatalf("mke2fs: %v\n%s", err, bytes.TrimSpace(out))
	}
	return image
}

func mountImage(tb testing.TB, image, target string, readOnly bool) {
	tb.Helper()
	if err := mount.Ext4(image, target, readOnly, ""); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := mount.Unmount(target); err != nil {
			tb.Error(err)
		}
	})
}

// NewID returns a fresh sandbox id.
func NewID() string {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// Context returns a context with a limit that fits the slowest check
// on a busy machine.
func Context(tb testing.TB) context.Context {
	tb.Helper()
	ctx, cancel := context.WithTimeoutCause(context.Background(), checkLimit, errCheckLimit)
	tb.Cleanup(cancel)
	return ctx
}
