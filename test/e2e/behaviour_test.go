package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/test/harness"
)

func TestEcho(t *testing.T) {
	t.Parallel()
	eachRuntime(t, func(t *testing.T, runtime string) {
		f := deploy(t, runtime, handler(wholes[runtime]))
		for _, payload := range []string{
			`{}`, `null`, `true`, `0`, `-1.5e+30`, `"text"`, `[]`, `[[[]]]`, `{"a":{"b":[1,2,{"c":null}]}}`,
			`"ü ß € 漢字 😀 \u0000 \" \\ \n"`, `"  "`, `{"":""}`, ` { "spaces" : 1 } `,
			`"` + strings.Repeat("ü", 100_000) + `"`,
		} {
			r, err := f.send(t.Context(), []byte(payload))
			if err != nil {
				t.Fatalf("%.80s: %v", payload, err)
			}
			if r.failure != "" || !sameJSON(t, r.payload, []byte(payload)) {
				t.Errorf("sent %.80s\ngot  %.300s", payload, r.payload)
			}
		}
		// AWS gives functions an empty object for an empty payload.
		if r, err := f.send(t.Context(), nil); err != nil || string(r.payload) != "{}" {
			t.Errorf("no payload: got %s, %v; want {}", r.payload, err)
		}
		for _, payload := range []string{"{", "hello", `{"a":1}x`, "\xff", "'a'", "NaN"} {
			_, err := f.send(t.Context(), []byte(payload))
			wantError(t, err, "InvalidRequestContentException", "Could not parse request body into json: …")
		}
	})
}

func sameJSON(t *testing.T, a, b []byte) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal(a, &x); err != nil {
		t.Errorf("%v: %.100s", err, a)
		return false
	}
	if err := json.Unmarshal(b, &y); err != nil {
		t.Fatal(err)
	}
	return reflect.DeepEqual(x, y)
}

// limit is how many bytes an event may have, and answerLimit an answer.
const (
	limit       = 6 << 20
	answerLimit = limit + 100
)

func TestPayloadLimits(t *testing.T) {
	t.Parallel()
	eachRuntime(t, func(t *testing.T, runtime string) {
		f := deploy(t, runtime, memory(512))
		const frame = len(`{"blob":"","do":"measure"}`)
		var got int
		f.do(t, event{"do": "measure", "blob": strings.Repeat("x", limit-frame)}, &got)
		if got != limit-frame {
			t.Errorf("the function got %d bytes, want %d", got, limit-frame)
		}
		_, err := f.send(t.Context(), []byte(`{"do":"measure","blob":"`+strings.Repeat("x", limit-frame+1)+`"}`))
		wantError(t, err, "RequestTooLargeException", fmt.Sprintf("Request must be smaller than %d bytes for the InvokeFunction operation", limit))
		if status(err) != 413 {
			t.Errorf("status %d, want 413", status(err))
		}

		quotes := len(`""`)
		var text string
		f.do(t, event{"do": "big", "size": answerLimit - quotes}, &text)
		if len(text) != answerLimit-quotes {
			t.Errorf("answer of %d bytes, want %d", len(text), answerLimit-quotes)
		}
		for _, size := range []int{answerLimit - quotes + 1, 7 << 20} {
			got := f.invoke(t, event{"do": "big", "size": size}).failed(t)
			// Recorded as invoke-035.
			want := failure{Type: "Function.ResponseSizeTooLarge", Message: "Response payload size exceeded maximum allowed payload size (6291556 bytes)."}
			if got.Type != want.Type || got.Message != want.Message {
				t.Errorf("answer of %d bytes: got %+v, want %+v", size+quotes, got, want)
			}
		}
		// The clients of the Runtime API that AWS publishes end when their
		// answer is refused; the next invoke gets an environment all the same.
		f.do(t, event{"do": "state"}, nil)
	})
}

