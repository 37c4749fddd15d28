package managedruntime_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"hearth/test/harness/runtimeapi"
)

// failure is the payload of an error, as both runtimes post it.
type failure struct {
	Type    string   `json:"errorType"`
	Message string   `json:"errorMessage"`
	Request *string  `json:"requestId"`
	Stack   []string `json:"stackTrace"` // Python's name
	Trace   []string `json:"trace"`      // Node's name
}

func parseFailure(t *testing.T, a runtimeapi.Answer) failure {
	t.Helper()
	var f failure
	if err := json.Unmarshal([]byte(a.Body), &f); err != nil {
		t.Fatalf("error payload %q: %v", a.Body, err)
	}
	return f
}

const requestID = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"

// TestPythonResults invokes one function with many bodies: each case is a
// handler's body and what comes of it.
func TestPythonResults(t *testing.T) {
	cases := []struct {
		name, body, payload string
		kind                string
		want                string // the answer, or errorType: errorMessage
	}{
		{"dict", "return {'hello': event['name']}", `{"name":"you"}`, "response", `{"hello": "you"}`},
		{"nothing", "pass", `{}`, "response", `null`},
		{"string", "return event", `"x"`, "response", `"x"`},
		{"unicode", "return event", `"h\u00e9 \ud83d\ude00"`, "response", `"h\u00e9 \ud83d\ude00"`},
		{"float", "return [event[0] + 1, 1e400 > 0, 0.1 + 0.2]", `[1.5]`, "response", `[2.5, true, 0.30000000000000004]`},
		{"not a number", "return float('nan')", `{}`, "response", `NaN`},
		{"decimal", "import decimal; return decimal.Decimal('1.5')", `{}`, "response", `1.5`},
		{"large integer", "return event", `12345678901234567890`, "response", `12345678901234567890`},
		{"datetime", "import datetime; return datetime.datetime(2026, 1, 1)", `{}`, "error",
			`Runtime.MarshalError: Unable to marshal response: Object of type datetime is not JSON serializable`},
		{"set", "return {1}", `{}`, "error", `Runtime.MarshalError: Unable to marshal response: Object of type set is not JSON serializable`},
		{"bad event", "return 1", `{"a":`, "error",
			`Runtime.UnmarshalError: Unable to unmarshal input: Expecting value: line 1 column 6 (char 5)`},
		{"exception", "raise ValueError('no')", `{}`, "error", `ValueError: no`},
		{"lone surrogate", "return '\\ud800'", `{}`, "response", `"\ud800"`},
	}
	source := "import json\n"
	for i, c := range cases {
		source += "def case" + string(rune('a'+i)) + "(event, context):\n    " + c.body + "\n"
	}
	source += `
NAMES = iter("abcdefghijklmnopqrstuvwxyz")
def handler(event, context):
    return globals()["case" + next(NAMES)](event, context)
`
	// An event that does not parse never reaches the handler.
	source = strings.Replace(source, `iter("abcdefghijklmnopqrstuvwxyz")`, `iter("abcdefghijlmnopqrstuvwxyz")`, 1)
	s := start(t, options{runtime: "python3.11", handler: "app.handler", task: map[string]string{"app.py": source}})
	for _, c := range cases {
		got := s.invoke(runtimeapi.Event{Payload: c.payload})
		text := got.Body
		if got.Kind == "error" {
			f := parseFailure(t, got)
			text = f.Type + ": " + f.Message
			if f.Request == nil || *f.Request != requestID {
				t.Errorf("%s: requestId of the error: got %v, want %s", c.name, f.Request, requestID)
			}
		}
		if got.Kind != c.kind || text != c.want {
			t.Errorf("%s: got %s %s, want %s %s", c.name, got.Kind, text, c.kind, c.want)
		}
	}
	if n := s.api.Connections(); n != 1 {
		t.Errorf("runtime used %d connections for its events, want 1", n)
	}
}

