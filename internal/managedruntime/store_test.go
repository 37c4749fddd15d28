package managedruntime_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hearth/internal/managedruntime"
)

// smallest is the runtime whose image takes the least time to build.
const smallest = "provided.al2023"

func open(t *testing.T, dir string) *managedruntime.Store {
	t.Helper()
	s, err := managedruntime.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// files lists a directory without the lock files, which stay.
func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".lock" {
			names = append(names, e.Name())
		}
	}
	return names
}

// TestConcurrentBuildIsOneAndRepeatable builds an image for several callers
// at once, and compares it with the one that all tests share.
func TestConcurrentBuildIsOneAndRepeatable(t *testing.T) {
	shared := image(t, smallest)
	dir := t.TempDir()
	store := open(t, dir)
	if _, ok := store.Lookup(smallest); ok {
		t.Fatal("an empty store has an image")
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	builds := 0
	for range 3 {
		wg.Go(func() {
			img, err := store.Ensure(t.Context(), smallest, func(line string) {
				mu.Lock()
				defer mu.Unlock()
				if strings.Contains(line, "unpacking") {
					builds++
				}
			})
			if err != nil {
				t.Error(err)
				return
			}
			// Debian may have updated a package since the other was built.
			if slices.Equal(img.Packages, shared.Packages) && img.Digest != shared.Digest {
				t.Errorf("digests of two builds from the same packages: %s, %s", img.Digest, shared.Digest)
			}
		})
	}
	wg.Wait()
	if builds != 1 {
		t.Errorf("three callers made %d builds", builds)
	}
	if got := files(t, dir); len(got) != 2 {
		t.Errorf("left in the store: %v", got)
	}
	// Another process, another life: it is found, and not built again.
	img, err := open(t, dir).Ensure(t.Context(), smallest, func(line string) { t.Errorf("progress: %s", line) })
	if err != nil || img.Version != shared.Version {
		t.Errorf("got %+v, %v", img, err)
	}
	// A damaged image does not count.
	if err := os.Truncate(img.Path, img.Size-1); err != nil {
		t.Fatal(err)
	}
	if _, ok := open(t, dir).Lookup(smallest); ok {
		t.Error("an image that was cut short is still used")
	}
}

func TestUnknownRuntime(t *testing.T) {
	_, err := open(t, t.TempDir()).Ensure(t.Context(), "cobol85", nil)
	if !errors.Is(err, managedruntime.ErrUnknown) || !strings.Contains(err.Error(), "python3.11") {
		t.Errorf("got %v", err)
	}
}

func TestCancelledBuildLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	go func() {
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for range tick.C { // until packages are being unpacked
			if found, _ := filepath.Glob(filepath.Join(dir, ".build-*/root/usr/lib")); len(found) > 0 {
				cancel(errors.New("enough"))
			}
			if ctx.Err() != nil {
				return
			}
		}
	}()
	_, err := open(t, dir).Ensure(ctx, smallest, nil)
	if err == nil || !strings.Contains(err.Error(), "enough") {
		t.Errorf("got %v, want the cause", err)
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("left in the store: %v", got)
	}
}

// TestMissingToolIsNamed builds on a machine with no tools, where a killed
// build has left something.
func TestMissingToolIsNamed(t *testing.T) {
	dir := t.TempDir()
	killBuild(t, dir)
	if len(files(t, dir)) == 0 {
		t.Fatal("a killed build left nothing: this test shows nothing")
	}
	t.Setenv("PATH", "/nonexistent")
	_, err := open(t, dir).Ensure(t.Context(), smallest, nil)
	if err == nil || !strings.Contains(err.Error(), "apt-get install -y mmdebstrap") {
		t.Errorf("got %v", err)
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("left in the store: %v", got)
	}
}

// killBuildEnv makes the test binary a process that builds into a directory.
const killBuildEnv = "MANAGEDRUNTIME_TEST_BUILD_INTO"

// killBuild starts a build in another process and kills that at its first
// sign of life.
func killBuild(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestBuildToBeKilled$")
	cmd.Env = append(os.Environ(), killBuildEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = out.Read(make([]byte, 1))
	_ = cmd.Process.Signal(syscall.SIGKILL)
	_ = cmd.Wait()
}

func TestBuildToBeKilled(t *testing.T) {
	dir := os.Getenv(killBuildEnv)
	if dir == "" {
		t.Skip("run by TestMissingToolIsNamed")
	}
	_, err := open(t, dir).Ensure(t.Context(), smallest, func(line string) { _, _ = os.Stdout.WriteString(line) })
	t.Fatalf("not killed: %v", err)
}

// TestMirrorThatIsNot shows what a user sees who has no package source.
func TestMirrorThatIsNot(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(managedruntime.MirrorEnv, "http://127.0.0.1:9/debian")
	_, err := open(t, dir).Ensure(t.Context(), smallest, nil)
	if err == nil || !strings.Contains(err.Error(), managedruntime.MirrorEnv) || !strings.Contains(err.Error(), "apt-get update") {
		t.Errorf("got %v", err)
	}
	if got := files(t, dir); len(got) != 0 {
		t.Errorf("left in the store: %v", got)
	}
}

// TestImagesHoldNoPrivilege looks at every file of every image.
func TestImagesHoldNoPrivilege(t *testing.T) {
	const look = `cd "$ROOT" && mount -o loop,ro,noload "$IMAGE" . && cd . && cd "$ROOT" &&
find . -perm /6000 -printf 'set-id %p\n' -o ! -uid 0 -printf 'owner %p\n' -o -type f -perm /022 -printf 'writable %p\n'
find . -type b -o -type c -o -name '*.deb' -o -path './etc/shadow*' -o -path './var/lib/dpkg' -o -name lost+found
test -e var/task/lib -a -e opt/lib -a -d .hearth/ctl -a -d .hearth/late -a -s etc/ssl/certs/ca-certificates.crt || echo incomplete
for c in 'sh -c :' 'curl --version' 'awk BEGIN{}' 'openssl version' 'xargs --version'; do chroot . /usr/bin/env $c >/dev/null || echo "does not run: $c"; done
chroot . /usr/bin/env LC_ALL=en_US.UTF-8 /usr/bin/locale charmap | grep -qx UTF-8 || echo "no UTF-8 locale"`
	store := images(t)
	for _, name := range store.Names() {
		img := image(t, name)
		cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", look)
		cmd.Env = append(os.Environ(), "IMAGE="+img.Path, "ROOT="+t.TempDir())
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}
