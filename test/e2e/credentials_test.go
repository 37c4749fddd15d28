package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/smithy-go"

	"hearth/internal/audit"
	"hearth/test/harness"
)

// botocoreParts are what a function needs of botocore to ask Lambda and STS.
var botocoreParts = []string{
	"botocore/", "jmespath/", "dateutil/", "urllib3/", "six.py",
}

// keepPart leaves out the models of the services that are not asked.
func keepPart(name string) bool {
	if rest, ok := strings.CutPrefix(name, "botocore/data/"); ok {
		service, _, dir := strings.Cut(rest, "/")
		return !dir || service == "lambda" || service == "sts"
	}
	for _, part := range botocoreParts {
		if strings.HasPrefix(name, part) && !strings.Contains(name, "__pycache__") && !strings.Contains(name, "/tar") {
			return true
		}
	}
	return false
}

// botocoreZip is made once: it takes a second.
var botocoreZip struct {
	sync.Mutex
	bytes []byte
}

// botocoreArchive is a function that asks Hearth's API, with the botocore of
// the test clients.
func botocoreArchive(t *testing.T) []byte {
	t.Helper()
	botocoreZip.Lock()
	defer botocoreZip.Unlock()
	if botocoreZip.bytes == nil {
		files := botocoreFiles(t)
		files["app.py"] = read(t, filepath.Join("testdata", "credentials", "app.py"))
		botocoreZip.bytes = harness.Zip(t, files)
	}
	return botocoreZip.bytes
}

func botocoreFiles(t *testing.T) map[string]string {
	t.Helper()
	interpreter := tool(t, "python3")
	out, err := exec.Command(interpreter, "-c", "import botocore, os; print(os.path.dirname(os.path.dirname(botocore.__file__)))").Output()
	if err != nil {
		t.Fatalf("%s has no botocore; install the test clients with: make clients: %v", interpreter, err)
	}
	packages, files := os.DirFS(strings.TrimSpace(string(out))), map[string]string{}
	err = fs.WalkDir(packages, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !keepPart(name) {
			return err
		}
		b, err := fs.ReadFile(packages, name)
		files[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func people() *iam.Client {
	return iam.New(iam.Options{BaseEndpoint: &shared.URL, Region: "us-east-1", Credentials: shared.Credentials()})
}

const lambdaTrust = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}]}`

// makeRole makes a role that functions may have and that may invoke one
// function, and returns its ARN and how to delete it.
func makeRole(t *testing.T, name, mayInvoke string) (arn string, remove func()) {
	t.Helper()
	c := people()
	out, err := c.CreateRole(t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(lambdaTrust)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("p"), PolicyDocument: aws.String(
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"lambda:InvokeFunction","Resource":"arn:aws:lambda:us-east-1:000000000000:function:` + mayInvoke + `"}]}`)})
	if err != nil {
		t.Fatal(err)
	}
	remove = sync.OnceFunc(func() {
		ctx := context.Background()
		_, err := c.DeleteRolePolicy(ctx, &iam.DeleteRolePolicyInput{RoleName: &name, PolicyName: aws.String("p")})
		if err == nil {
			_, err = c.DeleteRole(ctx, &iam.DeleteRoleInput{RoleName: &name})
		}
		if err != nil {
			t.Errorf("delete role %s: %v", name, err)
		}
	})
	t.Cleanup(remove)
	return *out.Role.Arn, remove
}

func withRole(arn string) option {
	return func(in *lambda.CreateFunctionInput) { in.Role = &arn }
}

// inside is what a deed inside the function came to.
type inside struct {
	Answer  json.RawMessage `json:"answer"`
	Code    string          `json:"code"`
	Status  int             `json:"status"`
	Message string          `json:"message"`
}

func (f *function) inside(t *testing.T, event string) inside {
	t.Helper()
	out, err := f.client.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: &f.name, Payload: []byte(event)})
	if err != nil {
		t.Fatal(err)
	}
	if out.FunctionError != nil {
		t.Fatalf("%s: %s", event, out.Payload)
	}
	var got inside
	if err := json.Unmarshal(out.Payload, &got); err != nil {
		t.Fatalf("%s: %v: %s", event, err, out.Payload)
	}
	return got
}

// TestFunctionCredentials has a function use its role, from inside, as far as
// the role goes.
func TestFunctionCredentials(t *testing.T) {
	t.Parallel()
	callee, other := deploy(t, python), deploy(t, python)
	arn, deleteRole := makeRole(t, "caller-"+nameOf(t), callee.name)
	caller := deploy(t, python, archive(botocoreArchive(t)), withRole(arn), memory(512))

	session := strings.Replace(arn, ":iam::", ":sts::", 1)
	session = strings.Replace(session, ":role/", ":assumed-role/", 1) + "/" + caller.name
	for _, deed := range []string{"who", "now"} {
		if got := caller.inside(t, `{"do":"`+deed+`"}`); string(got.Answer) != `"`+session+`"` {
			t.Errorf("%s: got %+v, want %s", deed, got, session)
		}
	}
	text := strings.Repeat("x", 1<<20)
	payload := `{"do":"echo","value":"` + text + `"}`
	if got := caller.inside(t, `{"do":"call","name":"`+callee.name+`","payload":`+payload+`}`); len(got.Answer) < 1<<20 || got.Code != "" {
		t.Errorf("invoke the function that it may: got %d bytes, %s %s %.200s", len(got.Answer), got.Code, got.Message, got.Answer)
	}
	got := caller.inside(t, `{"do":"call","name":"`+other.name+`"}`)
	if got.Code != "AccessDeniedException" || got.Status != 403 || !strings.Contains(got.Message, session) {
		t.Errorf("invoke a function that it may not: got %+v, want AccessDeniedException", got)
	}
	audited(t, session, "lambda:InvokeFunction", other.name)
	secretsKept(t, caller)

	deleteRole()
	if got := caller.inside(t, `{"do":"now"}`); got.Status != 403 {
		t.Errorf("after the role is gone: got %+v, want 403", got)
	}
	_, err := caller.client.UpdateFunctionCode(t.Context(), &lambda.UpdateFunctionCodeInput{FunctionName: &caller.name, ZipFile: code(t, python, "2")})
	if err != nil {
		t.Fatal(err)
	}
	caller.wait(t)
	_, err = caller.client.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: &caller.name})
	if e := smithy.APIError(nil); !errors.As(err, &e) || e.ErrorCode() != "AccessDeniedException" ||
		e.ErrorMessage() != "The role defined for the function cannot be assumed by Lambda." {
		t.Errorf("start without its role: got %v, want AccessDeniedException", err)
	}
}