func TestHandledError(t *testing.T) {
	t.Parallel()
	eachRuntime(t, func(t *testing.T, runtime string) {
		f := deploy(t, runtime)
		var before, after struct {
			Instance string
			Count    int
		}
		f.do(t, event{"do": "state"}, &before)
		r := f.invoke(t, event{"do": "fail"})
		got := r.failed(t)
		if got.Message != "it went wrong: ü" || got.Type != "Boom" {
			t.Errorf("got %s", r.payload)
		}
		switch runtime {
		case python:
			if got.ID == nil || *got.ID != r.id {
				t.Errorf("requestId: got %s, want %s", r.payload, r.id)
			}
			if len(got.Stack) != 2 || !regexp.MustCompile(`^  File "/var/task/app\.py", line \d+, in fail\n    raise Boom`).MatchString(fmt.Sprint(got.Stack[1])) {
				t.Errorf("stackTrace: got %q", got.Stack)
			}
			wantMatch(t, r.log, `\[ERROR\] Boom: it went wrong: ü\r?\s*Traceback \(most recent call last\):`)
		case node:
			if len(got.Trace) < 2 || got.Trace[0] != "Boom: it went wrong: ü" || !strings.Contains(fmt.Sprint(got.Trace[1]), "/var/task/index.js:") {
				t.Errorf("trace: got %q", got.Trace)
			}
			wantMatch(t, r.log, `\tERROR\tInvoke Error \t\{"errorType":"Boom","errorMessage":"it went wrong: ü"`)
		}
		f.do(t, event{"do": "state"}, &after)
		if after.Instance != before.Instance || after.Count != before.Count+1 {
			t.Errorf("a handled error has ended the environment: %+v, %+v", before, after)
		}
	})
}

func wantMatch(t *testing.T, text, pattern string) {
	t.Helper()
	if !regexp.MustCompile(pattern).MatchString(text) {
		t.Errorf("%q does not match %s", text, pattern)
	}
}

// TestGoPanic is about what only Go has: its runtime answers, then exits.
func TestGoPanic(t *testing.T) {
	t.Parallel()
	f := deploy(t, provided)
	got := f.invoke(t, event{"do": "panic"}).failed(t)
	if got.Message != "out of the blue" || got.Type != "string" || len(got.Stack) == 0 {
		t.Errorf("got %+v", got)
	}
	f.do(t, event{"do": "state"}, nil)
}

