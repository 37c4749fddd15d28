package blockfs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// lostVolumes returns a callback and what it has been called with.
func lostVolumes() (func([]string), <-chan []string) {
	lost := make(chan []string, 8)
	return func(volumes []string) { lost <- volumes }, lost
}

func receive[T any](t testing.TB, what string, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(30 * time.Second):
		t.Fatalf("not within 30 s: %s", what)
	}
	return v
}

func pidOf(t testing.TB, c *Client) int {
	t.Helper()
	l, err := c.current(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return l.pid
}

func shutdown(t testing.TB, c *Client) {
	t.Helper()
	eventually(t, "nothing is in use", func() bool {
		err := c.Shutdown(t.Context(), false)
		if err != nil && !errors.Is(err, ErrBusy) {
			t.Fatal(err)
		}
		return err == nil
	})
	expectNothing(t, c.cfg.Dir)
}

// stallingImage is an image with a file of which reads stall in the middle.
func stallingImage(t testing.TB) (spec testSpec, files map[string][]byte) {
	t.Helper()
	source, files := tree(t, 48<<20)
	return testSpec{Path: image(t, source, "64M"), StallAt: 32 << 20}, files
}

// TestKilledServer kills a server while somebody reads.
func TestKilledServer(t *testing.T) {
	callback, lost := lostVolumes()
	dir := filepath.Join(shortDir(t), "fs")
	c := connect(t, ClientConfig{Dir: dir, Lost: callback})
	spec, _ := stallingImage(t)
	lease := open(t, c, "stalls", spec)
	idle := open(t, c, "idle", testSpec{Size: 1 << 20})
	target := mountLease(t, lease)
	result := make(chan error, 1)
	go func() {
		_, err := os.ReadFile(filepath.Join(target, "file0"))
		result <- err
	}()
	eventually(t, "the read has come to where it stalls", func() bool {
		s, err := c.Stats(t.Context(), "stalls")
		return err == nil && slices.Max(append(s.Touched, 0)) >= 64
	})
	pid := pidOf(t, c)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, "the end of the read", result); !errors.Is(err, unix.EIO) {
		t.Errorf("read: got %v, want EIO", err)
	}
	if got := receive(t, "what was lost", lost); !slices.Equal(got, []string{"idle", "stalls"}) {
		t.Errorf("lost: got %v", got)
	}
	for _, l := range []*Lease{lease, idle} {
		receive(t, "the lease is lost", l.Lost())
		if err := l.Mount(t.TempDir()); !errors.Is(err, ErrLost) {
			t.Errorf("mounting a lost volume: got %v, want ErrLost", err)
		}
		if err := l.Release(t.Context()); err != nil {
			t.Errorf("releasing a lost lease: %v", err)
		}
	}
	// The next server shows the same volume anew.
	source, files := tree(t, 1<<20)
	again := open(t, c, "v", testSpec{Path: image(t, source, "16M")})
	fresh := mountLease(t, again)
	expectFiles(t, fresh, files)
	if now := pidOf(t, c); now == pid {
		t.Errorf("process %d serves still", pid)
	}
	unmount(t, target)
	unmount(t, fresh)
	if err := again.Release(t.Context()); err != nil {
		t.Error(err)
	}
	shutdown(t, c)
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the killed server: got %v, want that it was reaped", err)
	}
}

const roleDir = "BLOCKFS_TEST_DIR"

