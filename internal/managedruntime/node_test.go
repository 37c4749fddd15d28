package managedruntime_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"hearth/test/harness/runtimeapi"
)

// TestNodeResults invokes one function with many handlers, one after the
// other, in a fresh and in a prewarmed runtime.
func TestNodeResults(t *testing.T) {
	cases := []struct {
		name, handler, payload string
		kind                   string
		want                   string // the answer, or errorType: errorMessage
	}{
		{"async", "async (e) => ({hello: e.name})", `{"name":"you"}`, "response", `{"hello":"you"}`},
		{"unicode", "async (e) => e", `"h\u00e9 😀"`, "response", `"hé 😀"`},
		{"nothing", "async () => {}", `{}`, "response", `null`},
		{"not a number", "async () => [NaN, 1/0, -0]", `{}`, "response", `[null,null,0]`},
		{"a function", "async () => () => 1", `{}`, "response", `null`},
		{"circular", "async () => { const a = {}; a.a = a; return a; }", `{}`, "error", "Error: Unable to stringify response body"},
		{"big integer", "async () => 1n", `{}`, "error", "Error: Unable to stringify response body"},
		{"bad event", "async () => 1", `{"a":`, "error", "SyntaxError: Unexpected end of JSON input"},
		{"rejects", "async () => { throw new TypeError('no'); }", `{}`, "error", "TypeError: no"},
		{"throws", "() => { throw new RangeError('no'); }", `{}`, "error", "RangeError: no"},
		{"throws a string", "async () => { throw 'no'; }", `{}`, "error", "string: no"},
		{"throws nothing", "async () => { throw undefined; }", `{}`, "error", "undefined: undefined"},
		{"custom error", "async () => { class Mine extends Error { name = 'Mine' } throw new Mine('no'); }", `{}`, "error", "Mine: no"},
		{"callback", "(e, c, cb) => cb(null, e)", `[1]`, "response", `[1]`},
		{"callback later", "(e, c, cb) => { setTimeout(() => cb(null, 'late'), 20); }", `{}`, "response", `"late"`},
		{"callback error", "(e, c, cb) => cb(new Error('no'))", `{}`, "error", "Error: no"},
		{"callback waits", "(e, c, cb) => { setTimeout(() => { globalThis.ran = true; }, 50); cb(null, 1); }", `{}`, "response", `1`},
		{"it did", "async () => globalThis.ran", `{}`, "response", `true`},
		{"callback does not wait", "(e, c, cb) => { c.callbackWaitsForEmptyEventLoop = false; globalThis.t = setTimeout(() => {}, 60000); cb(null, 1); }", `{}`, "response", `1`},
		{"clean up", "async () => { clearTimeout(globalThis.t); }", `{}`, "response", `null`},
		{"no answer", "() => {}", `{}`, "response", `null`},
		{"never settles", "() => new Promise(() => {})", `{}`, "response", `null`},
		{"succeed", "(e, c) => { c.succeed('s'); }", `{}`, "response", `"s"`},
		{"fail", "(e, c) => { c.fail(new Error('f')); }", `{}`, "error", "Error: f"},
		{"done", "(e, c) => { c.done(null, 'd'); }", `{}`, "response", `"d"`},
		{"large", "async () => 'x'.repeat(1 << 20)", `{}`, "response", `"` + strings.Repeat("x", 1<<20) + `"`},
		{"large event", "async (e) => e.length", `"` + strings.Repeat("é", 1<<20) + `"`, "response", fmt.Sprint(1 << 20)},
	}
	source := "const cases = [\n"
	for _, c := range cases {
		if c.name != "bad event" { // never reaches a handler
			source += c.handler + ",\n"
		}
	}
	source += "];\nlet n = 0;\nexports.handler = (e, c, cb) => cases[n++](e, c, cb);\n"
	for _, prewarm := range []bool{false, true} {
		s := start(t, options{runtime: "nodejs20.x", handler: "app.handler", prewarm: prewarm, task: map[string]string{"app.js": source}})
		for _, c := range cases {
			got := s.invoke(runtimeapi.Event{Payload: c.payload})
			text := got.Body
			if got.Kind == "error" {
				f := parseFailure(t, got)
				text = f.Type + ": " + f.Message
				if f.Trace == nil || f.Request != nil {
					t.Errorf("%s: payload %s", c.name, got.Body)
				}
			}
			if got.Kind != c.kind || text != c.want {
				t.Errorf("prewarm %v: %s: got %s %.200s, want %s %.200s", prewarm, c.name, got.Kind, text, c.kind, c.want)
			}
		}
		if n := s.api.Connections(); n != 1 {
			t.Errorf("runtime used %d connections, want 1", n)
		}
	}
}

