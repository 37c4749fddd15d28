package lint

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// mayDoze says which functions of tests may call time.Sleep outside a bubble,
// and why.
var mayDoze = map[string]string{
	"internal/assignment/assignment_test.go:Start": "a fake worker; it only ever runs in bubbles",
	"internal/assignment/assignment_test.go:wait":  "only called in bubbles",
}

func root(t *testing.T) string {
	t.Helper()
	dir, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func report(t *testing.T, findings []string) {
	t.Helper()
	for _, finding := range findings {
		t.Error(finding)
	}
}

func TestPackages(t *testing.T) {
	packages, err := Packages(root(t))
	if err != nil {
		t.Fatal(err)
	}
	report(t, CheckImports(packages))
	report(t, CheckNames(packages))
	for _, p := range packages {
		var files []File
		for _, name := range append(p.GoFiles, p.TestGoFiles...) {
			text, err := os.ReadFile(filepath.Join(p.Dir, name))
			if err != nil {
				t.Fatal(err)
			}
			files = append(files, File{Path: name, Text: text})
		}
		report(t, CheckComment(p, files))
	}
}

func TestForbiddenDependencies(t *testing.T) {
	for program := range forbidden {
		closure, err := Closure(root(t), "./"+program)
		if err != nil {
			t.Fatal(err)
		}
		report(t, CheckClosure(program, closure))
	}
}

func TestFiles(t *testing.T) {
	files, err := Files(root(t))
	if err != nil {
		t.Fatal(err)
	}
	dozers := make(map[string]bool)
	for name := range mayDoze {
		dozers[name] = false
	}
	for _, f := range files {
		report(t, CheckLength(f))
		report(t, CheckTraces(f))
		report(t, CheckSleep(f, dozers))
	}
	for name, met := range dozers {
		if !met {
			t.Errorf("%s may call time.Sleep and does not: take it off the list", name)
		}
	}
}

func TestDependenciesAreExplained(t *testing.T) {
	dir := root(t)
	page, err := os.ReadFile(filepath.Join(dir, "docs", "dependencies.md"))
	if err != nil {
		t.Fatal(err)
	}
	goMod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	report(t, CheckDependencies(goMod, page))
}

// TestMakefileIsSelfDocumenting keeps make help whole: a task that is not
// listed there does not exist for a newcomer.
func TestMakefileIsSelfDocumenting(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range []string{"help", "up", "down", "build", "runtimes", "test", "lint", "bench", "clean"} {
		documented := false
		for line := range strings.Lines(string(text)) {
			documented = documented || strings.HasPrefix(line, task+":") && strings.Contains(line, "## ")
		}
		if !documented {
			t.Errorf("Makefile: task %s is missing or has no comment after ##", task)
		}
	}
}