// roleHearth is a Hearth that mounts a volume and waits to be killed.
func roleHearth() {
	dir := os.Getenv(roleDir)
	_ = os.Setenv(asServer, dir)
	_ = os.Unsetenv(asRole)
	c, err := NewClient(ClientConfig{Dir: dir, Owner: "worker", Command: []string{os.Args[0]}})
	if err == nil {
		err = c.Start(context.Background())
	}
	var lease *Lease
	if err == nil {
		lease, err = c.Open(context.Background(), "v", testSpec{Path: os.Getenv("BLOCKFS_TEST_IMAGE")}.json())
	}
	if err == nil {
		err = lease.Mount(os.Getenv("BLOCKFS_TEST_TARGET"))
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("mounted", lease.Device())
	select {}
}

// roleCareless is a client that does not look who serves.
func roleCareless() {
	conn, err := net.Dial("unix", filepath.Join(os.Getenv(roleDir), socketName))
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = writeFrame(conn, maxHello, &hello{Version: protocolVersion}) // may be hung up on already
	answer, _ := io.ReadAll(conn)
	fmt.Println("answer of", len(answer), "bytes")
}

// roleStranger is one who asks whose the socket is.
func roleStranger() {
	l, err := dial(context.Background(), os.Getenv(roleDir), "", time.Minute)
	if l != nil {
		l.close()
	}
	fmt.Println(err)
}

func TestKilledClient(t *testing.T) {
	source, files := tree(t, 1<<20)
	file, target, dir := image(t, source, "16M"), t.TempDir(), filepath.Join(shortDir(t), "fs")
	t.Cleanup(func() { unmount(t, target) })
	hearth := exec.Command(os.Args[0])
	hearth.Env = append(os.Environ(), asRole+"=hearth", roleDir+"="+dir, "BLOCKFS_TEST_IMAGE="+file, "BLOCKFS_TEST_TARGET="+target)
	out, err := hearth.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := hearth.Start(); err != nil {
		t.Fatal(err)
	}
	word, _ := bufio.NewReader(out).ReadString('\n')
	device, ok := strings.CutPrefix(strings.TrimSpace(word), "mounted ")
	if err := hearth.Process.Kill(); err != nil || !ok {
		t.Fatalf("the first Hearth: %q, %v", word, err)
	}
	_ = hearth.Wait()

	// Volumes live on, and the next Hearth can take them up.
	expectFiles(t, target, files)
	c := connect(t, ClientConfig{Dir: dir})
	if l, err := c.List(t.Context()); err != nil || len(l.Volumes) != 1 || !slices.Equal(l.Volumes[0].Owners, []string{"worker"}) {
		t.Errorf("List: got %+v, %v, want the former life's volume", l, err)
	}
	lease := open(t, c, "v", testSpec{Path: file})
	if lease.Device() != device {
		t.Errorf("taken up: got %s, want %s", lease.Device(), device)
	}
	if n, err := c.Sweep(t.Context()); n != 1 || err != nil {
		t.Errorf("Sweep: got %d, %v, want 1", n, err)
	}
	expectFiles(t, mountLease(t, lease), files)
	if err := lease.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if err := c.Shutdown(t.Context(), false); !errors.Is(err, ErrBusy) {
		t.Errorf("Shutdown while the former life's mount is there: got %v, want ErrBusy", err)
	}
	if err := c.Shutdown(t.Context(), true); err != nil {
		t.Error(err)
	}
	if _, err := os.ReadDir(target); err == nil {
		// The directory may be in the cache; what is not is EIO.
		t.Log("the root directory is still cached")
	}
	unmount(t, target)
}

func TestStrangersAreRefused(t *testing.T) {
	dir := filepath.Join(shortDir(t), "fs")
	serve(t, Config{Dir: dir})
	c := connect(t, ClientConfig{Dir: dir})
	for _, path := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, socketName), 0o666); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(filepath.Dir(dir), "program")
	if out, err := exec.Command("cp", os.Args[0], program).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	for uid, want := range map[uint32]string{65534: "is of user 0, not ours", 0: "<nil>"} {
		cmd := exec.Command(program)
		cmd.Env = []string{asRole + "=stranger", roleDir + "=" + dir}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("user %d: got %s%v, want %s", uid, out, err, want)
		}
	}
	// One who does not look whom it talks to is not served either.
	cmd := exec.Command(program)
	cmd.Env = []string{asRole + "=careless", roleDir + "=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "answer of 0 bytes" {
		t.Errorf("a stranger's hello: got %s%v, want no byte", out, err)
	}
	if _, err := c.List(t.Context()); err != nil {
		t.Error(err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

// TestBuilds replaces servers of other builds.
func TestBuilds(t *testing.T) {
	callback, lost := lostVolumes()
	dir := filepath.Join(shortDir(t), "fs")
	first := connect(t, ClientConfig{Dir: dir, Build: "1", Owner: "former"})
	pid := pidOf(t, first)
	lease := open(t, first, "v", testSpec{Size: 1 << 20})

	// In use, it is used on.
	second := connect(t, ClientConfig{Dir: dir, Build: "2", Lost: callback})
	if now := pidOf(t, second); now != pid {
		t.Errorf("process %d serves while %d is in use", now, pid)
	}
	if l, err := second.List(t.Context()); err != nil || !l.Retiring {
		t.Errorf("List: got %+v, %v, want that it retires", l, err)
	}
	// Unused, it is replaced, and nothing was lost.
	first.Stop()
	ended, err := second.current(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	// It may end before it has answered.
	if err := ended.call(t.Context(), opDrop, dropArgs{Owner: "former"}, nil, nil); err != nil && !errors.Is(err, errUnlinked) {
		t.Error(err)
	}
	receive(t, "the former server's end", ended.done)
	open(t, second, "v", testSpec{Size: 1 << 20})
	l, err := second.current(t.Context(), nil)
	if err != nil || l.pid == pid || l.server.Build != "2" {
		t.Errorf("got process %d of build %q, %v, want another of build 2", l.pid, l.server.Build, err)
	}
	if _, err := second.Sweep(t.Context()); err != nil {
		t.Error(err)
	}
	_ = lease
	if err := second.Shutdown(t.Context(), true); err != nil {
		t.Error(err)
	}
	select {
	case v := <-lost:
		if !slices.Equal(v, []string{"v"}) { // by the shutdown by force, at most
			t.Errorf("lost: %v", v)
		}
	default:
	}

	// Nobody uses it: replaced at once.
	third := connect(t, ClientConfig{Dir: dir, Build: "3"})
	third.Stop()
	fourth := connect(t, ClientConfig{Dir: dir, Build: "4"})
	if l, err := fourth.current(t.Context(), nil); err != nil || l.server.Build != "4" {
		t.Errorf("got %+v, %v, want build 4", l, err)
	}
	shutdown(t, fourth)
}

// TestStartsAtOnce has several clients find no server.
func TestStartsAtOnce(t *testing.T) {
	dir := filepath.Join(shortDir(t), "fs")
	t.Setenv(asServer, dir)
	clients := make([]*Client, 4)
	errs := make(chan error)
	for i := range clients {
		c, err := NewClient(ClientConfig{Dir: dir, Owner: fmt.Sprint(i), Command: []string{os.Args[0]}})
		if err != nil {
			t.Fatal(err)
		}
		clients[i] = c
		go func() { errs <- c.Start(t.Context()) }()
	}
	for range clients {
		if err := receive(t, "a client's start", errs); err != nil {
			t.Error(err)
		}
	}
	pid := pidOf(t, clients[0])
	for _, c := range clients[1:] {
		if got := pidOf(t, c); got != pid {
			t.Errorf("servers %d and %d", got, pid)
		}
		c.Stop()
	}
	shutdown(t, clients[0])
}

// TestFailedStart has the server's program fail.
func TestFailedStart(t *testing.T) {
	for want, command := range map[string][]string{
		"ended without a word":      {"true"},
		"no such file":              {filepath.Join(t.TempDir(), "missing")},
		"out of order":              {"sh", "-c", "echo out of order >&3"},
		"context deadline exceeded": {"sh", "-c", "exec sleep 1000"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		c, err := NewClient(ClientConfig{Dir: filepath.Join(shortDir(t), "fs"), Owner: "worker", Command: command})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(ctx); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want %s", command, err, want)
		}
		cancel()
	}
}
