package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"hearth/test/harness"
)

const (
	python   = "python3.11"
	node     = "nodejs20.x"
	provided = "provided.al2023"

	role = "arn:aws:iam::000000000000:role/hearth-function"
)

// patience bounds every wait of these tests; a first start may have to build
// an image.
const patience = 3 * time.Minute

// eachRuntime runs a test for every runtime.
func eachRuntime(t *testing.T, test func(t *testing.T, runtime string)) {
	t.Helper()
	for _, runtime := range []string{python, node, provided} {
		t.Run(runtime, func(t *testing.T) {
			t.Parallel()
			test(t, runtime)
		})
	}
}

// handlers are the handlers that do what the event asks for; wholes those
// that answer with their event.
var (
	handlers = map[string]string{python: "app.handler", node: "index.handler", provided: "handle"}
	wholes   = map[string]string{python: "app.whole", node: "index.whole", provided: "whole"}
)

// bootstrap builds the Go function, once.
var bootstrap = sync.OnceValues(func() ([]byte, error) {
	root, err := harness.Root()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "hearth-bootstrap-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-tags", "lambda.norpc", "-ldflags", "-s -w",
		"-o", dir+"/bootstrap", "./test/e2e/bootstrap")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the Go function: %w\n%s", err, out)
	}
	return os.ReadFile(dir + "/bootstrap")
})

// codes keeps archives that were made: packing a program is slow under the
// race detector.
var codes sync.Map

