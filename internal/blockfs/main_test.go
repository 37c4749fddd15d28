package blockfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hearth/internal/mount"
)

// asServer has the test's program be a server of the directory it names.
const asServer = "BLOCKFS_TEST_SERVER"

// asBuild is what such a server takes itself for.
const asBuild = "BLOCKFS_TEST_BUILD"

func TestMain(m *testing.M) {
	if role := os.Getenv(asRole); role != "" {
		roles[role]()
		return
	}
	if dir := os.Getenv(asServer); dir != "" {
		cfg := Config{
			Dir: dir, Opener: testOpener{}, Build: os.Getenv(asBuild), Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
			ReadTimeout: 30 * time.Second,
		}
		if text := os.Getenv("BLOCKFS_TEST_TIMEOUT"); text != "" {
			cfg.ReadTimeout, _ = time.ParseDuration(text)
		}
		if err := Run(context.Background(), cfg, true); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// testSpec is what testOpener understands.
type testSpec struct {
	Path string `json:"path,omitempty"` // a file
	Size int64  `json:"size,omitempty"` // or so many bytes of a pattern
	// Memory says to hold the file in memory.
	Memory bool   `json:"memory,omitempty"`
	Key    string `json:"key,omitempty"`
	Fail   string `json:"fail,omitempty"`
	// StallAt is the offset from which on reads wait: for their context, or
	// with Deaf for ever.
	StallAt int64 `json:"stallAt,omitempty"`
	Deaf    bool  `json:"deaf,omitempty"`
}

func (s testSpec) json() json.RawMessage { return encode(s) }

type testOpener struct{}

func (testOpener) Open(ctx context.Context, raw json.RawMessage) (Volume, error) {
	var spec testSpec
	if err := json.Unmarshal(raw, &spec); err != nil {
		return nil, err
	}
	if spec.Fail != "" {
		return nil, fmt.Errorf("%s: spec %s", spec.Fail, raw) // tells it all
	}
	v := &testVolume{spec: spec}
	if spec.Path == "" {
		v.Volume = pattern(spec.Size)
		return v, nil
	}
	var err error
	if spec.Memory {
		var content []byte
		content, err = os.ReadFile(spec.Path)
		v.Volume = memory{bytes.NewReader(content)}
		return v, err
	}
	v.Volume, err = FileOpener{}.Open(ctx, raw)
	return v, err
}

type memory struct{ *bytes.Reader }

func (m memory) ReadAt(_ context.Context, p []byte, off int64) (int, error) {
	return m.Reader.ReadAt(p, off)
}
func (memory) Close() error { return nil }

type testVolume struct {
	Volume
	spec testSpec
}

func (v *testVolume) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	if v.spec.StallAt > 0 && off+int64(len(p)) > v.spec.StallAt {
		if v.spec.Deaf {
			select {}
		}
		<-ctx.Done()
		return 0, errors.New("gave up, key " + v.spec.Key)
	}
	return v.Volume.ReadAt(ctx, p, off)
}

// pattern is a volume of which each eight bytes are their own offset.
type pattern int64

func (p pattern) Size() int64 { return int64(p) }
func (pattern) Close() error  { return nil }
func (p pattern) ReadAt(_ context.Context, b []byte, off int64) (int, error) {
	var word [8]byte
	for i := range b {
		at := off + int64(i)
		if i == 0 || at%8 == 0 {
			binary.BigEndian.PutUint64(word[:], uint64(at-at%8))
		}
		b[i] = word[at%8]
	}
	return len(b), nil
}

// shortDir is a directory whose path leaves room for more.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "blockfs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// serve starts a server in this process.
func serve(t testing.TB, cfg Config) *Server {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = filepath.Join(shortDir(t), "fs")
	}
	if cfg.Opener == nil {
		cfg.Opener = testOpener{}
	}
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
		expectNothing(t, cfg.Dir)
	})
	return s
}

// connect starts a client whose server, if there is none, is a process.
func connect(t testing.TB, cfg ClientConfig) *Client {
	t.Helper()
	if cfg.Owner == "" {
		cfg.Owner = "worker"
	}
	t.Setenv(asServer, cfg.Dir)
	t.Setenv(asBuild, cfg.Build)
	cfg.Command = []string{os.Args[0]}
	c, err := NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() && c.child != nil {
			_ = c.Shutdown(context.Background(), true) // a test that fails leaves nothing either
		}
		c.Stop()
	})
	return c
}

// expectNothing fails the test if something of a server is left.
func expectNothing(t testing.TB, dir string) {
	t.Helper()
	if points, err := mount.Below(dir); err != nil || len(points) > 0 {
		t.Errorf("mounts: got %v, %v, want none", points, err)
	}
	// Another test's sandbox may have a copy of a mount for a moment.
	eventually(t, "no loop device is left", func() bool {
		devices, err := mount.LoopsNamed(filePrefix(dir))
		return err == nil && len(devices) == 0
	})
	if _, err := os.Stat(filepath.Join(dir, socketName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("socket: got %v, want that it is gone", err)
	}
	if f, err := tryLock(filepath.Join(dir, lockName)); err != nil {
		t.Errorf("lock: got %v, want that nobody holds it", err)
	} else {
		_ = f.Close()
	}
}

func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !is() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// tree is what images are made of: a file of each size, with its content.
func tree(t testing.TB, sizes ...int) (dir string, files map[string][]byte) {
	t.Helper()
	dir, files = t.TempDir(), make(map[string][]byte)
	for i, size := range sizes {
		name := fmt.Sprintf("file%d", i)
		content := make([]byte, size)
		_, _ = pattern(size).ReadAt(context.Background(), content, int64(i)<<40)
		files[name] = content
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir, files
}

// image makes an ext4 image of a directory.
func image(t testing.TB, dir string, size string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image")
	out, err := exec.Command("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-d", dir, file, size).CombinedOutput()
	if err != nil {
		t.Fatalf("mke2fs: %v: %s", err, out)
	}
	return file
}

// mountLease mounts a lease at a new directory.
func mountLease(t testing.TB, l *Lease) string {
	t.Helper()
	target := t.TempDir()
	if err := l.Mount(target); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unmount(t, target) })
	return target
}

func unmount(t testing.TB, target string) {
	t.Helper()
	if err := mount.UnmountBelow(target); err != nil {
		t.Error(err)
	}
}

func expectFiles(t testing.TB, dir string, files map[string][]byte) {
	t.Helper()
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: got %d bytes, %v, want the %d that were written", name, len(got), err, len(want))
		}
	}
}

func open(t testing.TB, c *Client, volume string, spec testSpec) *Lease {
	t.Helper()
	l, err := c.Open(t.Context(), volume, spec.json())
	if err != nil {
		t.Fatal(err)
	}
	return l
}