// TestNodeModules loads handlers from every kind of module.
func TestNodeModules(t *testing.T) {
	cjs, esm := "exports.handler = async () => 'cjs';", "export const handler = async () => 'esm';"
	cases := []struct {
		name, handler string
		task, opt     map[string]string
		want          string
	}{
		{"js", "app.handler", map[string]string{"app.js": cjs}, nil, "cjs"},
		{"cjs", "app.handler", map[string]string{"app.cjs": cjs}, nil, "cjs"},
		{"mjs", "app.handler", map[string]string{"app.mjs": esm}, nil, "esm"},
		{"type module", "app.handler", map[string]string{"app.js": esm, "package.json": `{"type":"module"}`}, nil, "esm"},
		{"nested type", "a/b/app.handler", map[string]string{"a/b/app.js": cjs, "a/b/package.json": "{}", "package.json": `{"type":"module"}`}, nil, "cjs"},
		{"top-level await", "app.handler", map[string]string{"app.mjs": "const v = await Promise.resolve('tla');\nexport const handler = async () => v;"}, nil, "tla"},
		{"member", "app.a.b", map[string]string{"app.js": "exports.a = {b: async () => 'member'};"}, nil, "member"},
		{"default export", "app.handler", map[string]string{"app.mjs": "export default {handler: async () => 'default'};"}, nil, "default"},
		{"index", "dir.handler", map[string]string{"dir/index.js": cjs}, nil, "cjs"},
		{"package of a layer", "app.handler", map[string]string{"app.js": "exports.handler = async () => require('p') + require('q');"},
			map[string]string{"nodejs/node_modules/p/index.js": "module.exports = 'p';", "nodejs/node20/node_modules/q/index.js": "module.exports = 'q';"}, "pq"},
		{"handler of a layer", "p.handler", nil, map[string]string{"nodejs/node_modules/p/index.js": cjs}, "cjs"},
	}
	for i, c := range cases {
		s := start(t, options{runtime: "nodejs20.x", handler: c.handler, task: c.task, opt: c.opt, prewarm: i%2 == 0})
		if got := s.invoke(runtimeapi.Event{Payload: "{}"}); got.Body != `"`+c.want+`"` {
			t.Errorf("%s: got %s %s, want %q\n%s", c.name, got.Kind, got.Body, c.want, s.out)
		}
	}
}

