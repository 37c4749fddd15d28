package e2e

import (
	"bufio"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/test/harness"
)

// speaker is a function that logs the text of its event, at every level that
// its logger has if it is asked for a chorus.
var speaker = map[string]map[string]string{
	python: {"app.py": `
import logging

logger = logging.getLogger()


def handler(event, context):
    if "chorus" in event:
        for say in (logger.debug, logger.info, logger.warning, logger.error):
            say(event["chorus"])
        return
    print(event["say"])
`},
	node: {"index.js": `
exports.handler = async (event) => {
  if (event.chorus) {
    for (const level of ['trace', 'debug', 'info', 'warn', 'error']) console[level](event.chorus);
    return;
  }
  console.log(event.say);
};
`},
}

// speaking deploys a speaker.
func speaking(t *testing.T, runtime string, logging *types.LoggingConfig) *function {
	t.Helper()
	return deploy(t, runtime, archive(harness.Zip(t, speaker[runtime])), func(in *lambda.CreateFunctionInput) { in.LoggingConfig = logging })
}

// TestLogsWithBoto3 reads and writes logs with boto3, of a function that logs
// text and of one that logs JSON to a group of its own.
func TestLogsWithBoto3(t *testing.T) {
	t.Parallel()
	interpreter := tool(t, "python3")
	own := "/tests/json/" + nameOf(t)
	for name, logging := range map[string]*types.LoggingConfig{
		"text": nil,
		"JSON": {LogFormat: types.LogFormatJson, LogGroup: &own},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := speaking(t, python, logging)
			group := "/aws/lambda/" + f.name
			if logging != nil {
				group = own
			}
			script(t, nil, interpreter, filepath.Join(root(t), "test/python/logs.py"), f.name, group)
		})
	}
}

// TestLogsTail follows a function's log with aws logs tail, which version 2 of
// the AWS CLI has, and with aws logs start-live-tail, which later ones have.
func TestLogsTail(t *testing.T) {
	t.Parallel()
	f := speaking(t, node, nil)
	f.do(t, event{"say": "before"}, nil) // makes the group
	group := "/aws/lambda/" + f.name
	followers := 0
	for _, cli := range findAWS(t) {
		args := []string{"logs", "start-live-tail", "--log-group-identifiers", "arn:aws:logs:us-east-1:000000000000:log-group:" + group}
		if cli.v2 {
			args = []string{"logs", "tail", group, "--follow", "--since", "10m", "--format", "short"}
		}
		followers++
		t.Run(filepath.Base(args[1]), func(t *testing.T) {
			t.Parallel()
			lines := cli.follow(t, args...)
			if cli.v2 {
				lines.want(t, "before")
				f.do(t, event{"say": "afterwards"}, nil)
				lines.want(t, "afterwards")
				return
			}
			// A live tail begins at some moment: until then, say it again.
			eventually(t, "the live tail tells of a line", func() bool {
				f.do(t, event{"say": "now and then"}, nil)
				return lines.has(t, "now and then")
			})
		})
	}
	if followers < 2 {
		t.Error("there is no AWS CLI of version 2, which has logs tail; install it with: apt-get install awscli")
	}
}

// lines is the output of a command that goes on.
type lines struct{ ch chan string }

// follow starts a command and reads its output until the test ends.
func (c *awsCLI) follow(t *testing.T, args ...string) *lines {
	t.Helper()
	if c.v2 {
		args = append(args, "--endpoint-url", shared.URL)
	}
	cmd := exec.CommandContext(t.Context(), c.program, args...)
	cmd.Dir = c.dir
	cmd.Env = append(shared.Env(), "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null",
		"AWS_DISABLE_HOST_PREFIX_INJECTION=true", "PYTHONUNBUFFERED=1")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	l := &lines{ch: make(chan string, 10_000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		scanner := bufio.NewScanner(out)
		for scanner.Scan() {
			l.ch <- scanner.Text()
		}
		close(l.ch)
	}()
	t.Cleanup(func() {
		<-done // the test's context has ended, and with it the command
		_ = cmd.Wait()
	})
	return l
}

// has looks whether a text has come by now.
func (l *lines) has(t *testing.T, text string) bool {
	t.Helper()
	for {
		select {
		case line, ok := <-l.ch:
			if !ok {
				t.Fatalf("the command ended without %q", text)
			}
			if strings.Contains(line, text) {
				return true
			}
		default:
			return false
		}
	}
}

// want waits for a line with a text.
func (l *lines) want(t *testing.T, text string) {
	t.Helper()
	var all []string
	for line := range l.ch {
		if strings.Contains(line, text) {
			return
		}
		all = append(all, line)
	}
	t.Fatalf("the command ended without %q:\n%s", text, strings.Join(all, "\n"))
}

// TestLogLevels is about the levels of JSON lines: the function's own by its
// logger, the platform's by the platform.
func TestLogLevels(t *testing.T) {
	t.Parallel()
	for _, runtime := range []string{python, node} {
		t.Run(runtime, func(t *testing.T) {
			t.Parallel()
			for _, tt := range []struct {
				app           types.ApplicationLogLevel
				system        types.SystemLogLevel
				own, platform string
			}{
				{types.ApplicationLogLevelWarn, types.SystemLogLevelWarn, "WARN ERROR", ""},
				{types.ApplicationLogLevelInfo, types.SystemLogLevelInfo, "INFO WARN ERROR", "start report"},
				{types.ApplicationLogLevelDebug, types.SystemLogLevelDebug, "DEBUG INFO WARN ERROR", "start runtimeDone report"},
			} {
				f := speaking(t, runtime, &types.LoggingConfig{
					LogFormat: types.LogFormatJson, ApplicationLogLevel: tt.app, SystemLogLevel: tt.system,
				})
				own, platform := levelsOf(t, f.do(t, event{"chorus": "la"}, nil).log)
				if own != tt.own || platform != tt.platform {
					t.Errorf("%s %s: got %q and %q, want %q and %q", tt.app, tt.system, own, platform, tt.own, tt.platform)
				}
			}
		})
	}
}

// levelsOf reads the levels of a tail's lines, and the platform's events.
func levelsOf(t *testing.T, tail string) (own, platform string) {
	t.Helper()
	var mine, theirs []string
	for line := range strings.Lines(tail) {
		var l struct{ Level, Message, RequestID, Type string }
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		switch {
		case l.Type != "":
			theirs = append(theirs, strings.TrimPrefix(l.Type, "platform."))
		case l.Message != "la" || l.RequestID == "":
			t.Errorf("line %q", line)
		default:
			mine = append(mine, regexp.MustCompile("WARNING").ReplaceAllString(l.Level, "WARN"))
		}
	}
	return strings.Join(mine, " "), strings.Join(theirs, " ")
}
