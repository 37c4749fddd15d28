// Package harness starts real Hearths for end-to-end tests: the race-enabled
// binary as a process of its own, over a data directory of its own, driven
// through the real AWS SDK. It also looks for what a dead Hearth left behind.
package harness

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"hearth/internal/datadir"
)

// Instance is a Hearth process.
type Instance struct {
	URL  string
	Data string
	// Account holds the root keys.
	Account datadir.Credentials

	cmd    *exec.Cmd
	exited chan struct{}
	mu     sync.Mutex
	log    strings.Builder
}

// build is done once for all the tests of a package.
var build = sync.OnceValues(func() (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "hearth-bin-")
	if err != nil {
		return "", err
	}
	for _, b := range []struct {
		args []string
		env  string
	}{
		{[]string{"build", "-race", "-o", dir + "/hearth", "./cmd/hearth"}, "CGO_ENABLED=1"},
		{[]string{"build", "-trimpath", "-o", dir + "/hearth-init", "./cmd/hearth-init"}, "CGO_ENABLED=0"},
	} {
		cmd := exec.Command("go", b.args...)
		cmd.Dir = root
		cmd.Env = append(os.Environ(), b.env)
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go %s: %w\n%s", strings.Join(b.args, " "), err, out)
		}
	}
	runsc := filepath.Join(root, "bin", "runsc")
	if _, err := os.Stat(runsc); err != nil {
		return "", fmt.Errorf("%w; run: make build", err)
	}
	return dir, os.Symlink(runsc, filepath.Join(dir, "runsc"))
})

// Root is the top of the source tree.
func Root() (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	return strings.TrimSpace(string(out)), err
}

// Binary returns the path of the race-enabled hearth program.
func Binary() (string, error) {
	dir, err := build()
	return filepath.Join(dir, "hearth"), err
}

// Cleanup removes what the harness built; TestMain calls it last.
func Cleanup() {
	if dir, err := build(); err == nil {
		_ = os.RemoveAll(dir)
	}
}

// NewData makes an empty data directory with a short path: sockets below it
// have at most 107 bytes for theirs.
func NewData() (string, error) { return os.MkdirTemp("", "hearth-") }

// RuntimeCache is shared by all tests on the machine, so that images are
// built once.
func RuntimeCache() string {
	if dir := os.Getenv("HEARTH_RUNTIME_CACHE"); dir != "" {
		return dir
	}
	home, err := os.UserCacheDir()
	if err != nil {
		home = os.TempDir()
	}
	return filepath.Join(home, "hearth", "runtimes")
}

// Start starts a Hearth over a data directory and waits until it is ready.
func Start(data string, args ...string) (*Instance, error) {
	bin, err := Binary()
	if err != nil {
		return nil, err
	}
	args = append([]string{"up", "--data", data, "--listen", "127.0.0.1:0", "--runtime-cache", RuntimeCache()}, args...)
	h := &Instance{Data: data, cmd: exec.Command(bin, args...), exited: make(chan struct{})}
	h.cmd.Env = append(os.Environ(), "GORACE=halt_on_error=1")
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := h.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := h.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan string, 1)
	go h.follow(stderr, ready)
	select {
	case h.URL = <-ready:
	case <-h.exited:
		return nil, fmt.Errorf("hearth ended before it was ready:\n%s", h.Log())
	case <-time.After(2 * time.Minute):
		_ = h.Kill()
		return nil, fmt.Errorf("hearth is not ready after 2 minutes:\n%s", h.Log())
	}
	h.Account, err = datadir.LoadCredentials(data)
	return h, err
}

// follow keeps the log and finds the ready line.
func (h *Instance) follow(stderr io.Reader, ready chan<- string) {
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		h.mu.Lock()
		h.log.WriteString(lines.Text() + "\n")
		h.mu.Unlock()
		if url, ok := strings.CutPrefix(lines.Text(), "hearth ready on "); ok {
			ready <- url
		}
	}
	_ = h.cmd.Wait()
	close(h.exited)
}

// Log is what the process has written to stderr so far.
func (h *Instance) Log() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.log.String()
}

// PID is the process.
func (h *Instance) PID() int { return h.cmd.Process.Pid }

// Kill kills the process with SIGKILL and waits for its end.
func (h *Instance) Kill() error {
	err := h.cmd.Process.Kill()
	<-h.exited
	return err
}

// Stop stops the process with SIGTERM and waits for its end.
func (h *Instance) Stop() error {
	if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-h.exited:
	case <-time.After(time.Minute):
		_ = h.Kill()
		return fmt.Errorf("hearth did not stop within a minute of SIGTERM:\n%s", h.Log())
	}
	if code := h.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("hearth ended with status %d:\n%s", code, h.Log())
	}
	return nil
}

// Client is the real SDK's client for this Hearth.
func (h *Instance) Client(opts ...func(*lambda.Options)) *lambda.Client {
	return lambda.New(lambda.Options{
		BaseEndpoint: &h.URL,
		Region:       "us-east-1",
		Credentials:  h.Credentials(),
	}, opts...)
}

// Credentials are the root user's, for clients of other services.
func (h *Instance) Credentials() aws.CredentialsProvider {
	return aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: h.Account.AccessKeyID, SecretAccessKey: h.Account.SecretAccessKey}, nil
	})
}

// Env is the environment that points AWS tools at this Hearth.
func (h *Instance) Env() []string {
	return append(os.Environ(),
		"AWS_ENDPOINT_URL="+h.URL, "AWS_ACCESS_KEY_ID="+h.Account.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+h.Account.SecretAccessKey,
		"AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1", "AWS_PAGER=", "AWS_EC2_METADATA_DISABLED=true")
}

// Run starts a Hearth over a fresh data directory for one test and takes both
// away at its end; nothing may be left behind then.
func Run(t *testing.T, args ...string) *Instance {
	t.Helper()
	data, err := NewData()
	if err != nil {
		t.Fatal(err)
	}
	h, err := Start(data, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
		if left := Remaining(data); len(left) > 0 {
			t.Errorf("left behind after a clean stop:\n%s", strings.Join(left, "\n"))
		}
		if t.Failed() {
			t.Logf("hearth's log:\n%s", h.Log())
		}
		_ = os.RemoveAll(data)
	})
	return h
}
