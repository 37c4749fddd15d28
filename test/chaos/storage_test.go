package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/test/harness"
)

// perCold is how many cold starts each function has at once.
const perCold = 5

// numbered is a function that says which it is. What it imports is read from
// its volume and from the runtime's.
func numbered(t *testing.T, i int) []byte {
	return harness.Zip(t, map[string]string{
		"part.py": fmt.Sprintf("NUMBER = %d\n", i),
		"app.py": `
import part, decimal, sqlite3, xml.dom.minidom

def handler(event, context):
    return "%d of %d" % (event["n"], part.NUMBER)
`,
	})
}

// createNumbered makes n functions at once.
func createNumbered(t *testing.T, c *lambda.Client, n int) (names []string) {
	t.Helper()
	names = make([]string, n)
	var wg sync.WaitGroup
	for i := range n {
		names[i] = fmt.Sprintf("numbered-%d", i)
		wg.Go(func() {
			if err := create(t.Context(), c, names[i], numbered(t, i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, name := range names {
		active(t, c, name)
	}
	return names
}

func create(ctx context.Context, c *lambda.Client, name string, zip []byte) error {
	_, err := c.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: &name, Runtime: types.RuntimePython311, Handler: aws.String("app.handler"), Timeout: aws.Int32(30),
		MemorySize: aws.Int32(128), Role: aws.String("arn:aws:iam::000000000000:role/hearth-function"),
		Code: &types.FunctionCode{ZipFile: zip},
	})
	return err
}

func active(t *testing.T, c *lambda.Client, name string) {
	t.Helper()
	waiter := lambda.NewFunctionActiveV2Waiter(c, func(o *lambda.FunctionActiveV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, 500*time.Millisecond
	})
	if err := waiter.Wait(t.Context(), &lambda.GetFunctionInput{FunctionName: &name}, 2*time.Minute); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// coldStarts invokes each function perCold times at once, and sorts the
// answers. Each is right, or an error that says something.
type coldStarts struct {
	wg                      sync.WaitGroup
	answered, failed, total atomic.Int32
}

func start(t *testing.T, c *lambda.Client, names []string) *coldStarts {
	s := &coldStarts{}
	for i, name := range names {
		for n := range perCold {
			s.total.Add(1)
			s.wg.Go(func() {
				out, err := invoke(t.Context(), c, name, fmt.Sprintf(`{"n": %d}`, n))
				switch {
				case err != nil:
					s.failed.Add(1)
					t.Logf("%s: %v", name, err)
				case out.FunctionError != nil:
					s.failed.Add(1)
					t.Logf("%s: %s", name, out.Payload)
					if !strings.Contains(string(out.Payload), "errorMessage") {
						t.Errorf("%s failed without a reason: %s", name, out.Payload)
					}
				case string(out.Payload) != fmt.Sprintf(`"%d of %d"`, n, i):
					t.Errorf("invoke %d of %s got another's answer: %s", n, name, out.Payload)
				default:
					s.answered.Add(1)
				}
			})
		}
	}
	return s
}

// half waits until some cold starts are over, and others are not.
func (s *coldStarts) half(t *testing.T) {
	t.Helper()
	until(t, "some cold starts to be over", func() bool { return s.answered.Load()+s.failed.Load() >= 3 })
	if s.answered.Load()+s.failed.Load() == s.total.Load() {
		t.Error("no cold start is under way: the test shows nothing")
	}
}

func (s *coldStarts) wait(t *testing.T) {
	t.Helper()
	s.wg.Wait()
	t.Logf("%d cold starts were answered, %d failed", s.answered.Load(), s.failed.Load())
}

// work wants each function to answer, soon: an environment that has lost its
// code is found out by one invoke.
func work(t *testing.T, c *lambda.Client, names []string) {
	t.Helper()
	for i, name := range names {
		until(t, name+" to work again", func() bool {
			out, err := invoke(t.Context(), c, name, `{"n": 7}`)
			if err != nil || out.FunctionError != nil {
				t.Logf("%s: %v %+v", name, err, out)
				return false
			}
			if want := fmt.Sprintf(`"7 of %d"`, i); string(out.Payload) != want {
				t.Fatalf("%s: got %s, want %s", name, out.Payload, want)
			}
			return true
		})
	}
}

// blockfs is the process that shows volumes.
func blockfs(t *testing.T, data string) (pid int) {
	t.Helper()
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		b, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err == nil && strings.Contains(string(b), "\x00blockfs\x00") && strings.Contains(string(b), data+"/") {
			pid, _ = strconv.Atoi(filepath.Base(dir))
			return pid
		}
	}
	t.Fatal("there is no blockfs")
	return 0
}

func signal(t *testing.T, pid int, s syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		t.Fatal(err)
	}
}

// TestBlockfsFails kills blockfs in the middle of cold starts, then stops it as
// if it hung, and kills it at the end, when Hearth is to stop.
func TestBlockfsFails(t *testing.T) {
	h := harness.Run(t, "--memory", "65536")
	client := noRetry(h)
	names := createNumbered(t, client, 10)

	starts := start(t, client, names)
	starts.half(t)
	killed := blockfs(t, h.Data)
	signal(t, killed, syscall.SIGKILL)
	starts.wait(t)
	work(t, client, names)
	now := blockfs(t, h.Data)
	if now == killed {
		t.Errorf("blockfs %d was killed and still is there", now)
	}

	// It is found out that it does not answer; who waits for it goes on then.
	signal(t, now, syscall.SIGSTOP)
	starts = start(t, client, names[:2])
	for i, name := range names[:2] {
		if err := update(t.Context(), client, name, numbered(t, i)); err != nil {
			t.Errorf("new code of %s while blockfs hangs: %v", name, err)
		}
	}
	if blockfs(t, h.Data) == now {
		t.Errorf("blockfs %d still hangs", now)
	}
	starts.wait(t)
	work(t, client, names)

	// At the end of the test Hearth stops, and starts no other.
	signal(t, blockfs(t, h.Data), syscall.SIGKILL)
}

// TestKillInTheMiddleOfBuilds kills Hearth while functions are being created
// and started for the first time. What was acknowledged is there afterwards.
func TestKillInTheMiddleOfBuilds(t *testing.T) {
	data, err := harness.NewData()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(data) }()
	h, err := harness.Start(data, "--memory", "65536")
	if err != nil {
		t.Fatal(err)
	}
	client := noRetry(h)
	old := createNumbered(t, client, 10) // 50 cold starts
	starts := start(t, client, old)
	var created [10]atomic.Bool
	var done atomic.Int32
	var wg sync.WaitGroup
	for i := range created {
		wg.Go(func() {
			if create(t.Context(), client, fmt.Sprintf("new-%d", i), numbered(t, i)) == nil {
				created[i].Store(true)
				done.Add(1)
			}
		})
	}
	until(t, "some functions to be created", func() bool { return done.Load() >= 3 })
	if err := h.Kill(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	starts.wait(t)
	t.Logf("%d functions were created", done.Load())

	if h, err = harness.Start(data, "--memory", "65536"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			t.Log(h.Log())
		}
	}()
	client = noRetry(h)
	work(t, client, old)
	for i := range created {
		if !created[i].Load() {
			continue
		}
		name := fmt.Sprintf("new-%d", i)
		active(t, client, name)
		out, err := invoke(t.Context(), client, name, `{"n": 1}`)
		if want := fmt.Sprintf(`"1 of %d"`, i); err != nil || string(out.Payload) != want {
			t.Errorf("%s: got %v, %+v, want %s", name, err, out, want)
		}
	}
	if err := h.Stop(); err != nil {
		t.Error(err)
	}
	if left := harness.Remaining(data); len(left) > 0 {
		t.Errorf("left behind after a clean stop:\n%s", strings.Join(left, "\n"))
	}
}

// TestOriginAway takes the chunks away: what runs goes on, what is new fails
// with an error, and works when they are back.
func TestOriginAway(t *testing.T) {
	data, err := harness.NewData()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(data) }()
	h, err := harness.Start(data)
	if err != nil {
		t.Fatal(err)
	}
	names := createNumbered(t, noRetry(h), 2)
	if err := h.Stop(); err != nil { // nothing is held in memory then
		t.Fatal(err)
	}
	if h, err = harness.Start(data); err != nil {
		t.Fatal(err)
	}
	client := noRetry(h)
	defer func() {
		if err := h.Stop(); err != nil {
			t.Error(err)
		}
		if left := harness.Remaining(data); len(left) > 0 {
			t.Errorf("left behind after a clean stop:\n%s", strings.Join(left, "\n"))
		}
		if t.Failed() {
			t.Log(h.Log())
		}
	}()
	work(t, client, names[:1])
	chunks, away := filepath.Join(data, "chunks", "0000000000000001"), filepath.Join(data, "chunks", "away")
	if err := os.Rename(chunks, away); err != nil {
		t.Fatal(err)
	}
	work(t, client, names[:1])
	out, err := invoke(t.Context(), client, names[1], `{"n": 1}`)
	if err == nil && out.FunctionError == nil {
		t.Errorf("a function without code answered %s", out.Payload)
	}
	t.Logf("without chunks: %v, %+v", err, out)
	if _, ok := errors.AsType[*types.ServiceException](err); !ok {
		t.Errorf("got %v, want ServiceException", err)
	}
	work(t, client, names[:1])
	if err := os.Rename(away, chunks); err != nil {
		t.Fatal(err)
	}
	work(t, client, names)
}
