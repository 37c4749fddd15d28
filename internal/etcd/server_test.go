package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// fillDirEnv makes the test binary a child that fills its disk.
const fillDirEnv = "HEARTH_TEST_FILL_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(fillDirEnv); dir != "" {
		fillChild(dir)
		return
	}
	// A start that failed leaves goroutines behind, as Start says.
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("go.etcd.io/etcd/server/v3/storage/backend.(*backend).run"),
		goleak.IgnoreAnyFunction("go.etcd.io/etcd/server/v3/storage/wal.(*filePipeline).run"),
	)
}

func mustStart(t *testing.T, cfg Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// filled makes a directory with some data and returns it stopped.
func filled(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "etcd")
	s := mustStart(t, Config{Dir: dir})
	for i := range 200 {
		if _, err := s.Client().Put(t.Context(), fmt.Sprint("key", i), strings.Repeat("v", 500)); err != nil {
			t.Fatal(err)
		}
	}
	s.Stop()
	return dir
}

func TestKeepsDataAndLeavesNoGoroutine(t *testing.T) {
	before := goleak.IgnoreCurrent()
	dir := filled(t)
	s := mustStart(t, Config{Dir: dir})
	got, err := s.Client().Get(t.Context(), "key", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || got.Count != 200 {
		t.Fatalf("%d keys, %v, want 200", got.Count, err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("directory mode %v, %v", info.Mode(), err)
	}
	s.Stop()
	s.Stop()
	goleak.VerifyNone(t, before)
}

// TestListensNowhere looks at what the kernel knows of this process.
func TestListensNowhere(t *testing.T) {
	count := func() int {
		fds, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, fd := range fds {
			if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, "socket:") {
				n++
			}
		}
		return n
	}
	before := count()
	mustStart(t, Config{Dir: t.TempDir()})
	if after := count(); after != before {
		t.Errorf("%d sockets before the start, %d after", before, after)
	}
}

func TestWatchAndConditionalWrite(t *testing.T) {
	s := mustStart(t, Config{Dir: t.TempDir()})
	c := s.Client()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ch := c.Watch(ctx, "a")
	resp, err := c.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision("a"), "=", 0)).Then(clientv3.OpPut("a", "1")).Commit()
	if err != nil || !resp.Succeeded {
		t.Fatalf("first write: %v, %v", resp, err)
	}
	if w := <-ch; len(w.Events) != 1 || w.Events[0].Kv.ModRevision != resp.Header.GetRevision() {
		t.Errorf("watch saw %v", w.Events)
	}
	resp, err = c.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision("a"), "=", 0)).Then(clientv3.OpPut("a", "2")).Commit()
	if err != nil || resp.Succeeded {
		t.Errorf("second write: %v, %v", resp, err)
	}
}

func TestInUse(t *testing.T) {
	dir := t.TempDir()
	mustStart(t, Config{Dir: dir})
	_, err := Start(t.Context(), Config{Dir: dir})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "--data") {
		t.Errorf("got %v, want %v", err, ErrInUse)
	}
}

func TestDamagedData(t *testing.T) {
	tests := []struct {
		name   string
		damage func(t *testing.T, db, wal string)
	}{
		{"database overwritten", func(t *testing.T, db, _ string) { scribble(t, db, 0, 64<<10) }},
		{"database cut", func(t *testing.T, db, _ string) {
			if err := os.Truncate(db, 3*4096); err != nil {
				t.Fatal(err)
			}
		}},
		{"database nearly empty", func(t *testing.T, db, _ string) {
			if err := os.Truncate(db, 100); err != nil {
				t.Fatal(err)
			}
		}},
		{"page of the database overwritten", func(t *testing.T, db, _ string) { scribble(t, db, 5*4096, 4096) }},
		{"database empty", func(t *testing.T, db, _ string) {
			if err := os.Truncate(db, 0); err != nil {
				t.Fatal(err)
			}
		}},
		{"log overwritten", func(t *testing.T, _, wal string) { scribble(t, wal, 300, 4096) }},
		{"log overwritten at its beginning", func(t *testing.T, _, wal string) { scribble(t, wal, 0, 64) }},
		{"log empty", func(t *testing.T, _, wal string) {
			if err := os.Truncate(wal, 0); err != nil {
				t.Fatal(err)
			}
		}},
		{"log cut", func(t *testing.T, _, wal string) {
			if err := os.Truncate(wal, 100); err != nil {
				t.Fatal(err)
			}
		}},
		{"log cut in the middle", func(t *testing.T, _, wal string) {
			if err := os.Truncate(wal, 50_000); err != nil {
				t.Fatal(err)
			}
		}},
		{"log missing", func(t *testing.T, _, wal string) {
			if err := os.Remove(wal); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filled(t)
			wals, err := filepath.Glob(filepath.Join(dir, "member", "wal", "0*.wal"))
			if err != nil || len(wals) == 0 {
				t.Fatalf("log files %v, %v", wals, err)
			}
			tt.damage(t, filepath.Join(dir, "member", "snap", "db"), wals[len(wals)-1])
			s, err := Start(t.Context(), Config{Dir: dir})
			if err == nil {
				got, gerr := s.Client().Get(t.Context(), "key", clientv3.WithPrefix(), clientv3.WithCountOnly())
				s.Stop()
				t.Fatalf("started, with %d of 200 keys, %v", got.Count, gerr)
			}
			if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "backup") {
				t.Errorf("got %v, want %v", err, ErrCorrupt)
			}
			t.Log(err)
		})
	}
}