// code is the archive of the function of the tests. Its deed "version" answers
// what is passed here.
func code(t *testing.T, runtime, version string) []byte {
	t.Helper()
	if b, ok := codes.Load(runtime + version); ok {
		return b.([]byte)
	}
	files := map[string]string{"version": version}
	switch runtime {
	case provided:
		b, err := bootstrap()
		if err != nil {
			t.Fatal(err)
		}
		files["bootstrap"] = string(b)
	case python:
		files["app.py"] = read(t, "testdata/python/app.py")
	case node:
		files["index.js"] = read(t, "testdata/node/index.js")
	}
	b := harness.Zip(t, files)
	codes.Store(runtime+version, b)
	return b
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// function is a deployed function.
type function struct {
	name   string
	client *lambda.Client
}

type option func(*lambda.CreateFunctionInput)

func memory(mb int32) option {
	return func(in *lambda.CreateFunctionInput) { in.MemorySize = &mb }
}

func timeout(seconds int32) option {
	return func(in *lambda.CreateFunctionInput) { in.Timeout = &seconds }
}

func handler(name string) option {
	return func(in *lambda.CreateFunctionInput) { in.Handler = &name }
}

func archive(b []byte) option {
	return func(in *lambda.CreateFunctionInput) { in.Code = &types.FunctionCode{ZipFile: b} }
}

func variables(kv ...string) option {
	return func(in *lambda.CreateFunctionInput) {
		in.Environment = &types.Environment{Variables: map[string]string{}}
		for pair := range slices.Chunk(kv, 2) {
			in.Environment.Variables[pair[0]] = pair[1]
		}
	}
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9_]+`)

// named counts names, so that a test that runs again has another function: the
// log of a deleted one stays.
var named atomic.Int64

// nameOf makes a function's name of a test's.
func nameOf(t *testing.T) string {
	t.Helper()
	name := notInNames.ReplaceAllString(strings.TrimPrefix(t.Name(), "Test"), "-")
	return fmt.Sprintf("%s-%d", name[:min(len(name), 50)], named.Add(1))
}

// client never tries again: an error that goes away by itself is one too. The
// exception is the client's own: the SDK closes a request's body as soon as an
// answer comes, and if the transport is still looking for the body's end then,
// it closes the connection under a long answer.
func client(h *harness.Instance) *lambda.Client {
	return h.Client(func(o *lambda.Options) {
		o.Retryer = retry.NewStandard(func(s *retry.StandardOptions) {
			s.Retryables = []retry.IsErrorRetryable{retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
				return aws.BoolTernary(strings.Contains(err.Error(), "use of closed network connection"))
			})}
		})
	})
}

// deploy creates the function of the tests on the shared Hearth and waits
// until it is active. It goes when the test ends.
func deploy(t *testing.T, runtime string, options ...option) *function {
	t.Helper()
	f := &function{name: nameOf(t), client: client(shared)}
	in := &lambda.CreateFunctionInput{
		FunctionName: &f.name, Runtime: types.Runtime(runtime), Handler: aws.String(handlers[runtime]), Role: aws.String(role),
		Timeout: aws.Int32(30), MemorySize: aws.Int32(256),
	}
	for _, o := range options {
		o(in)
	}
	if in.Code == nil {
		in.Code = &types.FunctionCode{ZipFile: code(t, runtime, "1")}
	}
	if _, err := f.client.CreateFunction(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// The test's context has ended by now.
		_, err := f.client.DeleteFunction(context.Background(), &lambda.DeleteFunctionInput{FunctionName: &f.name})
		if missing := new(types.ResourceNotFoundException); err != nil && !errors.As(err, &missing) {
			t.Errorf("delete %s: %v", f.name, err)
		}
	})
	f.wait(t)
	return f
}

// wait waits until the function is active and its last update has ended.
func (f *function) wait(t *testing.T) {
	t.Helper()
	eventually(t, f.name+" is ready", func() bool {
		c, err := f.client.GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: &f.name})
		if err != nil {
			t.Fatal(err)
		}
		if c.State == types.StateFailed || c.LastUpdateStatus == types.LastUpdateStatusFailed {
			t.Fatalf("%s: %s %s; %s %s", f.name, c.State, aws.ToString(c.StateReason), c.LastUpdateStatus, aws.ToString(c.LastUpdateStatusReason))
		}
		return c.State == types.StateActive && c.LastUpdateStatus == types.LastUpdateStatusSuccessful
	})
}

// eventually polls until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("not after %v: %s", patience, what)
		}
	}
}

// result is what came back from an invoke.
type result struct {
	id      string
	payload []byte
	failure string // X-Amz-Function-Error
	log     string // the tail
}

// event is what a function is asked for.
type event map[string]any

// do invokes the function, which must not fail, and decodes its answer into
// the target unless that is nil.
func (f *function) do(t *testing.T, e event, target any) result {
	t.Helper()
	r := f.invoke(t, e)
	if r.failure != "" {
		t.Fatalf("%v failed: %s\n%s", e["do"], r.payload, r.log)
	}
	if target != nil {
		if err := json.Unmarshal(r.payload, target); err != nil {
			t.Fatalf("%v: %v: %s", e["do"], err, clip(r.payload))
		}
	}
	return r
}

func (f *function) invoke(t *testing.T, e event) result {
	t.Helper()
	payload, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.send(t.Context(), payload)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// send invokes the function with a payload as it is.
func (f *function) send(ctx context.Context, payload []byte, options ...func(*lambda.InvokeInput)) (result, error) {
	in := &lambda.InvokeInput{FunctionName: &f.name, Payload: payload, LogType: types.LogTypeTail}
	for _, o := range options {
		o(in)
	}
	out, err := f.client.Invoke(ctx, in)
	if err != nil {
		return result{}, err
	}
	tail, err := base64.StdEncoding.DecodeString(aws.ToString(out.LogResult))
	if err != nil {
		return result{}, err
	}
	id, _ := awsmiddleware.GetRequestIDMetadata(out.ResultMetadata)
	return result{id: id, payload: out.Payload, failure: aws.ToString(out.FunctionError), log: string(tail)}, nil
}

// failure is the payload of a failed invoke.
type failure struct {
	Type    string  `json:"errorType"`
	Message string  `json:"errorMessage"`
	ID      *string `json:"requestId"`
	Stack   []any   `json:"stackTrace"`
	Trace   []any   `json:"trace"`
}

// failure decodes the payload of an invoke that must have failed.
func (r result) failed(t *testing.T) failure {
	t.Helper()
	if r.failure != "Unhandled" {
		t.Fatalf("X-Amz-Function-Error %q, want Unhandled; payload %s", r.failure, clip(r.payload))
	}
	var f failure
	if err := json.Unmarshal(r.payload, &f); err != nil {
		t.Fatalf("%v: %s", err, clip(r.payload))
	}
	return f
}

func clip(b []byte) []byte { return b[:min(len(b), 400)] }

// wantError checks code and message of an API error; the message may be a
// prefix that ends with an ellipsis.
func wantError(t *testing.T, err error, code, message string) {
	t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want %s", err, code)
	}
	prefix, cut := strings.CutSuffix(message, "…")
	if e.ErrorCode() != code || e.ErrorMessage() != message && !(cut && strings.HasPrefix(e.ErrorMessage(), prefix)) {
		t.Errorf("got  %s: %s\nwant %s: %s", e.ErrorCode(), e.ErrorMessage(), code, message)
	}
}

// status is the HTTP status of an error.
func status(err error) int {
	if e, ok := errors.AsType[*smithyhttp.ResponseError](err); ok {
		return e.HTTPStatusCode()
	}
	return 0
}

// hearth runs the hearth command against a Hearth and returns its stdout.
func hearth(t *testing.T, h *harness.Instance, args ...string) string {
	t.Helper()
	bin, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), bin, append(args, "--data", h.Data)...)
	cmd.Stderr = new(strings.Builder)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("hearth %s: %v\n%s", strings.Join(args, " "), err, cmd.Stderr)
	}
	return string(out)
}

// objects are the files in the object store.
func objects(t *testing.T, data string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(filepath.Join(data, "objects"), func(path string, d fs.DirEntry, err error) error {
		// Profiles of starts come when the start is over, by way of tmp.
		if err == nil && d.Type().IsRegular() && d.Name() != "profile" && filepath.Base(filepath.Dir(path)) != "tmp" {
			names = append(names, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
