package e2e

import (
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/test/harness"
)

// smallDisk mounts a file system of a few hundred MB.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir, err := harness.NewData()
	if err != nil {
		t.Fatal(err)
	}
	image := dir + ".ext4"
	t.Cleanup(func() { _ = os.Remove(image); _ = os.Remove(dir) })
	for _, c := range [][]string{
		{"truncate", "--size=400M", image},
		{"mkfs.ext4", "-q", "-m", "0", image},
		{"mount", "-o", "loop", image, dir},
	} {
		if out, err := exec.CommandContext(t.Context(), c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", c, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	return dir
}

// fill takes all the space that there is.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	// The last block is not enough for a large write, and still for a small.
	for _, size := range []int64{1 << 20, 4 << 10, 1} {
		for err = nil; err == nil; {
			_, err = io.CopyN(f, zeros{}, size)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
	_ = f.Close() // it could not write all it was given
}

// TestDiskFull is about the day on which the disk is full: what cannot be kept
// is refused, and nothing of it is left; what needs no disk goes on; and with
// space freed all is well, without a restart.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	data := smallDisk(t)
	h, err := harness.Start(data)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
		if left := harness.Remaining(data); len(left) > 0 {
			t.Errorf("left behind after a clean stop:\n%s", strings.Join(left, "\n"))
		}
		if t.Failed() {
			t.Logf("hearth's log:\n%s", h.Log())
		}
	})
	c := client(h)
	create := func(name string) error {
		_, err := c.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
			FunctionName: &name, Runtime: types.RuntimePython311, Handler: aws.String("app.handler"), Role: aws.String(role),
			Code: &types.FunctionCode{ZipFile: harness.Zip(t, map[string]string{"app.py": read(t, "testdata/python/app.py"), "padding": incompressible(1 << 20), "name": name})},
		})
		return err
	}
	if err := create("before"); err != nil {
		t.Fatal(err)
	}
	before := &function{name: "before", client: c}
	before.wait(t)
	before.do(t, event{"do": "state"}, nil)
	// The profile of that start may be under way.
	stored := slices.DeleteFunc(objects(t, data), func(name string) bool { return strings.HasPrefix(name, filepath.Join(data, "objects/tmp")) })

	filler := filepath.Join(data, "filler")
	fill(t, filler)
	err = create("during")
	wantError(t, err, "ServiceException", "Hearth's disk is full; nothing was changed. Free some space where its data directory is, then try again.")
	if status(err) != http.StatusInternalServerError {
		t.Errorf("status %d, want 500", status(err))
	}
	wantObjects(t, data, stored)
	_, err = c.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String("during")})
	wantError(t, err, "ResourceNotFoundException", "Function not found: arn:aws:lambda:us-east-1:000000000000:function:during")
	before.do(t, event{"do": "echo", "value": "on a full disk"}, nil)

	// There is room for the archive, and none for what is in it.
	if err := os.Truncate(filler, size(t, filler)-8<<20); err != nil {
		t.Fatal(err)
	}
	volumes := manifests(t, data)
	large := harness.Zip(t, map[string]string{
		"app.py": read(t, "testdata/python/app.py"), "padding": strings.Repeat(incompressible(10007), 2<<10),
	})
	if _, err = c.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
		FunctionName: aws.String("large"), Runtime: types.RuntimePython311, Handler: aws.String("app.handler"), Role: aws.String(role),
		Code: &types.FunctionCode{ZipFile: large},
	}); err != nil {
		t.Fatal(err)
	}
	got := settled(t, c, "large")
	want := "Hearth's disk is full. Free some space where its data directory is, then update the function to try again."
	if got.State != types.StateFailed || aws.ToString(got.StateReason) != want {
		t.Errorf("state %s, reason %q, want Failed, %q", got.State, aws.ToString(got.StateReason), want)
	}
	if now := manifests(t, data); !slices.Equal(now, volumes) {
		t.Errorf("volumes %q, and were %q", now, volumes)
	}
	before.do(t, event{"do": "echo", "value": "after a build on a full disk"}, nil)

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if _, err := c.UpdateFunctionCode(t.Context(), &lambda.UpdateFunctionCodeInput{FunctionName: aws.String("large"), ZipFile: large}); err != nil {
		t.Fatal(err)
	}
	if got := settled(t, c, "large"); got.State != types.StateActive {
		t.Errorf("after an update: state %s, reason %q", got.State, aws.ToString(got.StateReason))
	}
	(&function{name: "large", client: c}).do(t, event{"do": "state"}, nil)
	if err := create("after"); err != nil {
		t.Fatal(err)
	}
	after := &function{name: "after", client: c}
	after.wait(t)
	after.do(t, event{"do": "state"}, nil)
	before.do(t, event{"do": "state"}, nil)
}

// wantObjects waits until the store holds some objects, and no others.
func wantObjects(t *testing.T, data string, want []string) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for {
		got := objects(t, data)
		if slices.Equal(got, want) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("the store holds %q, and held %q", got, want)
			return
		}
	}
}

func size(t *testing.T, name string) int64 {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// manifests are the volumes of functions' code.
func manifests(t *testing.T, data string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(data, "objects/objects/volumes/code/*/*/*/manifest"))
	if err != nil || len(found) == 0 {
		t.Fatalf("volumes: %v, %v", found, err)
	}
	return found
}

// incompressible is text that packing makes no smaller, or not much.
func incompressible(n int) string {
	var b strings.Builder
	x := uint64(1)
	for b.Len() < n {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b.WriteByte(byte(x))
	}
	return b.String()
}
