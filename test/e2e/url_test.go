package e2e

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/test/harness"
)

// giveURL gives the function a URL. A public one can be called by everybody.
func (f *function) giveURL(t *testing.T, mode types.InvokeMode, public bool) string {
	t.Helper()
	out, err := f.client.CreateFunctionUrlConfig(t.Context(), &lambda.CreateFunctionUrlConfigInput{
		FunctionName: &f.name, AuthType: types.FunctionUrlAuthTypeNone, InvokeMode: mode,
	})
	if err != nil {
		t.Fatal(err)
	}
	if public {
		f.makePublic(t)
	}
	return *out.FunctionUrl
}

// makePublic lets everybody call the function by its URL.
func (f *function) makePublic(t *testing.T) {
	t.Helper()
	for i, in := range []*lambda.AddPermissionInput{
		{Action: aws.String("lambda:InvokeFunctionUrl"), FunctionUrlAuthType: types.FunctionUrlAuthTypeNone},
		{Action: aws.String("lambda:InvokeFunction"), InvokedViaFunctionUrl: aws.Bool(true)},
	} {
		in.FunctionName, in.Principal, in.StatementId = &f.name, aws.String("*"), aws.String(fmt.Sprint("public", i))
		if _, err := f.client.AddPermission(t.Context(), in); err != nil {
			t.Fatal(err)
		}
	}
}

