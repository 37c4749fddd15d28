package managedruntime_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hearth/internal/managedruntime"
	"hearth/test/harness/runtimeapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// images returns the store that all tests of the machine share.
func images(t testing.TB) *managedruntime.Store {
	t.Helper()
	dir, err := managedruntime.DefaultDir()
	if err != nil {
		t.Fatal(err)
	}
	store, err := managedruntime.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// image builds the image of a runtime, or finds it built.
func image(t testing.TB, name string) managedruntime.Image {
	t.Helper()
	img, err := images(t).Ensure(t.Context(), name, func(line string) { t.Log(line) })
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// enter mounts an image and what a sandbox adds to it, in a mount namespace
// of its own so that all of it goes when the process does, and runs a program
// in it as the function's user.
const enter = `set -e
mount -o loop,ro,noload "$IMAGE" "$ROOT"
mount --bind "$TASK" "$ROOT/var/task"
mount --bind "$OPT" "$ROOT/opt"
mount -t tmpfs -o mode=1777 tmpfs "$ROOT/tmp"
mount --bind /dev "$ROOT/dev"
mount -t proc proc "$ROOT/proc"
exec env -i ${VARIABLES} /usr/sbin/chroot --userspec=993:990 --groups= "$ROOT" /usr/bin/env -C "$DIR" "$@"`

// sandbox is a runtime in its image, without the sandbox around it.
type sandbox struct {
	t    testing.TB
	api  *runtimeapi.Server
	cmd  *exec.Cmd
	out  *output
	done chan struct{}
	err  error // valid after done
	// began is when the runtime was started, or handed its function.
	began time.Time
}

// options say what to run.
type options struct {
	runtime string
	task    map[string]string // files of /var/task
	opt     map[string]string // files of /opt
	handler string
	env     map[string]string
	prewarm bool
	program []string // instead of the bootstrap
}

// baseEnv is what hearth-init gives every runtime.
func baseEnv(api string) map[string]string {
	return map[string]string{
		"LANG":                   "en_US.UTF-8",
		"PATH":                   "/usr/local/bin:/usr/bin/:/bin:/opt/bin",
		"LD_LIBRARY_PATH":        "/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib",
		"TZ":                     ":UTC",
		"AWS_LAMBDA_RUNTIME_API": api,
		"LAMBDA_TASK_ROOT":       "/var/task",
		"LAMBDA_RUNTIME_DIR":     "/var/runtime",
	}
}

// functionEnv is what the worker adds for a function.
func functionEnv(o options) map[string]string {
	env := map[string]string{
		"_HANDLER":                        o.handler,
		"AWS_EXECUTION_ENV":               "AWS_Lambda_" + o.runtime,
		"AWS_REGION":                      "us-east-1",
		"AWS_DEFAULT_REGION":              "us-east-1",
		"AWS_LAMBDA_FUNCTION_NAME":        "f",
		"AWS_LAMBDA_FUNCTION_VERSION":     "$LATEST",
		"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
		"AWS_LAMBDA_INITIALIZATION_TYPE":  "on-demand",
		"AWS_LAMBDA_LOG_GROUP_NAME":       "/aws/lambda/f",
		"AWS_LAMBDA_LOG_STREAM_NAME":      "2026/01/01/[$LATEST]0123",
	}
	maps.Copy(env, o.env)
	return env
}

func writeTree(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if strings.HasPrefix(content, "#!") || strings.HasPrefix(content, "\x7fELF") {
			mode = 0o755
		}
		if err := os.WriteFile(p, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// start runs a runtime against a Runtime API of its own.
func start(t testing.TB, o options) *sandbox {
	t.Helper()
	img := image(t, o.runtime)
	s := &sandbox{t: t, api: runtimeapi.Serve(t), out: &output{}, done: make(chan struct{})}
	root := t.TempDir()
	env, dir, program := baseEnv(s.api.Addr), "/", []string{"/var/runtime/prewarm"}
	if !o.prewarm {
		maps.Copy(env, functionEnv(o))
		dir, program = "/var/task", []string{"/var/runtime/bootstrap"}
	}
	if o.program != nil {
		program = o.program
	}
	task, variables := map[string]string{}, []string{}
	if !o.prewarm {
		task = o.task
	}
	taskDir := writeTree(t, task)
	if o.prewarm { // as in the image, which is what it sees until it is assigned
		if err := os.Mkdir(filepath.Join(taskDir, "lib"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, value := range env {
		variables = append(variables, name+"="+value)
	}
	args := append([]string{"--mount", "--propagation", "private", "sh", "-c",
		strings.Replace(enter, "${VARIABLES}", quote(variables), 1), "sh"}, program...)
	s.cmd = exec.Command("unshare", args...)
	s.cmd.Env = append(os.Environ(), "IMAGE="+img.Path, "ROOT="+root, "TASK="+taskDir, "OPT="+writeTree(t, o.opt), "DIR="+dir)
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.out
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	handOver := func() {}
	if o.prewarm {
		handOver = s.prewarm(taskDir, o)
	}
	s.began = time.Now()
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { s.err = s.cmd.Wait(); close(s.done) }()
	t.Cleanup(s.stop)
	handOver()
	return s
}

func quote(words []string) string {
	var b strings.Builder
	for _, w := range words {
		b.WriteString("'" + strings.ReplaceAll(w, "'", `'\''`) + "' ")
	}
	return b.String()
}

// prewarm gives the process the two descriptors of a prewarmed runtime. The
// function's files appear only when it has said that it is ready.
func (s *sandbox) prewarm(taskDir string, o options) (handOver func()) {
	assignR, assignW, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	readyR, readyW, err := os.Pipe()
	if err != nil {
		s.t.Fatal(err)
	}
	s.cmd.ExtraFiles = []*os.File{assignR, readyW}
	return func() {
		_, _ = assignR.Close(), readyW.Close()
		defer assignW.Close()
		defer readyR.Close()
		var b [1]byte
		if _, err := readyR.Read(b[:]); err != nil || b[0] != '\n' {
			<-s.done
			s.t.Fatalf("prewarmed runtime did not get ready: %v\n%s", err, s.out)
		}
		if err := os.CopyFS(taskDir, os.DirFS(writeTree(s.t, o.task))); err != nil {
			s.t.Fatal(err)
		}
		env := baseEnv(s.api.Addr)
		maps.Copy(env, functionEnv(o))
		line, err := json.Marshal(map[string]any{"env": env, "cwd": "/var/task"})
		if err != nil {
			s.t.Fatal(err)
		}
		s.began = time.Now()
		if _, err := assignW.Write(append(line, '\n')); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *sandbox) stop() {
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	<-s.done
}

// invoke sends an event and returns the answer.
func (s *sandbox) invoke(e runtimeapi.Event) runtimeapi.Answer {
	s.t.Helper()
	if e.ID == "" {
		e.ID = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"
	}
	s.api.Events <- e
	return s.answer()
}

// answer waits for what the runtime posts next.
func (s *sandbox) answer() runtimeapi.Answer {
	s.t.Helper()
	select {
	case a := <-s.api.Answers:
		return a
	case <-s.done:
		select {
		case a := <-s.api.Answers:
			return a
		default:
		}
		s.t.Fatalf("runtime ended without an answer: %v\n%s", s.err, s.out)
	case <-time.After(30 * time.Second):
		s.t.Fatalf("no answer\n%s", s.out)
	}
	return runtimeapi.Answer{}
}

// exit waits for the end of the runtime and returns its status: what a shell
// would say of it.
func (s *sandbox) exit() int {
	s.t.Helper()
	select {
	case <-s.done:
	case <-time.After(30 * time.Second):
		s.t.Fatalf("runtime does not end\n%s", s.out)
	}
	if failed, ok := errors.AsType[*exec.ExitError](s.err); ok {
		if ws, ok := failed.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return 128 + int(ws.Signal())
		}
		return failed.ExitCode()
	}
	return 0
}

// output is what a runtime wrote, safe to read while it writes.
type output struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{} // closed by the next write, if somebody waits
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// waitFor waits until the output matches: it comes on another way than the
// answers do.
func (o *output) waitFor(t testing.TB, want *regexp.Regexp) {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		o.mu.Lock()
		if want.Match(o.buf.Bytes()) {
			o.mu.Unlock()
			return
		}
		if o.changed == nil {
			o.changed = make(chan struct{})
		}
		changed := o.changed
		o.mu.Unlock()
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("output: got %q, want it to match %s", o, want)
		}
	}
}

// jsonLines waits for n lines and parses them.
func (o *output) jsonLines(t testing.TB, n int) []map[string]any {
	t.Helper()
	o.waitFor(t, regexp.MustCompile(fmt.Sprintf(`(?s)^([^\n]*\n){%d}`, n)))
	var lines []map[string]any
	for line := range strings.Lines(o.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("log line %q: %v", line, err)
		}
		lines = append(lines, m)
	}
	return lines
}