// TestBadInit is about functions that cannot be initialised.
func TestBadInit(t *testing.T) {
	t.Parallel()
	noFile := func(t *testing.T) []byte { return harness.Zip(t, map[string]string{"readme": "nothing to run"}) }
	throws := map[string]string{python: `{"errorMessage": "no init today", "errorType": "Boom", "requestId": ""`, node: `"errorMessage":"no init today"`}
	tests := []struct {
		name, runtime string
		options       func(t *testing.T) []option
		kind, message string // patterns
		payload       string
	}{
		{name: "throws", runtime: python, kind: "Boom", message: "no init today", payload: throws[python],
			options: func(*testing.T) []option { return []option{variables("AT_INIT", "raise")} }},
		{name: "throws", runtime: node, kind: "Boom", message: "no init today", payload: throws[node],
			options: func(*testing.T) []option { return []option{variables("AT_INIT", "raise")} }},
		{name: "throws", runtime: provided, kind: `Runtime\.ExitError`, message: `RequestId: ID Error: Runtime exited with error: exit status 2`,
			options: func(*testing.T) []option { return []option{variables("AT_INIT", "raise")} }},
		{name: "no module", runtime: python, kind: `Runtime\.ImportModuleError`, message: `Unable to import module 'gone': No module named 'gone'`,
			options: func(*testing.T) []option { return []option{handler("gone.handler")} }},
		{name: "no module", runtime: node, kind: `Runtime\.ImportModuleError`, message: `Error: Cannot find module 'gone'\nRequire stack:\n(?s:.*)`,
			options: func(*testing.T) []option { return []option{handler("gone.handler")} }},
		{name: "no handler", runtime: python, kind: `Runtime\.HandlerNotFound`, message: `Handler 'gone' missing on module 'app'`,
			options: func(*testing.T) []option { return []option{handler("app.gone")} }},
		{name: "no handler", runtime: node, kind: `Runtime\.HandlerNotFound`, message: `index\.gone is undefined or not exported`,
			options: func(*testing.T) []option { return []option{handler("index.gone")} }},
		{name: "handler without a dot", runtime: python, kind: `Runtime\.MalformedHandlerName`, message: `Bad handler 'app': .*`,
			options: func(*testing.T) []option { return []option{handler("app")} }},
		{name: "handler without a dot", runtime: node, kind: `Runtime\.MalformedHandlerName`, message: `Bad handler`,
			options: func(*testing.T) []option { return []option{handler("index")} }},
		{name: "syntax error", runtime: python, kind: `Runtime\.UserCodeSyntaxError`, message: `Syntax error in module 'app': .*`,
			options: func(t *testing.T) []option {
				return []option{archive(harness.Zip(t, map[string]string{"app.py": "def handler(:\n"}))}
			}},
		{name: "syntax error", runtime: node, kind: `Runtime\.UserCodeSyntaxError`, message: `SyntaxError: .*`,
			options: func(t *testing.T) []option {
				return []option{archive(harness.Zip(t, map[string]string{"index.js": "exports.handler = (=>"}))}
			}},
		{name: "no bootstrap", runtime: provided, kind: `Runtime\.InvalidEntrypoint`, message: `RequestId: ID Error: Couldn't find valid bootstrap\(s\): \[/var/task/bootstrap /opt/bootstrap\]`,
			options: func(t *testing.T) []option { return []option{archive(noFile(t))} }},
		{name: "exits", runtime: python, kind: `Runtime\.ExitError`, message: `RequestId: ID Error: Runtime exited with error: exit status 7`,
			options: func(*testing.T) []option { return []option{variables("AT_INIT", "exit")} }},
		{name: "exits", runtime: node, kind: `Runtime\.ExitError`, message: `RequestId: ID Error: Runtime exited with error: exit status 7`,
			options: func(*testing.T) []option { return []option{variables("AT_INIT", "exit")} }},
		{name: "exits", runtime: provided, kind: `Runtime\.ExitError`, message: `RequestId: ID Error: Runtime exited with error: exit status 7`,
			options: func(*testing.T) []option { return []option{variables("AT_INIT", "exit")} }},
		{name: "wrapper is missing", runtime: python, kind: `Runtime\.ExitError`, message: `RequestId: ID Error: Runtime exited with error: exit status 127`,
			// Recorded as invoke-033.
			options: func(*testing.T) []option { return []option{variables("AWS_LAMBDA_EXEC_WRAPPER", "/var/task/gone")} }},
	}
	for _, test := range tests {
		t.Run(test.name+" "+test.runtime, func(t *testing.T) {
			t.Parallel()
			f := deploy(t, test.runtime, test.options(t)...)
			// The second is one more init, or the last failure again.
			for range 2 {
				r := f.invoke(t, event{"do": "state"})
				got := r.failed(t)
				if !regexp.MustCompile("^" + test.kind + "$").MatchString(got.Type) {
					t.Errorf("type %q, want %s", got.Type, test.kind)
				}
				if m := regexp.MustCompile(`RequestId: [0-9a-f-]{36} `).ReplaceAllString(got.Message, "RequestId: ID "); !regexp.MustCompile("^" + test.message + "$").MatchString(m) {
					t.Errorf("message %q, want %s", got.Message, test.message)
				}
				if !strings.Contains(string(r.payload), test.payload) {
					t.Errorf("payload %s, want %s in it", r.payload, test.payload)
				}
			}
			// Mending it is all it takes.
			f.mend(t, test.runtime)
			f.do(t, event{"do": "state"}, nil)
		})
	}
}