// curl calls a URL as people do: it resolves names below localhost by itself.
func curl(t *testing.T, args ...string) (status int, header http.Header, body string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), tool(t, "curl"), append([]string{"-sS", "-i", "--max-time", "60"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("curl: %v\n%s", err, out)
	}
	res, err := http.ReadResponse(bufio.NewReader(strings.NewReader(string(out))), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(b)
}

func urlFunction(t *testing.T) *function {
	t.Helper()
	return deploy(t, python, archive(harness.Zip(t, map[string]string{"app.py": read(t, "testdata/url/app.py")})), timeout(2))
}

func TestFunctionURL(t *testing.T) {
	t.Parallel()
	f := urlFunction(t)
	base := f.giveURL(t, "", false)
	if status, _, body := curl(t, base); status != 403 || !strings.Contains(body, `"Message":"Forbidden. For troubleshooting`) {
		t.Errorf("without permission: %d %s", status, body)
	}
	f.makePublic(t)
	if status, _, body := curl(t, base); status != 200 || body != `{"hello":"world"}` {
		t.Errorf("inferred: %d %s", status, body)
	}

	status, header, body := curl(t, "-X", "PUT", "-H", "Content-Type: application/json", "-b", "c=3", "-d", `{"k": "ü"}`, base+"echo?x=1&x=2%20")
	var got struct {
		Event struct {
			Query   map[string]string `json:"queryStringParameters"`
			Cookies []string
			Headers map[string]string
			Body    string
			Context struct {
				Domain    string `json:"domainName"`
				RequestID string `json:"requestId"`
				HTTP      struct{ Method, SourceIP string }
			} `json:"requestContext"`
		}
		ARN, ID string
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%d %s", status, body)
	}
	at, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	e := got.Event
	if status != 201 || e.Body != `{"k": "ü"}` || e.Query["x"] != "1,2 " || len(e.Cookies) != 1 || e.Context.HTTP.Method != "PUT" ||
		e.Headers["host"] != at.Host || e.Context.Domain != at.Hostname() || net.ParseIP(e.Context.HTTP.SourceIP) == nil || !strings.HasSuffix(got.ARN, ":function:"+f.name) {
		t.Errorf("%d %s", status, body)
	}
	if got.ID != header.Get("X-Amzn-Requestid") || e.Context.RequestID != got.ID || header.Get("X-Mine") != "ü" || len(header["Set-Cookie"]) != 2 || header.Get("X-Amzn-Trace-Id") == "" {
		t.Errorf("header %v", header)
	}
	if status, header, body := curl(t, "--data-binary", "a\x01b", "-H", "Content-Type: image/png", base+"bytes"); status != 200 || body != "b\x01a" || header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("bytes: %d %q", status, body)
	}
	for _, path := range []string{"raise", "sleep", "malformed"} {
		if status, _, body := curl(t, base+path); status != 502 || body != "Internal Server Error" {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	id, _, _ := strings.Cut(at.Host, ".")
	if status, _, body := curl(t, shared.URL+"/_url/"+id+"/x"); status != 200 || body != `{"hello":"world"}` {
		t.Errorf("path form: %d %s", status, body)
	}
	// Reserved concurrency of zero is how AWS has people close a URL.
	if _, err := f.client.PutFunctionConcurrency(t.Context(), &lambda.PutFunctionConcurrencyInput{FunctionName: &f.name, ReservedConcurrentExecutions: aws.Int32(0)}); err != nil {
		t.Fatal(err)
	}
	if status, _, body := curl(t, base); status != 429 || !strings.Contains(body, "ReservedFunctionConcurrentInvocationLimitExceeded") {
		t.Errorf("closed: %d %s", status, body)
	}
}

const streamingFunction = `
exports.handler = awslambda.streamifyResponse(async (event, out) => {
  if (event.rawPath === "/plain") { out.setContentType("text/plain"); out.write("plain"); out.end(); return; }
  if (event.rawPath === "/throw") throw new Error("before the first byte");
  const stream = awslambda.HttpResponseStream.from(out, {statusCode: 203, headers: {"Content-Type": "text/x-mine", "X-Mine": "1"}, cookies: ["a=1"]});
  stream.write("first");
  await new Promise(done => setTimeout(done, 500));
  if (event.rawPath === "/break") throw new Error("in the middle");
  stream.write(String(Date.now()));
  stream.end();
});
`

// TestFunctionURLStreams reads an answer while its function still writes.
func TestFunctionURLStreams(t *testing.T) {
	t.Parallel()
	f := deploy(t, node, archive(harness.Zip(t, map[string]string{"index.js": streamingFunction})))
	base := f.giveURL(t, types.InvokeModeResponseStream, true)
	at, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	// The host form without anybody who resolves it.
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	get := func(path string) *http.Response {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, shared.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = at.Host
		res, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = res.Body.Close() })
		return res
	}
	res := get("/")
	first := make([]byte, len("first"))
	if _, err := io.ReadFull(res.Body, first); err != nil || string(first) != "first" {
		t.Fatalf("%q, %v", first, err)
	}
	came := time.Now()
	rest, err := io.ReadAll(res.Body)
	wrote, notTime := strconv.ParseInt(string(rest), 10, 64)
	if err != nil || notTime != nil || !came.Before(time.UnixMilli(wrote)) {
		t.Errorf("the first piece came at %v; then %q, %v", came.UnixMilli(), rest, err)
	}
	if res.StatusCode != 203 || res.Header.Get("Content-Type") != "text/x-mine" || res.Header.Get("X-Mine") != "1" || res.Header.Get("Set-Cookie") != "a=1" {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	plain := get("/plain")
	if body, err := io.ReadAll(plain.Body); err != nil || string(body) != "plain" || plain.StatusCode != 200 || plain.Header.Get("Content-Type") != "text/plain" {
		t.Errorf("plain: %d %v %q, %v", plain.StatusCode, plain.Header, body, err)
	}
	thrown := get("/throw")
	if body, err := io.ReadAll(thrown.Body); err != nil || string(body) != "Internal Server Error" || thrown.StatusCode != 502 {
		t.Errorf("thrown: %d %q, %v", thrown.StatusCode, body, err)
	}
	broken := get("/break")
	if body, err := io.ReadAll(broken.Body); !errors.Is(err, io.ErrUnexpectedEOF) || string(body) != "first" {
		t.Errorf("broken: %q, %v, want first and a missing end", body, err)
	}
}

// TestFunctionURLSigned calls a URL that asks for signatures, as botocore signs.
func TestFunctionURLSigned(t *testing.T) {
	t.Parallel()
	f := urlFunction(t)
	f.giveURL(t, "", false)
	_, err := f.client.UpdateFunctionUrlConfig(t.Context(), &lambda.UpdateFunctionUrlConfigInput{FunctionName: &f.name, AuthType: types.FunctionUrlAuthTypeAwsIam})
	if err != nil {
		t.Fatal(err)
	}
	interpreter := tool(t, "python3")
	if out, err := exec.Command(interpreter, "-c", "import boto3").CombinedOutput(); err != nil {
		t.Fatalf("%s has no boto3; install the test clients with: make clients\n%s", interpreter, out)
	}
	script(t, []string{"FUNCTION=" + f.name, "PYTHONDONTWRITEBYTECODE=1", "HOME=" + os.TempDir()}, interpreter, filepath.Join(root(t), "test/python/url.py"))
}