func TestNodeInitErrors(t *testing.T) {
	cases := []struct {
		name, handler string
		task          map[string]string
		want, message string
	}{
		{"no module", "app.handler", nil, "Runtime.ImportModuleError", "Error: Cannot find module 'app'\nRequire stack:\n- /var/runtime/load.js\n- /var/runtime/index.js"},
		{"module of its module", "app.handler", map[string]string{"app.js": "require('nothere');"},
			"Runtime.ImportModuleError", "Error: Cannot find module 'nothere'\nRequire stack:\n- /var/task/app.js\n- /var/runtime/load.js\n- /var/runtime/index.js"},
		{"import", "app.handler", map[string]string{"app.mjs": "import 'nothere';"},
			"Error", "Cannot find package 'nothere' imported from /var/task/app.mjs"},
		{"no export", "app.handler", map[string]string{"app.js": ""}, "Runtime.HandlerNotFound", "app.handler is undefined or not exported"},
		{"not a function", "app.handler", map[string]string{"app.js": "exports.handler = 1;"}, "Runtime.HandlerNotFound", "app.handler is not a function"},
		{"bad handler", "app", nil, "Runtime.MalformedHandlerName", "Bad handler"},
		{"escaping handler", "../x.handler", nil, "Runtime.MalformedHandlerName",
			"'../x.handler' is not a valid handler name. Use absolute paths when specifying root directories in handler names."},
		{"syntax", "app.handler", map[string]string{"app.js": "exports.handler = (;"}, "Runtime.UserCodeSyntaxError", "SyntaxError: Unexpected token ';'"},
		{"syntax of a module", "app.handler", map[string]string{"app.mjs": "export const handler = (;"},
			"Runtime.UserCodeSyntaxError", "SyntaxError: Unexpected token ';'"},
		{"throws", "app.handler", map[string]string{"app.js": "throw new TypeError('at load');"}, "TypeError", "at load"},
		{"rejects", "app.handler", map[string]string{"app.mjs": "throw 'at load';"}, "string", "at load"},
		{"rejects apart", "app.handler", map[string]string{"app.mjs": "Promise.reject(new Error('apart'));\nawait new Promise(() => setTimeout(() => {}, 1000));"},
			"Runtime.UnhandledPromiseRejection", "Error: apart"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := start(t, options{runtime: "nodejs20.x", handler: c.handler, task: c.task})
			a := s.answer()
			got := parseFailure(t, a)
			if a.Kind != "init" || got.Type != c.want || got.Message != c.message {
				t.Errorf("got %s %s: %q, want init %s: %q", a.Kind, got.Type, got.Message, c.want, c.message)
			}
			if h := a.Header.Get("Lambda-Runtime-Function-Error-Type"); h != c.want {
				t.Errorf("error type in the header: got %q, want %q", h, c.want)
			}
			want := 129
			if got.Type == "Runtime.UnhandledPromiseRejection" {
				want = 128
			}
			if status := s.exit(); status != want {
				t.Errorf("exit status %d, want %d", status, want)
			}
			s.out.waitFor(t, regexp.MustCompile(`\tundefined\tERROR\tU[a-z]+ [A-Z]`))
		})
	}
}

// TestNodeFatal runs handlers that end the process.
func TestNodeFatal(t *testing.T) {
	cases := []struct {
		name, handler string
		want          string // errorType: errorMessage, or nothing
		status        int
	}{
		{"exit", "async () => process.exit(3)", "", 3},
		{"uncaught", "() => { setTimeout(() => { throw new Error('later'); }, 1); }", "Error: later", 129},
		{"unhandled", "() => { Promise.reject(new Error('lost')); }", "Runtime.UnhandledPromiseRejection: Error: lost", 128},
		{"killed", "async () => process.kill(process.pid, 'SIGKILL')", "", 137},
	}
	for _, c := range cases {
		s := start(t, options{runtime: "nodejs20.x", handler: "app.handler", task: map[string]string{"app.js": "exports.handler = " + c.handler}})
		s.api.Events <- runtimeapi.Event{ID: requestID, Payload: "{}"}
		if c.want != "" {
			a := s.answer()
			if f := parseFailure(t, a); a.Kind != "error" || f.Type+": "+f.Message != c.want {
				t.Errorf("%s: got %s %s, want %s", c.name, a.Kind, a.Body, c.want)
			}
		}
		if got := s.exit(); got != c.status {
			t.Errorf("%s: exit status %d, want %d\n%s", c.name, got, c.status, s.out)
		}
	}
}