func TestPythonStackTrace(t *testing.T) {
	s := start(t, options{runtime: "python3.11", handler: "app.handler", task: map[string]string{
		"app.py": "def inner():\n    raise KeyError('k')\n\ndef handler(event, context):\n    return inner()\n",
	}})
	got := parseFailure(t, s.invoke(runtimeapi.Event{Payload: "{}"}))
	want := []string{
		"  File \"/var/task/app.py\", line 5, in handler\n    return inner()\n",
		"  File \"/var/task/app.py\", line 2, in inner\n    raise KeyError('k')\n",
	}
	if strings.Join(got.Stack, "") != strings.Join(want, "") || got.Type != "KeyError" || got.Message != "'k'" {
		t.Errorf("got %+v, want stack %q", got, want)
	}
	s.out.waitFor(t, regexp.MustCompile(`^\[ERROR\] KeyError: 'k'\rTraceback \(most recent call last\):\r.*\n$`))
}

// TestPythonInitErrors runs functions that cannot be loaded.
func TestPythonInitErrors(t *testing.T) {
	cases := []struct {
		name, handler string
		task          map[string]string
		want, message string
	}{
		{"no module", "app.handler", nil, "Runtime.ImportModuleError", "Unable to import module 'app': No module named 'app'"},
		{"module of its module", "app.handler", map[string]string{"app.py": "import nothere"},
			"Runtime.ImportModuleError", "Unable to import module 'app': No module named 'nothere'"},
		{"no function", "app.handler", map[string]string{"app.py": ""},
			"Runtime.HandlerNotFound", "Handler 'handler' missing on module 'app'"},
		{"bad handler", "app", nil, "Runtime.MalformedHandlerName",
			"Bad handler 'app': not enough values to unpack (expected 2, got 1)"},
		{"built-in", "sys.exit", nil, "Runtime.BuiltInModuleConflict", "Cannot use built-in module sys as a handler module"},
		{"syntax", "app.handler", map[string]string{"app.py": "def handler(:\n"},
			"Runtime.UserCodeSyntaxError", "Syntax error in module 'app': invalid syntax (app.py, line 1)"},
		{"raises", "dir/app.handler", map[string]string{"dir/app.py": "raise Exception('Runtime startup fails')"},
			"Exception", "Runtime startup fails"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, options{runtime: "python3.11", handler: c.handler, task: c.task})
			a := s.answer()
			got := parseFailure(t, a)
			if a.Kind != "init" || got.Type != c.want || got.Message != c.message {
				t.Errorf("got %s %s: %s, want init %s: %s", a.Kind, got.Type, got.Message, c.want, c.message)
			}
			if got.Request == nil || *got.Request != "" {
				t.Errorf("requestId: got %v, want the empty string", got.Request)
			}
			if h := a.Header.Get("Lambda-Runtime-Function-Error-Type"); h != c.want {
				t.Errorf("error type in the header: got %q, want %q", h, c.want)
			}
			if status := s.exit(); status != 1 {
				t.Errorf("exit status %d, want 1", status)
			}
		})
	}
}

// TestPythonImportTrace (recorded as invoke-031) checks the stack trace of a module that raises
// against the one recorded on AWS.
func TestPythonImportTrace(t *testing.T) {
	s := start(t, options{runtime: "python3.11", handler: "app.handler",
		task: map[string]string{"app.py": "raise Exception(\"Runtime startup fails\")\n"}})
	got := parseFailure(t, s.answer()).Stack
	first := regexp.MustCompile(`^  File "/var/lang/lib/python3\.11/importlib/__init__\.py", line \d+, in import_module\n    return _bootstrap\._gcd_import\(name\[level:\], package, level\)\n$`)
	last := "  File \"/var/task/app.py\", line 1, in <module>\n    raise Exception(\"Runtime startup fails\")\n"
	if len(got) < 3 || !first.MatchString(got[0]) || got[len(got)-1] != last {
		t.Errorf("got %q", got)
	}
}

func TestPythonExits(t *testing.T) {
	for body, want := range map[string]int{"sys.exit(3)": 3, "sys.exit()": 0, "os._exit(7)": 7, "os.kill(os.getpid(), 9)": 137} {
		s := start(t, options{runtime: "python3.11", handler: "app.handler",
			task: map[string]string{"app.py": "import os, sys\ndef handler(event, context):\n    " + body + "\n"}})
		s.api.Events <- runtimeapi.Event{ID: requestID, Payload: "{}"}
		if got := s.exit(); got != want {
			t.Errorf("%s: exit status %d, want %d", body, got, want)
		}
	}
}

