package api

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/compatibility.md")

// TestCompatibilityPage checks that the page says what the code does.
func TestCompatibilityPage(t *testing.T) {
	s := start(t).server
	if names := s.unknownPartials(); len(names) > 0 {
		t.Errorf("said to be served in part, and are not served: %v", names)
	}
	page := filepath.Join("..", "..", "docs", "compatibility.md")
	if *update {
		if err := os.WriteFile(page, []byte(s.CompatibilityPage()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil || string(got) != s.CompatibilityPage() {
		t.Errorf("docs/compatibility.md is not current (%v); run: go test ./internal/api -run TestCompatibilityPage -update", err)
	}
}

// TestCompatibilityIsTrue calls every operation: what is refused answers 501,
// and what is served anything else.
func TestCompatibilityIsTrue(t *testing.T) {
	b := start(t)
	for _, x := range b.server.Compatibility() {
		var op *operation
		for _, o := range operations {
			if o.name == x.Operation {
				op = o
			}
		}
		path := op.http.URI
		for _, label := range op.bindings {
			if label.place == inLabel {
				path = strings.Replace(path, "{"+label.name+"}", "x", 1)
			}
		}
		got := b.send(t, op.http.Method, path, "{}")
		if refused := got.status == 501 && got.header.Get("X-Amzn-Errortype") == "NotImplementedException"; refused != (x.State == "refused") {
			t.Errorf("%s is %s and answers %d %.200s", x.Operation, x.State, got.status, got.body)
		}
	}
}