const nodeProbe = `
const fs = require('fs');
exports.handler = async (event, context) => {
  const left = context.getRemainingTimeInMillis();
  console.log('two\nlines', {a: 1});
  console.error(new Error('logged'));
  return {
    id: context.awsRequestId, arn: context.invokedFunctionArn, name: context.functionName,
    version: context.functionVersion, memory: context.memoryLimitInMB, group: context.logGroupName,
    stream: context.logStreamName, left: left > 2000 && left <= 3000, client: context.clientContext?.custom,
    identity: context.identity?.cognitoIdentityId, waits: context.callbackWaitsForEmptyEventLoop,
    trace: process.env._X_AMZN_TRACE_ID, env: {...process.env}, cwd: process.cwd(), argv: process.argv,
    uid: [process.getuid(), process.getgid(), process.getgroups()], gc: typeof gc, tz: new Date(0).getTimezoneOffset(),
    paths: module.paths.concat(require('module').globalPaths), main: require.main?.filename,
    http: require('http').maxHeaderSize,
  };
};`

func TestNodePrewarmedIsNoDifferent(t *testing.T) {
	prewarmedIsNoDifferent(t, options{runtime: "nodejs20.x", handler: "app.handler", task: map[string]string{"app.js": nodeProbe}})
}

func TestNodeContext(t *testing.T) {
	got, out := probe(t, options{runtime: "nodejs20.x", handler: "app.handler", task: map[string]string{"app.js": nodeProbe}})
	want := map[string]string{
		"id": `"` + requestID + `"`, "arn": `"` + runtimeapi.FunctionARN + `"`, "name": `"f"`, "version": `"$LATEST"`, "memory": `"128"`,
		"group": `"/aws/lambda/f"`, "stream": `"2026/01/01/[$LATEST]0123"`, "left": "true", "client": `{"k":"v"}`, "identity": `"id"`,
		"waits": "true", "trace": `"Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1"`,
		"cwd": `"/var/task"`, "uid": "[993,990,[990]]", "gc": `"function"`, "tz": "0", "http": "81920",
	}
	for name, text := range want {
		if b, _ := json.Marshal(got[name]); string(b) != text {
			t.Errorf("%s: got %s, want %s", name, b, text)
		}
	}
	out.waitFor(t, regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\t`+requestID+`\tINFO\ttwo\rlines \{ a: 1 \}\n`+
		`[^\t]+\t`+requestID+`\tERROR\tError: logged\r    at [^\n]+\n$`))
}

func TestNodeErrorLog(t *testing.T) {
	s := start(t, options{runtime: "nodejs20.x", handler: "app.handler",
		task: map[string]string{"app.js": "exports.handler = async () => { throw Object.assign(new Error('no'), {code: 7}); };"}})
	got := parseFailure(t, s.invoke(runtimeapi.Event{Payload: "{}"}))
	if len(got.Trace) < 2 || got.Trace[0] != "Error: no" || !strings.Contains(got.Trace[1], "exports.handler (/var/task/app.js:1:") {
		t.Errorf("trace: got %q", got.Trace)
	}
	s.out.waitFor(t, regexp.MustCompile(`^[^\t]+\t`+requestID+`\tERROR\tInvoke Error \t\{"errorType":"Error","errorMessage":"no","code":7,"stack":\["Error: no","    at [^\n]+\]\}\n$`))
}

func TestNodeJSONLogs(t *testing.T) {
	for _, prewarm := range []bool{false, true} {
		s := start(t, options{runtime: "nodejs20.x", handler: "app.handler", prewarm: prewarm,
			env: map[string]string{"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "INFO"},
			task: map[string]string{"app.js": "exports.handler = async () => {\n  console.debug('hidden');\n  console.info({k: 1});\n" +
				"  console.warn('two %d', 2, new Error('e'));\n  throw new TypeError('no');\n};"}})
		s.invoke(runtimeapi.Event{Payload: "{}"})
		lines := s.out.jsonLines(t, 3)
		first, _ := json.Marshal(lines[0]["message"])
		last, _ := lines[2]["message"].(map[string]any)
		if len(lines) != 3 || string(first) != `{"k":1}` || lines[0]["level"] != "INFO" || lines[0]["requestId"] != requestID ||
			lines[1]["errorType"] != "Error" || lines[1]["level"] != "WARN" || !strings.HasPrefix(lines[1]["message"].(string), "two 2 Error: e") ||
			lines[2]["level"] != "ERROR" || last["errorType"] != "TypeError" {
			t.Errorf("prewarm %v: got %v", prewarm, lines)
		}
	}
}

// TestNodeStreaming checks answers that are sent piece by piece.
func TestNodeStreaming(t *testing.T) {
	cases := []struct {
		name, body  string
		kind        string
		contentType string
		want        string
		failure     string // errorType: errorMessage in the trailers
	}{
		{"pieces", "stream.setContentType('text/plain'); stream.write('a'); stream.write(Buffer.from('b')); stream.end('c');", "response", "text/plain", "abc", ""},
		{"default type", "stream.write('x'); stream.end();", "response", "application/octet-stream", "x", ""},
		{"empty", "stream.end();", "response", "application/octet-stream", "", ""},
		{"http", "stream = awslambda.HttpResponseStream.from(stream, {statusCode: 201, headers: {x: 'y'}}); stream.write('ab'); stream.end();", "response",
			"application/vnd.awslambda.http-integration-response", `{"statusCode":201,"headers":{"x":"y"}}` + "\x00\x00\x00\x00\x00\x00\x00\x00ab", ""},
		{"http without body", "awslambda.HttpResponseStream.from(stream, {statusCode: 204}).end();", "response",
			"application/vnd.awslambda.http-integration-response", `{"statusCode":204}` + "\x00\x00\x00\x00\x00\x00\x00\x00", ""},
		{"ends later", "stream.write('a'); setTimeout(() => stream.end('b'), 20);", "response", "application/octet-stream", "ab", ""},
		{"forgets the end", "stream.write('a');", "response", "application/octet-stream", "a", ""},
		{"fails before", "throw new TypeError('no');", "error", "application/json", "TypeError: no", ""},
		{"fails midway", "stream.write('a'); throw new TypeError('no');", "response", "application/octet-stream", "a", "TypeError: no"},
		{"large", "await require('stream/promises').pipeline(require('stream').Readable.from(Array(64).fill(Buffer.alloc(65536, 'x'))), stream);",
			"response", "application/octet-stream", strings.Repeat("x", 64*65536), ""},
		{"plain again", "stream.end('z');", "response", "application/octet-stream", "z", ""},
	}
	source := "const cases = [\n"
	for _, c := range cases {
		source += "async (event, stream) => {" + c.body + "},\n"
	}
	source += "];\nlet n = 0;\nexports.handler = awslambda.streamifyResponse((e, s, c) => cases[n++](e, s, c));\n"
	s := start(t, options{runtime: "nodejs20.x", handler: "app.handler", task: map[string]string{"app.js": source}})
	for _, c := range cases {
		got := s.invoke(runtimeapi.Event{Payload: "{}"})
		text := got.Body
		if got.Kind == "error" {
			f := parseFailure(t, got)
			text = f.Type + ": " + f.Message
		} else if mode := got.Header.Get("Lambda-Runtime-Function-Response-Mode"); mode != "streaming" {
			t.Errorf("%s: response mode %q", c.name, mode)
		}
		if got.Kind != c.kind || text != c.want || got.Header.Get("Content-Type") != c.contentType {
			t.Errorf("%s: got %s %s %.100q, want %s %s %.100q", c.name, got.Kind, got.Header.Get("Content-Type"), text, c.kind, c.contentType, c.want)
		}
		failed := ""
		if body := got.Trailer.Get("Lambda-Runtime-Function-Error-Body"); body != "" {
			plain, err := base64.StdEncoding.DecodeString(body)
			if err != nil {
				t.Errorf("%s: error trailer: %v", c.name, err)
			}
			f := parseFailure(t, runtimeapi.Answer{Body: string(plain)})
			failed = f.Type + ": " + f.Message
			if h := got.Trailer.Get("Lambda-Runtime-Function-Error-Type"); h != f.Type {
				t.Errorf("%s: error type trailer %q", c.name, h)
			}
		}
		if failed != c.failure {
			t.Errorf("%s: failure in the trailers: got %q, want %q", c.name, failed, c.failure)
		}
	}
}