// pythonProbe answers with everything that a function can see of its place.
const pythonProbe = `
import gc, inspect, json, logging, os, random, sys, time
START = random.random()
def handler(event, context):
    left = context.get_remaining_time_in_millis()
    logging.getLogger().warning("careful")
    print("plain")
    return {
        "id": context.aws_request_id, "arn": context.invoked_function_arn, "name": context.function_name,
        "version": context.function_version, "memory": context.memory_limit_in_mb,
        "group": context.log_group_name, "stream": context.log_stream_name,
        "left": 2000 < left <= 3000, "client": context.client_context and context.client_context.custom,
        "device": context.client_context and context.client_context.env,
        "identity": context.identity and context.identity.cognito_identity_id,
        "trace": os.environ["_X_AMZN_TRACE_ID"], "path": sys.path, "argv": sys.argv, "cwd": os.getcwd(),
        "env": dict(os.environ), "uid": [os.getuid(), os.getgid(), os.getgroups()], "prefix": sys.prefix,
        "fds": sorted(int(f) for f in os.listdir("/proc/self/fd")), "main": sys.modules["__main__"].__file__,
        "preloaded": [m for m in ("boto3", "botocore") if m in sys.modules], "tz": time.tzname[0],
        "encoding": [sys.stdout.encoding, sys.getfilesystemencoding()],
        "json": [json.__file__, json.__cached__, json.__path__, inspect.getsource(json).count("def dumps")],
        "finders": [getattr(f, "__name__", "?") for f in sys.meta_path], "gc": gc.isenabled(),
    }
`

// probe runs a probing function and returns its answer and its log.
func probe(t *testing.T, o options) (map[string]any, *output) {
	t.Helper()
	s := start(t, o)
	a := s.invoke(runtimeapi.Event{Payload: "{}", Header: map[string]string{
		"Lambda-Runtime-Client-Context":   `{"custom":{"k":"v"},"env":{"make":"m"},"client":{"app_title":"a"}}`,
		"Lambda-Runtime-Cognito-Identity": `{"cognitoIdentityId":"id","cognitoIdentityPoolId":"pool"}`,
	}})
	if a.Kind != "response" {
		t.Fatalf("got %s %s", a.Kind, a.Body)
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(a.Body), &got); err != nil {
		t.Fatal(err)
	}
	return got, s.out
}

// prewarmedIsNoDifferent compares what a probing function sees when its runtime
// was started ahead of its assignment and when it was not.
func prewarmedIsNoDifferent(t *testing.T, o options) {
	t.Helper()
	o.env = map[string]string{"CUSTOM": "1 2\n3", "TZ": "America/New_York"}
	fresh, _ := probe(t, o)
	o.prewarm = true
	warm, _ := probe(t, o)
	for _, m := range []map[string]any{fresh, warm} {
		delete(m["env"].(map[string]any), "AWS_LAMBDA_RUNTIME_API") // another port
	}
	for name := range fresh {
		a, _ := json.Marshal(fresh[name])
		b, _ := json.Marshal(warm[name])
		if string(a) != string(b) {
			t.Errorf("%s: fresh %s, prewarmed %s", name, a, b)
		}
	}
}

func TestPythonPrewarmedIsNoDifferent(t *testing.T) {
	prewarmedIsNoDifferent(t, options{runtime: "python3.11", handler: "app.handler", task: map[string]string{"app.py": pythonProbe}})
}

