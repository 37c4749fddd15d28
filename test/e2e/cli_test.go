package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hearth/test/harness"
)

// awsCLI is the AWS CLI in a directory of its own.
type awsCLI struct {
	program, dir string
	v2           bool
}

// findAWS finds the AWS CLIs on this machine: the one that the tests install
// and, if there is one of the other version, that on the PATH.
func findAWS(t *testing.T) []*awsCLI {
	t.Helper()
	programs := []string{tool(t, "aws")}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		programs = append(programs, filepath.Join(dir, "aws"))
	}
	var found []*awsCLI
	for _, program := range programs {
		version, err := exec.CommandContext(t.Context(), program, "--version").CombinedOutput()
		if err != nil {
			continue
		}
		c := &awsCLI{program: program, dir: t.TempDir(), v2: bytes.HasPrefix(version, []byte("aws-cli/2"))}
		if !slices.ContainsFunc(found, func(other *awsCLI) bool { return other.v2 == c.v2 }) {
			found = append(found, c)
			t.Logf("%s: %s", program, version)
		}
	}
	return found
}

// run runs a command and returns its output, without the line's end.
func (c *awsCLI) run(t *testing.T, args ...string) (string, error) {
	t.Helper()
	if !c.v2 {
		// Version 1 takes payloads as they are and has no option for it.
		if i := slices.Index(args, "--cli-binary-format"); i >= 0 {
			args = slices.Delete(slices.Clone(args), i, i+2)
		}
	}
	if c.v2 {
		// Before 2.13, as in Debian 12, it does not know AWS_ENDPOINT_URL.
		args = append(slices.Clone(args), "--endpoint-url", shared.URL)
	}
	cmd := exec.CommandContext(t.Context(), c.program, args...)
	cmd.Dir = c.dir
	cmd.Env = append(shared.Env(), "AWS_MAX_ATTEMPTS=1", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		return stderr.String(), err
	}
	return strings.TrimSuffix(stdout.String(), "\n"), nil
}

// want runs a command that must succeed.
func (c *awsCLI) want(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.run(t, args...)
	if err != nil {
		t.Fatalf("aws %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

func (c *awsCLI) write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (c *awsCLI) read(t *testing.T, name string) string {
	t.Helper()
	return read(t, filepath.Join(c.dir, name))
}

// TestAWSCLI takes a function through its life with the AWS CLI.
func TestAWSCLI(t *testing.T) {
	t.Parallel()
	for i, c := range findAWS(t) {
		name := fmt.Sprintf("cli-%d", i+1)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			lifeWithCLI(t, c, name)
		})
	}
}

func lifeWithCLI(t *testing.T, c *awsCLI, name string) {
	t.Helper()
	c.write(t, "hi.zip", harness.Zip(t, map[string]string{"app.py": "def handler(event, context):\n    print('greeting')\n    return 'Hello, ' + event['name']\n"}))
	c.write(t, "ho.zip", harness.Zip(t, map[string]string{"app.py": "import os\ndef handler(event, context):\n    return os.environ.get('GREETING', 'Ho') + ', ' + event['name']\n"}))
	lambda := func(args ...string) string {
		t.Helper()
		return c.want(t, append([]string{"lambda"}, args...)...)
	}
	invoke := func(want string) {
		t.Helper()
		lambda("invoke", "--function-name", name, "--payload", `{"name":"you"}`, "--cli-binary-format", "raw-in-base64-out", "out.json")
		if got := c.read(t, "out.json"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if got := c.want(t, "sts", "get-caller-identity", "--query", "[Account, Arn]", "--output", "text"); got != "000000000000\tarn:aws:iam::000000000000:root" {
		t.Errorf("caller is %q", got)
	}
	lambda("create-function", "--function-name", name, "--runtime", "python3.11", "--handler", "app.handler", "--role", role, "--zip-file", "fileb://hi.zip")
	lambda("wait", "function-active-v2", "--function-name", name)
	out := lambda("invoke", "--function-name", name, "--payload", `{"name":"you"}`, "--cli-binary-format", "raw-in-base64-out", "--log-type", "Tail", "out.json",
		"--query", "LogResult", "--output", "text")
	if got := c.read(t, "out.json"); got != `"Hello, you"` {
		t.Errorf("got %s", got)
	}
	if log := decode64(t, out); !strings.Contains(log, "greeting\n") || !strings.Contains(log, "REPORT RequestId: ") {
		t.Errorf("log %q", log)
	}

	lambda("update-function-code", "--function-name", name, "--zip-file", "fileb://ho.zip")
	lambda("wait", "function-updated", "--function-name", name)
	invoke(`"Ho, you"`)
	lambda("update-function-configuration", "--function-name", name, "--timeout", "5", "--memory-size", "192", "--environment", "Variables={GREETING=Servus}")
	lambda("wait", "function-updated-v2", "--function-name", name)
	invoke(`"Servus, you"`)

	var found struct {
		Configuration struct {
			CodeSha256 string
			Timeout    int
		}
		Code struct{ Location string }
	}
	if err := json.Unmarshal([]byte(lambda("get-function", "--function-name", name)), &found); err != nil {
		t.Fatal(err)
	}
	if _, body := get(t, found.Code.Location); string(body) != c.read(t, "ho.zip") || sum(body) != found.Configuration.CodeSha256 || found.Configuration.Timeout != 5 {
		t.Errorf("got %+v and %d bytes", found, len(body))
	}
	if got := lambda("list-functions", "--page-size", "1", "--query", "Functions[?FunctionName=='"+name+"'].MemorySize", "--output", "text"); got != "192" {
		t.Errorf("list-functions: %q", got)
	}
	arn := "arn:aws:lambda:us-east-1:000000000000:function:" + name
	lambda("tag-resource", "--resource", arn, "--tags", "stage=test")
	if got := lambda("list-tags", "--resource", arn, "--query", "Tags.stage", "--output", "text"); got != "test" {
		t.Errorf("tag %q", got)
	}
	if got := lambda("invoke", "--function-name", name, "--invocation-type", "DryRun", "out.json", "--query", "StatusCode"); got != "204" {
		t.Errorf("dry run: %s", got)
	}

	lambda("delete-function", "--function-name", name)
	for _, want := range [][]string{
		{"get-function", "An error occurred (ResourceNotFoundException) when calling the GetFunction operation", ": Function not found: " + arn, "--function-name", name},
		{"invoke-async", "An error occurred (NotImplementedException) when calling the InvokeAsync operation", ": InvokeAsync is not supported yet by this version of Hearth.",
			"--function-name", name, "--invoke-args", "out.json"},
	} {
		out, err := c.run(t, append([]string{"lambda", want[0]}, want[3:]...)...)
		if err == nil || !strings.Contains(out, want[1]) || !strings.Contains(out, want[2]) {
			t.Errorf("got %v, %s, want %q", err, out, want[1:3])
		}
	}
}
