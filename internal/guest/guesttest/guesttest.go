// Package guesttest runs a real hearth-init on the host, in a PID namespace
// and a mount namespace of its own, without a sandbox around it: for tests of
// both sides of the control stream. It needs root.
package guesttest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"hearth/internal/controlstream"
)

// Dirs are the directories that a function sees as /var/runtime, /var/task
// and /opt. They are readable by every user.
type Dirs struct{ Runtime, Task, Opt string }

// NewDirs makes empty ones that the function's user can read.
func NewDirs(t testing.TB) Dirs {
	t.Helper()
	// Not t.TempDir: that lies below a directory that only root may enter.
	top, err := os.MkdirTemp("", "guesttest")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(top) })
	d := Dirs{filepath.Join(top, "runtime"), filepath.Join(top, "task"), filepath.Join(top, "opt")}
	for _, dir := range []string{d.Runtime, d.Task, d.Opt} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(top, 0o755); err != nil {
		t.Fatal(err)
	}
	return d
}

// Guest is a running hearth-init.
type Guest struct {
	Session *controlstream.Session
	Hello   controlstream.Hello
	// PID is hearth-init's, on the host.
	PID int
	// API is the address of its Runtime API.
	API string
	// Endpoint is the address that it relays to Relayed.
	Endpoint string
	Relayed  net.Listener
	// Exited is closed when hearth-init has ended.
	Exited <-chan struct{}
}

// Start starts a hearth-init and returns once it has said hello. Everything
// ends with the test.
func Start(t testing.TB, dirs Dirs, opt controlstream.Options) *Guest {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to make a PID namespace")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	control := filepath.Join(filepath.Dir(dirs.Task), "s")
	_ = os.Remove(control)
	ln, err := net.Listen("unix", control)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	// All of 127/8 is the loopback interface: an address of its own keeps
	// this one apart from others.
	own := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	api, endpoint := own+":9001", own+":9002"
	cmd := exec.Command(Binary(t), "-control", control, "-api", api, "-endpoint", endpoint,
		"-runtime", dirs.Runtime, "-task", dirs.Task, "-opt", dirs.Opt)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); _ = ln.Close(); close(exited) }()
	t.Cleanup(func() { _ = cmd.Process.Kill(); <-exited })
	conn, err := ln.Accept()
	if err != nil {
		t.Fatalf("hearth-init did not dial: %v", err)
	}
	s, hello, err := controlstream.Open(ctx, conn, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return &Guest{Session: s, Hello: hello, PID: cmd.Process.Pid, API: api, Endpoint: endpoint, Relayed: ln, Exited: exited}
}

var (
	buildMu sync.Mutex
	built   = make(map[string]string)
)

// Binary builds hearth-init, once per test run, with the race detector if the
// test has it.
func Binary(t testing.TB) string {
	t.Helper()
	args := []string{"-trimpath"}
	if raceEnabled {
		args = append(args, "-race")
	}
	return Build(t, "hearth/cmd/hearth-init", args...)
}

// Build builds the package of that import path, once per test run, and
// returns the path of an executable that every user may run.
func Build(t testing.TB, pkg string, args ...string) string {
	t.Helper()
	buildMu.Lock()
	defer buildMu.Unlock()
	if path := built[pkg]; path != "" {
		return path
	}
	path := filepath.Join(buildDir(t), filepath.Base(pkg))
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, args...), pkg)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	built[pkg] = path
	return path
}

// buildDir is a directory that survives from test to test. Cleanup removes
// it.
func buildDir(t testing.TB) string {
	t.Helper()
	if dir := built[""]; dir != "" {
		return dir
	}
	dir, err := os.MkdirTemp("", "guesttest-bin")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	built[""] = dir
	return dir
}

// Cleanup removes what Build has made; call it from TestMain.
func Cleanup() {
	buildMu.Lock()
	defer buildMu.Unlock()
	if dir := built[""]; dir != "" {
		_ = os.RemoveAll(dir)
	}
	clear(built)
}
