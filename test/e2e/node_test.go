package e2e

import (
	"strings"
	"testing"

	"hearth/test/harness"
)

// TestNodeStreaming is about handlers that stream their answer; Invoke gives
// it to the caller whole.
func TestNodeStreaming(t *testing.T) {
	t.Parallel()
	f := deploy(t, node, handler("index.stream"))
	r := f.invoke(t, event{"parts": []string{"one ", "two ", "drei ü"}})
	if r.failure != "" || string(r.payload) != "one two drei ü" {
		t.Errorf("got %q (%s)", r.payload, r.failure)
	}
	// Larger than any buffer between function and caller.
	part := strings.Repeat("0123456789abcdef", 1<<12)
	r = f.invoke(t, event{"parts": []string{part, part, part, part}})
	if want := strings.Repeat(part, 4); r.failure != "" || string(r.payload) != want {
		t.Errorf("got %d bytes (%s), want %d", len(r.payload), r.failure, len(want))
	}
	got := f.invoke(t, event{"parts": []string{"one "}, "fail": "in midstream"}).failed(t)
	if got.Type != "Boom" || got.Message != "in midstream" {
		t.Errorf("got %+v", got)
	}
	r = f.invoke(t, event{"parts": []string{"again"}})
	if r.failure != "" || string(r.payload) != "again" {
		t.Errorf("after a failure: got %q (%s)", r.payload, r.failure)
	}
}

func TestNodeCallback(t *testing.T) {
	t.Parallel()
	f := deploy(t, node, handler("index.callback"))
	r := f.invoke(t, event{"value": "back"})
	if r.failure != "" || string(r.payload) != `{"called":"back"}` {
		t.Errorf("got %s (%s)", r.payload, r.failure)
	}
	if got := f.invoke(t, event{"fail": "called back"}).failed(t); got.Type != "Boom" || got.Message != "called back" {
		t.Errorf("got %+v", got)
	}
}

// TestNodeModules is about the ways in which a module can be a function.
func TestNodeModules(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, handler string
		files         map[string]string
	}{
		{"mjs", "index.handler", map[string]string{"index.mjs": "export const handler = async () => 'it runs';"}},
		{"type module", "index.handler", map[string]string{"index.js": "export const handler = async () => 'it runs';", "package.json": `{"type":"module"}`}},
		{"cjs", "index.handler", map[string]string{"index.cjs": "exports.handler = async () => 'it runs';"}},
		{"directory", "src/app.handler", map[string]string{"src/app.js": "exports.handler = async () => 'it runs';"}},
		{"nested", "index.api.handler", map[string]string{"index.js": "exports.api = { handler: async () => 'it runs' };"}},
		{"top-level await", "index.handler", map[string]string{"index.mjs": "const s = await Promise.resolve('it runs'); export const handler = async () => s;"}},
		{"dependency", "index.handler", map[string]string{"index.js": "exports.handler = async () => require('dep');", "node_modules/dep/index.js": "module.exports = 'it runs';"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := deploy(t, node, handler(test.handler), archive(harness.Zip(t, test.files)))
			if r := f.invoke(t, event{}); r.failure != "" || string(r.payload) != `"it runs"` {
				t.Errorf("got %s (%s)", r.payload, r.failure)
			}
		})
	}
}