// pythonModules answers with the differences between the modules and regular
// expressions that the runtime has loaded and those of a process that imports
// the same from their files.
const pythonModules = `
import json, marshal, subprocess, sys
SOURCE = """
import importlib, json, re, sys
def describe(names):
    seen = {"import": importlib._bootstrap._find_and_load.__module__, "compile": re._compiler.compile.__module__}
    modules = [importlib.import_module(name) for name in names]
    for name, module in zip(names, modules):
        spec, loader = module.__spec__, module.__loader__
        parent, _, child = name.rpartition(".")
        seen.update({
            name + " is": repr(module), name + " has": sorted(vars(module)), name + " loader": [repr(type(loader)), vars(loader)],
            name + " spec": {k: v for k, v in vars(spec).items() if k != "loader"}, name + " its": spec.loader is loader,
            name + " attributes": [getattr(module, a, "") for a in ("__name__", "__doc__", "__package__", "__file__", "__cached__", "__path__")],
            name + " in parent": parent == "" or getattr(sys.modules[parent], child) is module,
        })
    for kind, pattern, flags in list(re._cache):
        if re._compiler.compile(pattern, flags) != re._cache[kind, pattern, flags]:
            seen["pattern " + repr(pattern)] = flags
    return seen
"""
exec(SOURCE)
def handler(event, context):
    with open("/var/runtime/preloaded.bin", "rb") as file:
        names = list(marshal.load(file)["modules"])
    child = subprocess.run([sys.executable, "-c", SOURCE + "print(json.dumps(describe(%r)))" % names], capture_output=True, check=True)
    own, files = describe(names), json.loads(child.stdout)
    return {"count": len(names), "differences": [[k, own.get(k), files.get(k)] for k in sorted({*own, *files}) if own.get(k) != files.get(k)]}
`

// TestPythonPreloadedIsNoDifferent compares the modules that the runtime loads
// in its own way with the same ones as the import system loads them.
func TestPythonPreloadedIsNoDifferent(t *testing.T) {
	for _, prewarm := range []bool{false, true} {
		got, _ := probe(t, options{runtime: "python3.11", handler: "app.handler", prewarm: prewarm, task: map[string]string{"app.py": pythonModules}})
		if n, ok := got["count"].(float64); !ok || n < 50 {
			t.Fatalf("%v modules are preloaded, want at least 50", got["count"])
		}
		differences, _ := got["differences"].([]any)
		for _, d := range differences {
			t.Errorf("prewarm %v: name, preloaded, from its file: %v", prewarm, d)
		}
	}
}

func TestPythonContext(t *testing.T) {
	got, out := probe(t, options{runtime: "python3.11", handler: "app.handler", task: map[string]string{"app.py": pythonProbe}})
	want := map[string]string{
		"id": `"` + requestID + `"`, "arn": `"` + runtimeapi.FunctionARN + `"`, "name": `"f"`, "version": `"$LATEST"`, "memory": `"128"`,
		"group": `"/aws/lambda/f"`, "stream": `"2026/01/01/[$LATEST]0123"`, "left": "true", "client": `{"k":"v"}`,
		"device": `{"make":"m"}`, "identity": `"id"`, "cwd": `"/var/task"`, "prefix": `"/var/lang"`, "uid": "[993,990,[]]",
		"trace": `"Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1"`, "preloaded": "[]", "tz": `"UTC"`,
		"encoding": `["utf-8","utf-8"]`, "argv": `["/var/runtime/bootstrap.py"]`,
		"main": `"/var/runtime/bootstrap.py"`, "gc": "true", "finders": `["BuiltinImporter","FrozenImporter","PathFinder"]`,
		"json": `["/var/lang/lib/python3.11/json/__init__.py","/var/lang/lib/python3.11/json/__pycache__/__init__.cpython-311.pyc",` +
			`["/var/lang/lib/python3.11/json"],1]`,
		"path": `["/var/task","/opt/python/lib/python3.11/site-packages","/opt/python","/var/runtime","/var/lang/lib/python311.zip",` +
			`"/var/lang/lib/python3.11","/var/lang/lib/python3.11/lib-dynload","/var/lang/lib/python3/dist-packages","/var/lang/lib/python3.11/site-packages",` +
			`"/opt/python/lib/python3.11/site-packages","/opt/python"]`,
	}
	for name, text := range want {
		if b, _ := json.Marshal(got[name]); string(b) != text {
			t.Errorf("%s: got %s, want %s", name, b, text)
		}
	}
	line := regexp.MustCompile(`(?m)^\[WARNING\]\t\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\t` + requestID + `\tcareful\nplain$`)
	out.waitFor(t, line)
}

