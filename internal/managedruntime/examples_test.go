package managedruntime_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"hearth/test/harness/runtimeapi"
)

// TestExamples runs the functions that people copy.
func TestExamples(t *testing.T) {
	examples := filepath.Join("..", "..", "examples")
	cases := []struct {
		dir, file, runtime, handler string
		message, failed             string
	}{
		{"python-hello", "app.py", "python3.11", "app.handler", `{"message": "Bonjour, you!"}`, "KeyError: 'xx'"},
		{"node-hello", "index.mjs", "nodejs20.x", "index.handler", `{"message":"Bonjour, you!"}`, "RangeError: no greeting in xx"},
		{"go-hello", "bootstrap", "provided.al2023", "bootstrap", `{"message":"Bonjour, you!"}`, `errorString: no greeting in "xx"`},
	}
	for _, c := range cases {
		t.Run(c.dir, func(t *testing.T) {
			file := filepath.Join(examples, c.dir, c.file)
			o := options{runtime: c.runtime, handler: c.handler}
			if c.file == "bootstrap" {
				file = filepath.Join(t.TempDir(), c.file)
				cmd := exec.Command("go", "build", "-tags", "lambda.norpc", "-o", file, ".")
				cmd.Dir, cmd.Env = filepath.Join(examples, c.dir), append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("go build: %v\n%s", err, out)
				}
				o.program = []string{"/var/task/bootstrap"}
			}
			content, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			o.task = map[string]string{c.file: string(content)}
			s := start(t, o)
			if got := s.invoke(runtimeapi.Event{Payload: `{"name":"you","language":"fr"}`}); got.Kind != "response" || got.Body != c.message {
				t.Errorf("got %s %s, want %s", got.Kind, got.Body, c.message)
			}
			got := s.invoke(runtimeapi.Event{Payload: `{"language":"xx"}`})
			if f := parseFailure(t, got); got.Kind != "error" || f.Type+": "+f.Message != c.failed {
				t.Errorf("got %s %s, want %s", got.Kind, got.Body, c.failed)
			}
		})
	}
}
