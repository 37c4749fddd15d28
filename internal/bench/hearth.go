package bench

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/internal/datadir"
	"hearth/internal/sigv4"
)

// region is what the bench's Hearth is started with.
const region = "us-east-1"

// hearth is a Hearth of the bench's own: a process over a fresh data
// directory, gone when the bench ends.
type hearth struct {
	*process
	data   string
	client *lambda.Client
	root   datadir.Credentials
	// invoker is who the warm path is measured with: somebody whose every
	// request a policy decides.
	invoker iamtypes.AccessKey
}

func startHearth(ctx context.Context, o *Options, args ...string) (_ *hearth, err error) {
	data, err := os.MkdirTemp("", "hearth-")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(data)
		}
	}()
	h := &hearth{data: data}
	if err := h.start(ctx, nil, append([]string{"--listen", "127.0.0.1:0", "--runtime-cache", o.RuntimeCache}, args...)...); err != nil {
		return nil, err
	}
	if err := h.connect(ctx); err != nil {
		h.stop()
		return nil, err
	}
	return h, nil
}

// start starts the Hearth's process over its data directory.
func (h *hearth) start(ctx context.Context, env []string, args ...string) (err error) {
	// Sixteen environments of one core each are more memory than small machines
	// have, and use little of it.
	h.process, err = start(ctx, env, "hearth ready on ", append([]string{"up", "--data", h.data, "--memory", "131072"}, args...)...)
	return err
}

// connect makes the clients and the invoker.
func (h *hearth) connect(ctx context.Context) error {
	creds, err := datadir.LoadCredentials(h.data)
	if err != nil {
		return err
	}
	h.root = creds
	root := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{AccessKeyID: creds.AccessKeyID, SecretAccessKey: creds.SecretAccessKey}, nil
	})
	h.client = lambda.New(lambda.Options{BaseEndpoint: &h.ready, Region: region, Credentials: root})

	people, user := iam.New(iam.Options{BaseEndpoint: &h.ready, Region: region, Credentials: root}), aws.String("invoker")
	if _, err := people.CreateUser(ctx, &iam.CreateUserInput{UserName: user}); err != nil {
		return err
	}
	_, err = people.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: user, PolicyName: aws.String("invoke"), PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"lambda:InvokeFunction","Resource":"arn:aws:lambda:` + region + `:*:function:*"}}`)})
	if err != nil {
		return err
	}
	out, err := people.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: user})
	if err != nil {
		return err
	}
	h.invoker = *out.AccessKey
	return nil
}

func (h *hearth) close() {
	h.stop()
	_ = os.RemoveAll(h.data)
}

// workload is a function that answers with its event.
type workload struct {
	runtime, handler string
	zip              []byte
	// plain is the same program to first output, without Lambda around it:
	// arguments in the runtime's root, or nothing if it is the function itself.
	plain []string
}

// workloads are the functions of the bench, one per runtime.
func workloads(o *Options) ([]workload, error) {
	program, err := os.ReadFile(o.Function)
	if err != nil {
		return nil, fmt.Errorf("bench: the Go function: %w; build it with: make build", err)
	}
	var all []workload
	for _, w := range []struct {
		runtime, handler, file, source string
		plain                          []string
	}{
		{"provided.al2023", "bootstrap", "bootstrap", string(program), nil},
		{
			"python3.11", "app.handler", "app.py", "def handler(event, context):\n    return event\n",
			[]string{"/var/lang/bin/python3.11", "-c", "print('ready', flush=True)"},
		},
		{
			"nodejs20.x", "index.handler", "index.mjs", "export const handler = async (event) => event;\n",
			[]string{"/var/lang/bin/node", "-e", "console.log('ready')"},
		},
	} {
		var buf bytes.Buffer
		z := zip.NewWriter(&buf)
		header := &zip.FileHeader{Name: w.file, Method: zip.Deflate}
		header.SetMode(0o755)
		f, err := z.CreateHeader(header)
		if err != nil {
			return nil, err
		}
		if _, err := f.Write([]byte(w.source)); err != nil {
			return nil, err
		}
		if err := z.Close(); err != nil {
			return nil, err
		}
		all = append(all, workload{runtime: w.runtime, handler: w.handler, zip: buf.Bytes(), plain: w.plain})
	}
	return all, nil
}

// memoryMB gives a function two cores, so that its own limit is not measured:
// with one it is, for what the sandbox itself uses counts too.
const memoryMB = 3538

// create deploys a workload and waits until it is active.
func (h *hearth) create(ctx context.Context, name string, w workload) error {
	_, err := h.client.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: &name, Runtime: types.Runtime(w.runtime), Handler: &w.handler, MemorySize: aws.Int32(memoryMB),
		Timeout: aws.Int32(30), Role: aws.String("arn:aws:iam::000000000000:role/hearth-function"), Code: &types.FunctionCode{ZipFile: w.zip},
	})
	if err != nil {
		return err
	}
	return lambda.NewFunctionActiveV2Waiter(h.client, fastActive).Wait(ctx, &lambda.GetFunctionInput{FunctionName: &name}, 15*time.Minute)
}

func fastActive(o *lambda.FunctionActiveV2WaiterOptions) {
	o.MinDelay, o.MaxDelay = 50*time.Millisecond, 200*time.Millisecond
}

// renew changes the function's configuration, so that the next invoke is cold.
func (h *hearth) renew(ctx context.Context, name string, i int) error {
	_, err := h.client.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{
		FunctionName: &name, Environment: &types.Environment{Variables: map[string]string{"ROUND": strconv.Itoa(i)}},
	})
	if err != nil {
		return err
	}
	return lambda.NewFunctionUpdatedV2Waiter(h.client, func(o *lambda.FunctionUpdatedV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 20*time.Millisecond, 100*time.Millisecond
	}).Wait(ctx, &lambda.GetFunctionInput{FunctionName: &name}, time.Minute)
}

// target makes a signed invoke that can be sent again and again: a signature
// is good for five minutes, and a client that signed each request anew would
// be measured itself.
func (h *hearth) target(ctx context.Context, name string, body []byte) (*target, error) {
	t := &target{url: h.ready + "/2015-03-31/functions/" + name + "/invocations", body: body}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	scope := sigv4.Scope{Date: now.Format("20060102"), Region: region, Service: "lambda"}
	if err := sigv4.Sign(ctx, req, *h.invoker.AccessKeyId, *h.invoker.SecretAccessKey, scope, body, now); err != nil {
		return nil, err
	}
	t.header = req.Header
	return t, nil
}

// timeline reads a Server-Timing header.
func timeline(header string) map[string]time.Duration {
	steps := map[string]time.Duration{}
	for entry := range strings.SplitSeq(header, ",") {
		name, rest, _ := strings.Cut(strings.TrimSpace(entry), ";dur=")
		if ms, err := strconv.ParseFloat(rest, 64); err == nil {
			steps[name] = time.Duration(ms * float64(time.Millisecond))
		}
	}
	return steps
}