func TestPythonJSONLogs(t *testing.T) {
	for _, prewarm := range []bool{false, true} {
		s := start(t, options{runtime: "python3.11", handler: "app.handler", prewarm: prewarm,
			env: map[string]string{"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "INFO"},
			task: map[string]string{"app.py": "import logging\ndef handler(event, context):\n" +
				"    logging.debug('hidden')\n    logging.info('shown', extra={'k': 1})\n    raise ValueError('no')\n"}})
		s.invoke(runtimeapi.Event{Payload: "{}"})
		lines := s.out.jsonLines(t, 2)
		if len(lines) != 2 || lines[0]["message"] != "shown" || lines[0]["level"] != "INFO" || lines[0]["requestId"] != requestID ||
			lines[0]["k"] != 1.0 || lines[1]["errorType"] != "ValueError" || lines[1]["level"] != "ERROR" {
			t.Errorf("prewarm %v: got %v", prewarm, lines)
		}
	}
}

// TestPythonLayers checks that a layer's modules and shared libraries are
// found, that the function's own win, and that the SDK is there for both.
func TestPythonLayers(t *testing.T) {
	s := start(t, options{runtime: "python3.11", handler: "app.handler", prewarm: true,
		opt: map[string]string{"python/layered.py": "X = 'layer'", "python/both.py": "X = 'layer'",
			"python/lib/python3.11/site-packages/deep.py": "X = 'deep'"},
		task: map[string]string{"both.py": "X = 'task'", "app.py": "import subprocess, sys\nimport layered, both, deep, boto3\n" +
			"def handler(event, context):\n    child = subprocess.run([sys.executable, '-c', 'import boto3, runtime_client; print(1)'], capture_output=True, text=True)\n" +
			"    return [layered.X, both.X, deep.X, boto3.__version__, child.stdout + child.stderr]\n"}})
	if got := s.invoke(runtimeapi.Event{Payload: "{}"}); got.Body != `["layer", "task", "deep", "1.44.5", "1\n"]` {
		t.Errorf("got %s", got.Body)
	}
}

// TestPythonLibraries checks that a prewarmed runtime finds shared libraries
// in a directory that was empty when its loader first looked.
func TestPythonLibraries(t *testing.T) {
	library, err := os.ReadFile("/lib/x86_64-linux-gnu/libz.so.1") // any will do
	if err != nil {
		t.Fatal(err)
	}
	for _, prewarm := range []bool{false, true} {
		s := start(t, options{runtime: "python3.11", handler: "app.handler", prewarm: prewarm,
			task: map[string]string{"lib/libprobe.so": string(library),
				"app.py": "import ctypes\ndef handler(event, context):\n    return ctypes.CDLL('libprobe.so').zlibCompileFlags() > 0\n"}})
		if got := s.invoke(runtimeapi.Event{Payload: "{}"}); got.Body != "true" {
			t.Errorf("prewarm %v: got %s %s", prewarm, got.Kind, got.Body)
		}
	}
}

func TestExecWrapper(t *testing.T) {
	wrapper := "#!/bin/sh\nexport WRAPPED=\"$#\"\nexec \"$@\"\n"
	for runtime, files := range map[string]map[string]string{
		"python3.11": {"app.py": "import os\ndef handler(event, context):\n    return os.environ['WRAPPED']\n", "wrap": wrapper},
		"nodejs20.x": {"app.js": "exports.handler = async () => process.env.WRAPPED;", "wrap": wrapper},
	} {
		o := options{runtime: runtime, handler: "app.handler", task: files, env: map[string]string{"AWS_LAMBDA_EXEC_WRAPPER": "/var/task/wrap"}}
		if got := start(t, o).invoke(runtimeapi.Event{Payload: "{}"}); got.Kind != "response" {
			t.Errorf("%s: got %s %s", runtime, got.Kind, got.Body)
		}
		for path, want := range map[string]int{"/var/task/nothere": 127, "/var/task/app.py": 126, "/var/task/app.js": 126} {
			if _, ok := files[strings.TrimPrefix(path, "/var/task/")]; !ok && want == 126 {
				continue
			}
			o.env["AWS_LAMBDA_EXEC_WRAPPER"] = path
			if got := start(t, o).exit(); got != want {
				t.Errorf("%s: wrapper %s: exit status %d, want %d", runtime, path, got, want)
			}
		}
	}
}
