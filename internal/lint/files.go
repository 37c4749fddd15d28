package lint

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"strings"
)

// maxLines bounds a file: past it, nobody reads it from top to bottom.
const maxLines = 600

var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

// CheckLength finds Go files that are too long; what is generated may be.
func CheckLength(f File) []string {
	if lines := bytes.Count(f.Text, []byte("\n")); path.Ext(f.Path) == ".go" && lines >= maxLines && !generated.Match(f.Text) {
		return []string{fmt.Sprintf("%s: %d lines, want fewer than %d: split it by what it holds", f.Path, lines, maxLines)}
	}
	return nil
}

// traces are what must be in no file. A letter of each is in brackets so that
// this file is clean itself. A file is searched for the hint first: it costs
// little, and most files have none.
var traces = []struct {
	hint    string
	pattern *regexp.Regexp
	why     string
}{
	{"TO" + "DO", regexp.MustCompile(`\bTOD[O]\b`), "do it, or file an issue"},
	{"FIX" + "ME", regexp.MustCompile(`\bFIXM[E]\b`), "do it, or file an issue"},
	{"/work" + "/", regexp.MustCompile(`(^|[\s"'=(` + "`" + `])/wor[k]/`), "a path of one machine"},
	{"/home" + "/", regexp.MustCompile(`(^|[\s"'=(` + "`" + `])/hom[e]/[a-z]\w*/`), "a path of one machine"},
	{"/root" + "/", regexp.MustCompile(`(^|[\s"'=(` + "`" + `])/roo[t]/[\w.]+/`), "a path of one machine"},
	{`"resol` + `ved"`, regexp.MustCompile(`"resolve[d]"`), "an address of one workplace's registry: npm install --omit-lockfile-registry-resolved=true"},
	{"GOPRO" + "XY=", regexp.MustCompile(`GOPROX[Y]=`), "which registry is used is each machine's own setting"},
	{"index-" + "url", regexp.MustCompile(`--(extra-)?index-ur[l]`), "which registry is used is each machine's own setting"},
	{"PRIVATE " + "KEY", regexp.MustCompile(`BEGIN [A-Z ]*PRIVATE KE[Y]`), "a secret"},
}

// CheckTraces finds what was left behind in a file: unfinished work, paths
// and addresses of the place it was written at, keys.
func CheckTraces(f File) []string {
	var findings []string
	for _, t := range traces {
		if !bytes.Contains(f.Text, []byte(t.hint)) {
			continue
		}
		for i, line := range bytes.Split(f.Text, []byte("\n")) {
			if m := t.pattern.Find(line); m != nil {
				findings = append(findings, fmt.Sprintf("%s:%d: %q: %s", f.Path, i+1, m, t.why))
			}
		}
	}
	return findings
}

// CheckComment finds a package without a comment that begins as godoc wants
// it. files are all of its Go files.
func CheckComment(p Package, files []File) []string {
	want := "Package " + p.Name + " "
	if p.Name == "main" {
		want = "Command " + path.Base(p.ImportPath) + " "
	}
	for _, f := range files {
		tree, err := parser.ParseFile(token.NewFileSet(), f.Path, f.Text, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			return []string{err.Error()}
		}
		if strings.HasPrefix(tree.Doc.Text(), want) {
			return nil
		}
	}
	return []string{fmt.Sprintf("%s: no comment that begins with %q: say what it is for", p.ImportPath, want)}
}

// CheckSleep finds calls of time.Sleep in a test that are not inside a bubble
// of testing/synctest, where sleeping costs nothing and is exact. A function
// given to one that makes a bubble, in the same file, is inside it. allowed
// names functions, as FILE:FUNCTION, that may sleep; those met are marked.
func CheckSleep(f File, allowed map[string]bool) []string {
	if !strings.HasSuffix(f.Path, "_test.go") || !bytes.Contains(f.Text, []byte("time.Sleep")) {
		return nil
	}
	set := token.NewFileSet()
	tree, err := parser.ParseFile(set, f.Path, f.Text, parser.SkipObjectResolution)
	if err != nil {
		return []string{err.Error()}
	}
	makers := bubbleMakers(tree)
	var findings []string
	for _, declaration := range tree.Decls {
		name := f.Path
		if function, ok := declaration.(*ast.FuncDecl); ok {
			name += ":" + function.Name.Name
		}
		ast.Inspect(declaration, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			called := callee(call)
			if makers[called] {
				return false
			}
			if called != "time.Sleep" {
				return true
			}
			if _, ok := allowed[name]; ok {
				allowed[name] = true
				return true
			}
			findings = append(findings, fmt.Sprintf("%s: time.Sleep in a test; wait for the event, or use testing/synctest", set.Position(call.Pos())))
			return true
		})
	}
	return findings
}

// bubbleMakers names the functions whose arguments run in a bubble.
func bubbleMakers(tree *ast.File) map[string]bool {
	makers := map[string]bool{"synctest.Test": true}
	for _, declaration := range tree.Decls {
		function, ok := declaration.(*ast.FuncDecl)
		if !ok || function.Recv != nil || strings.HasPrefix(function.Name.Name, "Test") {
			continue
		}
		ast.Inspect(function, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && callee(call) == "synctest.Test" {
				makers[function.Name.Name] = true
			}
			return true
		})
	}
	return makers
}

// callee names what is called, as f or pkg.f; other forms have no name.
func callee(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			return x.Name + "." + f.Sel.Name
		}
	}
	return ""
}

// row is a line of a table that begins with the path of a module.
var row = regexp.MustCompile("(?m)^\\| `([^`/]+\\.[^`/]+/[^`]+)` \\|")

// CheckDependencies compares the modules that are required directly with the
// rows of the page on dependencies.
func CheckDependencies(goMod, page []byte) []string {
	explained := make(map[string]bool)
	for _, m := range row.FindAllSubmatch(page, -1) {
		explained[string(m[1])] = true
	}
	var findings []string
	for line := range strings.Lines(string(goMod)) {
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) < 2 || !strings.HasPrefix(fields[1], "v") {
			continue
		}
		if direct := len(fields) == 2; direct && !explained[fields[0]] {
			findings = append(findings, fields[0]+": not in docs/dependencies.md: say why this one, and what it replaces")
		}
		delete(explained, fields[0])
	}
	for module := range explained {
		findings = append(findings, module+": explained in docs/dependencies.md, but not required any more")
	}
	return findings
}