// audited waits for the audit line of a refusal.
func audited(t *testing.T, principal, action, function string) {
	t.Helper()
	eventually(t, "the refusal is in the audit log", func() bool {
		found := false
		_, err := audit.Read(filepath.Join(shared.Data, "audit"), time.Time{}, func(e audit.Event) error {
			if e.Principal == principal && e.Action == action && strings.HasSuffix(e.Resource, ":"+function) && !e.Allowed {
				found = true
				if e.SourceIP != "169.254.100.1" {
					t.Errorf("sourceIp is %q, want the functions'", e.SourceIP)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return found
	})
}

// secretsKept checks that a function's keys are not in Hearth's log or in what
// processes of the host show of themselves.
func secretsKept(t *testing.T, f *function) {
	t.Helper()
	var places []string
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} {
		var secret string
		if err := json.Unmarshal(f.inside(t, `{"do":"env","name":"`+name+`"}`).Answer, &secret); err != nil || len(secret) < 20 {
			t.Fatalf("%s: %v, %d bytes", name, err, len(secret))
		}
		if strings.Contains(shared.Log(), secret) {
			places = append(places, name+" in the log")
		}
		for _, file := range append(all, environs...) {
			if b, err := os.ReadFile(file); err == nil && bytes.Contains(b, []byte(secret)) {
				places = append(places, name+" in "+file)
			}
		}
	}
	if places != nil {
		t.Error(places)
	}
}

// TestEndpointOfOwn has a function choose where its SDK goes.
func TestEndpointOfOwn(t *testing.T) {
	t.Parallel()
	f := deploy(t, python, archive(botocoreArchive(t)), memory(512), variables("AWS_ENDPOINT_URL_STS", "http://169.254.100.1", "AWS_ENDPOINT_URL", "http://198.51.100.1"))
	if got := f.inside(t, `{"do":"env","name":"AWS_ENDPOINT_URL"}`); string(got.Answer) != `"http://198.51.100.1"` {
		t.Errorf("got %s, want the function's own", got.Answer)
	}
}

// TestHostileEndpoint has a function misuse its endpoint; it, Hearth and the
// warm path go on.
func TestHostileEndpoint(t *testing.T) {
	t.Parallel()
	f := deploy(t, python, archive(botocoreArchive(t)), memory(512))
	for _, garbage := range []string{
		"\x08\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00", // a frame of the control stream
		"\x00\x7f\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\nConnection: close\r\n\r\n",
		"GET http://127.0.0.1:2379/ HTTP/1.1\r\nHost: 127.0.0.1:2379\r\nConnection: close\r\n\r\n",
	} {
		event, err := json.Marshal(map[string]string{"do": "talk", "bytes": garbage})
		if err != nil {
			t.Fatal(err)
		}
		var answer string
		if err := json.Unmarshal(f.inside(t, string(event)).Answer, &answer); err != nil || !strings.HasPrefix(answer, "HTTP/1.1 40") {
			t.Errorf("%q: got %q, %v, want to be refused", garbage, answer, err)
		}
	}
	for _, event := range []string{`{"do":"flood","count":1000}`, `{"do":"hang"}`} {
		got := f.inside(t, event)
		t.Logf("%s: %s", event, got.Answer)
		if got := f.inside(t, `{"do":"now"}`); got.Code != "" || got.Answer == nil {
			t.Errorf("after %s: %+v", event, got)
		}
	}
}

// TestEndpointBesideEgress has a function with a network reach Hearth's API all
// the same, and nothing else of the host.
func TestEndpointBesideEgress(t *testing.T) {
	h := harness.Run(t, "--egress")
	harness.CreatePython(t, h.Client(), "asks", `
import os, socket, urllib.request

def handler(event, context):
    try:
        socket.create_connection(("169.254.169.254", 80), timeout=1)
        return "metadata reached"
    except OSError:
        return urllib.request.urlopen(os.environ["AWS_ENDPOINT_URL"] + "/_hearth/health", timeout=5).read().decode()
`)
	out, err := h.Client().Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("asks")})
	if err != nil {
		t.Fatal(err)
	}
	if want := `"{\"status\":\"ok\"}"`; string(out.Payload) != want {
		t.Errorf("got %s, want %s", out.Payload, want)
	}
}
