package e2e

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/internal/garbage"
	"hearth/test/harness"
)

// TestGarbageCollection deletes one of two functions and collects garbage until
// the root of chunks that both were stored in is gone: the other one starts from
// a new root, and of the deleted one nothing is left.
func TestGarbageCollection(t *testing.T) {
	const size = 3 << 20 // of the deleted function's code
	h := harness.Run(t, "--gc-rotation", "1ms", "--gc-expiry", "1ms", "--pool", "0")
	client := h.Client()
	source := "import uuid\nstarted = str(uuid.uuid4())\ndef handler(event, context):\n    return started\n"
	harness.CreatePython(t, client, "kept", source)
	harness.CreatePython(t, client, "doomed", source, func(in *lambda.CreateFunctionInput) {
		in.Code = &types.FunctionCode{ZipFile: harness.Zip(t, map[string]string{"app.py": source, "data": incompressible(size)})}
	})
	before := started(t, client, "kept")
	started(t, client, "doomed")
	chunks := filepath.Join(h.Data, "chunks")
	first := filepath.Join(chunks, "0000000000000001")
	whole := bytesBelow(t, first)
	if whole < size {
		t.Fatalf("the first root has %d bytes, want more than %d", whole, size)
	}
	if _, err := client.DeleteFunction(t.Context(), &lambda.DeleteFunctionInput{FunctionName: aws.String("doomed")}); err != nil {
		t.Fatal(err)
	}
	var done garbage.Done
	done.Moved += collectGarbage(t, h).Moved
	// What runs has the first root open until it starts anew.
	again(t, client, "kept", "1", before)
	eventually(t, "the first root is deleted", func() bool {
		r := collectGarbage(t, h)
		done.Deleted += r.Deleted
		done.Bytes += r.Bytes
		done.Moved += r.Moved
		_, err := os.Stat(first)
		return os.IsNotExist(err) && r.Roots[0].ID != 1
	})
	if done.Deleted == 0 || done.Bytes < size || done.Moved == 0 {
		t.Errorf("done: %+v", done)
	}
	// The runtime and what is kept have moved; the deleted function has not.
	roots, err := filepath.Glob(filepath.Join(chunks, "*0*"))
	expired, _ := filepath.Glob(filepath.Join(chunks, "expired", "*0*"))
	if roots = append(roots, expired...); err != nil || len(roots) == 0 {
		t.Fatalf("roots %q, %v", roots, err)
	}
	for _, root := range roots {
		if n := bytesBelow(t, root); n > whole-size*3/4 {
			t.Errorf("%s has %d bytes, the first had %d, of which the deleted function had %d alone", root, n, whole, size)
		}
	}
	again(t, client, "kept", "2", before)
}

// started says when the environment that an invoke met was started.
func started(t *testing.T, client *lambda.Client, name string) string {
	t.Helper()
	out, err := client.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: &name})
	if err != nil || out.FunctionError != nil {
		t.Fatalf("invoke: %v %+v", err, out)
	}
	return string(out.Payload)
}

// again has a function start anew.
func again(t *testing.T, client *lambda.Client, name, value, before string) {
	t.Helper()
	_, err := client.UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{
		FunctionName: &name, Environment: &types.Environment{Variables: map[string]string{"AGAIN": value}},
	})
	if err != nil {
		t.Fatal(err)
	}
	waiter := lambda.NewFunctionUpdatedV2Waiter(client, func(o *lambda.FunctionUpdatedV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, time.Second
	})
	if err := waiter.Wait(t.Context(), &lambda.GetFunctionInput{FunctionName: &name}, time.Minute); err != nil {
		t.Fatal(err)
	}
	if now := started(t, client, name); now == before {
		t.Error("the function was not started anew")
	}
}

func collectGarbage(t *testing.T, h *harness.Instance) *garbage.Report {
	t.Helper()
	var r garbage.Report
	if err := json.Unmarshal([]byte(hearth(t, h, "gc", "-o", "json")), &r); err != nil || len(r.Roots) == 0 {
		t.Fatalf("hearth gc: %v, %+v", err, r)
	}
	return &r
}

func bytesBelow(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
