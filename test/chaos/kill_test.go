package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"hearth/test/harness"
)

const echo = `
def handler(event, context):
    return event
`

// TestKillInTheMiddleOfInvokes kills Hearth while 200 invokes are under way,
// starts it again on the same data, and finds every function, working, and
// nothing of the former life.
func TestKillInTheMiddleOfInvokes(t *testing.T) {
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
	names := []string{"one", "two", "three"}
	for _, name := range names {
		harness.CreatePython(t, client, name, echo)
	}
	var wg sync.WaitGroup
	var answered, cut atomic.Int32
	for i := range 200 {
		wg.Go(func() {
			// Payloads differ so that a mixed-up answer would show.
			payload := fmt.Sprintf(`{"n": %d}`, i) // as Python writes it
			out, err := invoke(t.Context(), client, names[i%3], payload)
			switch {
			case err != nil:
				cut.Add(1)
			case string(out.Payload) != payload:
				t.Errorf("invoke %d got another's answer: %s", i, out.Payload)
			default:
				answered.Add(1)
			}
		})
	}
	until(t, "some invokes to be answered and some to be under way", func() bool { return answered.Load() >= 10 })
	if err := h.Kill(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	t.Logf("%d invokes were answered, %d cut off", answered.Load(), cut.Load())
	if cut.Load() == 0 {
		t.Fatal("no invoke was under way at the kill: the test shows nothing")
	}
	before := harness.Leftovers(data)
	if len(before) == 0 {
		t.Fatal("the killed Hearth left nothing to sweep: the test shows nothing")
	}

	h, err = harness.Start(data)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			t.Log(h.Log())
		}
	}()
	now := strings.Join(harness.Leftovers(data), "\n")
	for _, old := range before {
		// The new life's own things have other process ids and sandbox names.
		// What shows volumes outlives a crash, and is taken up again.
		if !strings.HasPrefix(old, "cgroup") && !harness.OfBlockfs(data, old) && strings.Contains(now, old) {
			t.Errorf("left from the former life: %s", old)
		}
	}
	client = noRetry(h)
	for _, name := range names {
		out, err := invoke(t.Context(), client, name, `{"again":true}`)
		if err != nil || string(out.Payload) != `{"again": true}` && string(out.Payload) != `{"again":true}` {
			t.Errorf("%s after the restart: %v, %v", name, out, err)
		}
		got, err := client.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: &name})
		if err != nil || aws.ToString(got.Code.Location) == "" {
			t.Errorf("%s's code after the restart: %v", name, err)
		}
	}
	if err := h.Stop(); err != nil {
		t.Error(err)
	}
	if left := harness.Remaining(data); len(left) > 0 {
		t.Errorf("left behind after a clean stop:\n%s", strings.Join(left, "\n"))
	}
	temps, _ := filepath.Glob(filepath.Join(data, "objects", "**", "*.tmp*"))
	if len(temps) > 0 {
		t.Errorf("half-written objects: %v", temps)
	}
}