func scribble(t *testing.T, name string, at int64, n int) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCutOffFirstStart has what a power cut leaves of a first start.
func TestCutOffFirstStart(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "member", "snap"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "member", "snap", "db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mustStart(t, Config{Dir: dir})
}

// smallDisk mounts a file system of a few bytes.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	mnt := t.TempDir()
	if err := unix.Mount("hearth-test", mnt, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mnt, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return mnt
}

func TestFullDiskAtStart(t *testing.T) {
	_, err := Start(t.Context(), Config{Dir: filepath.Join(smallDisk(t, "1m"), "etcd")})
	if !errors.Is(err, ErrDiskFull) || !strings.Contains(err.Error(), "free some space") {
		t.Errorf("got %v, want %v", err, ErrDiskFull)
	}
}

// TestFullDiskWhileRunning checks that the member ends rather than goes on
// with what it could not write, says why, and has all it acknowledged.
func TestFullDiskWhileRunning(t *testing.T) {
	mnt := smallDisk(t, "150m")
	dir := filepath.Join(mnt, "etcd")
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), fillDirEnv+"="+dir)
	out, err := child.Output()
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != 3 {
		t.Fatalf("child: %v\n%.2000s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	last := lines[len(lines)-1]
	if !strings.Contains(last, "no space left") || !strings.Contains(last, "start again") {
		t.Errorf("the child said %.500q", last)
	}
	acked := len(lines) - 1
	if err := unix.Mount("", mnt, "", unix.MS_REMOUNT, "size=400m"); err != nil {
		t.Fatal(err)
	}
	s := mustStart(t, Config{Dir: dir})
	got, err := s.Client().Get(t.Context(), "fill", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || got.Count < int64(acked) || acked == 0 {
		t.Errorf("%d keys, %v; %d were acknowledged", got.Count, err, acked)
	}
	s.Stop() // before its disk goes
}

func fillChild(dir string) {
	s, err := Start(context.Background(), Config{Dir: dir, Log: slog.New(slog.DiscardHandler), OnFatal: func(err error) {
		fmt.Println(err)
		os.Exit(3)
	}})
	if err != nil {
		fmt.Println("start:", err)
		os.Exit(4)
	}
	value := strings.Repeat("v", 1<<20)
	for i := range 1000 {
		if _, err := s.Client().Put(context.Background(), fmt.Sprint("fill", i), value); err != nil {
			fmt.Println("put:", err)
			os.Exit(5)
		}
		fmt.Println("acked", i)
	}
}

func TestStartEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Start(ctx, Config{Dir: t.TempDir()}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func TestDefrag(t *testing.T) {
	for _, tt := range []struct {
		total, inUse int64
		want         bool
	}{{64 << 20, 0, false}, {200 << 20, 150 << 20, false}, {200 << 20, 50 << 20, true}} {
		if got := worthDefrag(tt.total, tt.inUse); got != tt.want {
			t.Errorf("%d of %d in use: got %v, want %v", tt.inUse, tt.total, got, tt.want)
		}
	}
}

func BenchmarkPut(b *testing.B) {
	s, err := Start(b.Context(), Config{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Stop()
	for b.Loop() {
		if _, err := s.Client().Put(b.Context(), "a", "b"); err != nil {
			b.Fatal(err)
		}
	}
}
