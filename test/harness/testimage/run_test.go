package testimage_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.uber.org/goleak"

	"hearth/internal/flatten"
	"hearth/test/harness/runtimeapi"
	"hearth/test/harness/testimage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// User and group that functions run as.
const (
	uid = 993
	gid = 990
)

// enter mounts an image, and what it has places for, in a mount namespace of
// its own so that all of it goes when the process does, and runs a program in
// it as the function's user.
const enter = `set -e
mount -o loop,ro,noload "$IMAGE" "$ROOT"
[ ! -d "$ROOT/proc" ] || mount -t proc proc "$ROOT/proc"
[ ! -d "$ROOT/dev" ] || mount --bind /dev "$ROOT/dev"
[ ! -d "$ROOT/tmp" ] || mount -t tmpfs -o mode=1777 tmpfs "$ROOT/tmp"
exec env -i "$@"`

// flat writes the ext4 file system that Hearth makes of an image.
func flat(t *testing.T, img v1.Image) (file string) {
	t.Helper()
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var tars []flatten.Layer
	for _, layer := range layers {
		tars = append(tars, flatten.Tar{Open: layer.Compressed})
	}
	fs, err := flatten.New(t.Context(), tars, flatten.Options{Dir: t.TempDir(), Limits: flatten.Default()})
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "image")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(f, io.NewSectionReader(fs, 0, fs.Size()))
	if err := errors.Join(err, f.Close(), fs.Close()); err != nil {
		t.Fatal(err)
	}
	return file
}

// invoke runs an image by its configuration and returns what its function
// answers to one event.
func invoke(t *testing.T, img v1.Image, event string) string {
	t.Helper()
	about, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c, api, root := about.Config, runtimeapi.Serve(t), t.TempDir()
	args := append([]string{"--mount", "--propagation", "private", "sh", "-c", enter, "sh"}, c.Env...)
	args = append(args,
		"AWS_LAMBDA_RUNTIME_API="+api.Addr, "AWS_LAMBDA_FUNCTION_NAME=f", "AWS_REGION=us-east-1",
		"AWS_LAMBDA_FUNCTION_VERSION=$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=128",
		"AWS_LAMBDA_LOG_GROUP_NAME=g", "AWS_LAMBDA_LOG_STREAM_NAME=s",
		"/usr/bin/unshare", "--root="+root, "--wd="+path.Join("/", c.WorkingDir), fmt.Sprint("--setgid=", gid), fmt.Sprint("--setuid=", uid), "--")
	args = append(append(args, c.Entrypoint...), c.Cmd...)
	cmd := exec.Command("unshare", args...)
	cmd.Env = append(os.Environ(), "IMAGE="+flat(t, img), "ROOT="+root)
	said := &output{}
	cmd.Stdout, cmd.Stderr = said, said
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	defer func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		done <- <-done
	}()
	api.Events <- runtimeapi.Event{ID: "8476a536-e9f4-11e8-9739-2dfe598c3fcd", Payload: event}
	select {
	case a := <-api.Answers:
		if a.Kind != "response" {
			t.Fatalf("got %s %s\n%s", a.Kind, a.Body, said)
		}
		return a.Body
	case err := <-done:
		done <- err
		t.Fatalf("function ended without an answer: %v\n%s", err, said)
	case <-time.After(time.Minute):
		t.Fatalf("no answer\n%s", said)
	}
	return ""
}

// output is what a function wrote, safe to read while it writes.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// TestInvoke runs every image's function, with the client that it has.
func TestInvoke(t *testing.T) {
	task := map[string]string{
		"AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_REGION": "us-east-1",
		testimage.Greeting: testimage.GreetingText, "LAMBDA_TASK_ROOT": "/var/task",
	}
	bare := map[string]string{"AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_REGION": "us-east-1", testimage.Greeting: testimage.GreetingText}
	none := map[string]string{}
	for name, test := range map[string]struct {
		image func(testing.TB) v1.Image
		want  testimage.Answer
	}{
		"go": {testimage.Go, testimage.Answer{Language: "go", Env: bare, Args: []string{}, Cwd: "/", Files: none}},
		"go on Debian": {testimage.GoOnDebian, testimage.Answer{
			Language: "go", Env: task, Args: []string{"from-cmd"}, Cwd: "/var/task",
			Files: map[string]string{testimage.ChangedFile: testimage.ChangedText},
		}},
		"python": {testimage.Python, testimage.Answer{Language: "python", Env: task, Args: []string{"app.handler"}, Cwd: "/var/task", Files: none}},
		"node":   {testimage.Node, testimage.Answer{Language: "node", Env: task, Args: []string{"app.handler"}, Cwd: "/var/task", Files: none}},
	} {
		t.Run(name, func(t *testing.T) {
			const event = `{"name":"you","n":[1,2.5,null]}`
			got := testimage.ParseAnswer(t, []byte(invoke(t, test.image(t), event)))
			want := test.want
			want.UID, want.GID, want.Event = uid, gid, json.RawMessage(event)
			if g, w := canonical(t, got), canonical(t, want); g != w {
				t.Errorf("got  %s\nwant %s", g, w)
			}
		})
	}
}

// canonical is a value as JSON without what each language's writer chooses.
func canonical(t *testing.T, a testimage.Answer) string {
	t.Helper()
	var event any
	if err := json.Unmarshal(a.Event, &event); err != nil {
		t.Fatal(err)
	}
	var err error
	if a.Event, err = json.Marshal(event); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