// mend gives the function the code and configuration of a good one.
func (f *function) mend(t *testing.T, runtime string) {
	t.Helper()
	_, err := f.client.UpdateFunctionCode(t.Context(), &lambda.UpdateFunctionCodeInput{FunctionName: &f.name, ZipFile: code(t, runtime, "2")})
	if err != nil {
		t.Fatal(err)
	}
	f.wait(t)
	_, err = f.client.UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{
		FunctionName: &f.name, Handler: aws.String(handlers[runtime]), Environment: &types.Environment{Variables: map[string]string{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	f.wait(t)
}

// TestInitNeverEnds is about a function that never asks for its first event:
// after ten seconds its init is cut off, and runs again in the first invoke.
func TestInitNeverEnds(t *testing.T) {
	t.Parallel()
	f := deploy(t, python, variables("AT_INIT", "sleep"), timeout(1))
	r := f.invoke(t, event{"do": "state"})
	wantTimeout(t, r, "1.00")
	wantMatch(t, hearth(t, shared, "logs", f.name), `INIT_REPORT Init Duration: \d+\.\d\d ms\tPhase: init\tStatus: timeout`)
}

func wantTimeout(t *testing.T, r result, seconds string) {
	t.Helper()
	got := r.failed(t)
	want := "RequestId: " + r.id + " Error: Task timed out after " + seconds + " seconds"
	if got.Type != "Sandbox.Timedout" || got.Message != want {
		t.Errorf("got %s, want %s", r.payload, want)
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	eachRuntime(t, func(t *testing.T, runtime string) {
		f := deploy(t, runtime, timeout(1))
		var before, after struct {
			Instance string
			Count    int
		}
		f.do(t, event{"do": "state"}, &before)
		r := f.invoke(t, event{"do": "sleep", "seconds": 30, "say": "going to bed"})
		wantTimeout(t, r, "1.00")
		wantMatch(t, r.log, `going to bed\n(?s:.*)Task timed out after 1\.00 seconds\n(?s:.*)REPORT RequestId: .*\tStatus: timeout`)
		f.do(t, event{"do": "state"}, &after)
		if after.Instance == before.Instance || after.Count != 1 {
			t.Errorf("the environment lives on after a timeout: %+v, %+v", before, after)
		}
	})
}

func TestExit(t *testing.T) {
	t.Parallel()
	eachRuntime(t, func(t *testing.T, runtime string) {
		f := deploy(t, runtime)
		for _, test := range []struct {
			event event
			want  string
		}{
			{event{"do": "leave", "status": 3}, "Runtime exited with error: exit status 3"},
			{event{"do": "leave", "status": 0}, "Runtime exited without providing a reason"},
			{event{"do": "kill"}, "Runtime exited with error: signal: killed"},
		} {
			r := f.invoke(t, test.event)
			got := r.failed(t)
			if want := "RequestId: " + r.id + " Error: " + test.want; got.Type != "Runtime.ExitError" || got.Message != want {
				t.Errorf("%v: got %s, want %s", test.event, r.payload, want)
			}
			f.do(t, event{"do": "state"}, nil)
		}
	})
}

// TestOutOfMemory gives its functions the least memory, hence the least CPU:
// they must come to their end all the same.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	eachRuntime(t, func(t *testing.T, runtime string) {
		f := deploy(t, runtime, memory(128), timeout(30))
		f.do(t, event{"do": "state"}, nil)
		r := f.invoke(t, event{"do": "hog"})
		got := r.failed(t)
		if want := "RequestId: " + r.id + " Error: Runtime exited with error: signal: killed"; got.Type != "Runtime.OutOfMemory" || got.Message != want {
			t.Errorf("got %s, want %s", r.payload, want)
		}
		wantMatch(t, r.log, `REPORT .*\tMemory Size: 128 MB\tMax Memory Used: 128 MB\t.*Status: error\tError Type: Runtime\.OutOfMemory`)
		f.do(t, event{"do": "state"}, nil)
	})
}

func TestEnvironmentIsReused(t *testing.T) {
	t.Parallel()
	eachRuntime(t, func(t *testing.T, runtime string) {
		f := deploy(t, runtime)
		var first, got struct {
			Count, PID int
			Instance   string
		}
		f.do(t, event{"do": "state"}, &first)
		for i := 2; i <= 20; i++ {
			f.do(t, event{"do": "state"}, &got)
			if got.Count != i || got.PID != first.PID || got.Instance != first.Instance {
				t.Fatalf("invoke %d: got %+v, the first was %+v", i, got, first)
			}
		}
	})
}

// TestParallelInvokes holds some invokes for as long as it takes to start
// environments: none can be given to two of them.
func TestParallelInvokes(t *testing.T) {
	t.Parallel()
	f := deploy(t, python, memory(128))
	const n = 3
	type answer struct {
		instance string
		err      error
	}
	answers := make(chan answer, n)
	for range n {
		go func() {
			r, err := f.send(t.Context(), []byte(`{"do":"sleep","seconds":3}`))
			var got struct{ Instance string }
			if err == nil {
				err = json.Unmarshal(r.payload, &got)
			}
			answers <- answer{got.Instance, err}
		}()
	}
	seen := map[string]bool{}
	for range n {
		a := <-answers
		if a.err != nil {
			t.Fatal(a.err)
		}
		seen[a.instance] = true
	}
	if len(seen) != n {
		t.Errorf("%d parallel invokes ran in %d environments", n, len(seen))
	}
}

func TestVariables(t *testing.T) {
	t.Parallel()
	eachRuntime(t, func(t *testing.T, runtime string) {
		f := deploy(t, runtime, memory(256), variables("COLOUR", "blaßrosa", "EMPTY", "", "LINES", "a\nb", "QUOTES", `"'$HOME\`, "LANG", "C.UTF-8"))
		var got map[string]string
		f.do(t, event{"do": "environment"}, &got)
		want := map[string]string{
			"COLOUR": "blaßrosa", "EMPTY": "", "LINES": "a\nb", "QUOTES": `"'$HOME\`, "LANG": "C.UTF-8",
			"_HANDLER": handlers[runtime], "TZ": ":UTC", "LAMBDA_TASK_ROOT": "/var/task", "LAMBDA_RUNTIME_DIR": "/var/runtime",
			"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
			"AWS_LAMBDA_FUNCTION_NAME": f.name, "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "256",
			"AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/" + f.name, "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
		}
		if runtime != provided {
			want["AWS_EXECUTION_ENV"] = "AWS_Lambda_" + runtime
		}
		for name, value := range want {
			if v, ok := got[name]; !ok || v != value {
				t.Errorf("%s=%q (there: %v), want %q", name, v, ok, value)
			}
		}
		wantMatch(t, got["AWS_LAMBDA_LOG_STREAM_NAME"], `^\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}$`)
		if got["AWS_LAMBDA_RUNTIME_API"] == "" {
			t.Error("AWS_LAMBDA_RUNTIME_API is not set")
		}
		// The root keys are the account's, and no function's.
		for name, value := range got {
			if strings.Contains(value, shared.Account.SecretAccessKey) || strings.Contains(value, shared.Account.AccessKeyID) {
				t.Errorf("%s holds the root keys", name)
			}
		}
	})
}

func TestContext(t *testing.T) {
	t.Parallel()
	eachRuntime(t, func(t *testing.T, runtime string) {
		f := deploy(t, runtime, memory(192), timeout(20))
		var got struct {
			Name, Version, ARN, ID, Group, Stream string
			Memory, Remaining                     int
			Custom                                map[string]string
		}
		r := f.do(t, event{"do": "describe"}, &got)
		arn := "arn:aws:lambda:us-east-1:000000000000:function:" + f.name
		if got.Name != f.name || got.Version != "$LATEST" || got.ARN != arn || got.ID != r.id || got.Group != "/aws/lambda/"+f.name || got.Memory != 192 {
			t.Errorf("got %+v", got)
		}
		if got.Remaining <= 10_000 || got.Remaining > 20_000 {
			t.Errorf("%d ms remain of 20 s", got.Remaining)
		}
		if got.Custom != nil {
			t.Errorf("client context %v without one sent", got.Custom)
		}
		// As the caller says, with qualifier and by ARN.
		clientContext := base64.StdEncoding.EncodeToString([]byte(`{"custom":{"k":"ü"},"client":{"app_title":"t"}}`))
		r, err := f.send(t.Context(), []byte(`{"do":"describe"}`), func(in *lambda.InvokeInput) {
			in.FunctionName, in.ClientContext = aws.String(arn+":$LATEST"), &clientContext
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(r.payload, &got); err != nil {
			t.Fatal(err)
		}
		if got.Custom["k"] != "ü" || got.ARN != arn+":$LATEST" {
			t.Errorf("got %+v", got)
		}
	})
}

// TestTmp is about the disk of a function: it lasts as long as the
// environment, ends at 512 MB, and is no memory.
func TestTmp(t *testing.T) {
	t.Parallel()
	f := deploy(t, python, memory(128), timeout(120))
	var kept struct {
		MB    int
		Error *string
	}
	f.do(t, event{"do": "keep", "name": "big", "mb": 400}, &kept)
	if kept.MB != 400 || kept.Error != nil {
		t.Fatalf("400 MB in /tmp of a function with 128 MB of memory: got %+v", kept)
	}
	f.do(t, event{"do": "keep", "name": "more", "mb": 400}, &kept)
	if kept.Error == nil || *kept.Error != "ENOSPC" || kept.MB < 90 || kept.MB > 112 {
		t.Errorf("beyond 512 MB: got %+v", kept)
	}
	var files map[string]int
	r := f.do(t, event{"do": "files"}, &files)
	if files["big"] != 400<<20 || len(files) != 2 {
		t.Errorf("/tmp holds %v", files)
	}
	if m := regexp.MustCompile(`Max Memory Used: (\d+) MB`).FindStringSubmatch(r.log); m == nil || len(m[1]) > 2 {
		t.Errorf("what is in /tmp counts as memory: %s", r.log)
	}
}

// TestFileSystem is about what a function must not write.
func TestFileSystem(t *testing.T) {
	t.Parallel()
	f := deploy(t, python)
	var got map[string]*string
	paths := []string{"/var/task/app.py", "/var/task/new", "/var/runtime/bootstrap", "/etc/passwd", "/new", "/usr/bin/env", "/opt/new", "/proc/sys/kernel/hostname", "/tmp/fine"}
	f.do(t, event{"do": "write", "paths": paths}, &got)
	for path, err := range got {
		if path == "/tmp/fine" {
			if err != nil {
				t.Errorf("%s: %s", path, *err)
			}
		} else if err == nil {
			t.Errorf("%s was written", path)
		}
	}
	var who struct {
		UID, GID int
		Task     string
	}
	f.do(t, event{"do": "identity"}, &who)
	if who.UID == 0 || who.GID == 0 || who.Task != "/var/task" {
		t.Errorf("got %+v", who)
	}
}

// TestFork is about processes: some are allowed, and a bomb ends with its
// environment. In gVisor a process costs its function some MB, so that
// memory runs out before the 1,024 processes that are allowed.
func TestFork(t *testing.T) {
	t.Parallel()
	f := deploy(t, python, timeout(2), memory(512))
	var got struct {
		Children int
		Refused  *string
	}
	f.do(t, event{"do": "fork", "most": 10}, &got)
	if got.Children != 10 || got.Refused != nil {
		t.Errorf("got %+v, want 10 children", got)
	}
	for range 2 {
		f.invoke(t, event{"do": "bomb"}).failed(t)
		f.do(t, event{"do": "state"}, nil)
	}
}

// TestClientGoesAway is about a caller that does not wait for its answer: the
// function runs to its end.
func TestClientGoesAway(t *testing.T) {
	t.Parallel()
	f := deploy(t, python)
	f.do(t, event{"do": "state"}, nil)
	ctx, hangUp := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := f.send(ctx, []byte(`{"do":"sleep","seconds":5,"say":"lights out"}`))
		ended <- err
	}()
	eventually(t, "the function runs", func() bool { return strings.Contains(hearth(t, shared, "logs", f.name), "lights out") })
	hangUp()
	if err := <-ended; err == nil {
		t.Fatal("the invoke ended before its caller went away")
	}
	eventually(t, "the function has run to its end", func() bool { return strings.Contains(hearth(t, shared, "logs", f.name), "slept well") })
	var got struct{ Count int }
	if f.do(t, event{"do": "state"}, &got); got.Count != 2 {
		t.Errorf("the environment was not kept: count %d, want 2", got.Count)
	}
}
