package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// Package is a function's code as it is to be deployed.
type Package struct {
	Runtime string
	Handler string
	Zip     []byte
	Files   int
}

// Runtimes that detection chooses.
const (
	python   = "python3.11"
	node     = "nodejs20.x"
	provided = "provided.al2023"
)

// kind is what a directory was taken for.
type kind struct {
	runtime, handler string
	build            func(ctx context.Context, dir, out string) error // makes files in out, or nil
	include          func(path string) bool
}

// errUnknown tells how to help detection.
var errUnknown = errors.New("no function found: expected *.py, index.js/.mjs/.cjs or package.json, go.mod, " +
	"or an executable bootstrap; or say it with --runtime and --handler")

// detect looks at the files at the top of dir.
func detect(dir string) (kind, error) {
	has := func(name string) bool {
		info, err := os.Stat(filepath.Join(dir, name))
		return err == nil && info.Mode().IsRegular()
	}
	switch {
	case has("bootstrap"):
		return kind{runtime: provided, handler: "bootstrap", include: everything}, nil
	case has("go.mod"):
		return kind{runtime: provided, handler: "bootstrap", build: goBuild, include: nothing}, nil
	case has("package.json") || has("index.js") || has("index.mjs") || has("index.cjs"):
		handler, err := nodeHandler(dir)
		return kind{runtime: node, handler: handler, include: everything}, err
	}
	handler, err := pythonHandler(dir)
	if err != nil {
		return kind{}, err
	}
	return kind{runtime: python, handler: handler, build: pipInstall, include: everything}, nil
}

func everything(string) bool { return true }
func nothing(string) bool    { return false }

// pythonFunction finds a top-level function that looks like a handler.
var pythonFunction = regexp.MustCompile(`(?m)^(?:async )?def (lambda_handler|handler|main)\(`)

// pythonHandler prefers the file names that AWS's tools use.
func pythonHandler(dir string) (string, error) {
	matches, err := filepath.Glob(filepath.Join(dir, "*.py"))
	if err != nil {
		return "", err
	}
	var files []string
	for _, first := range []string{"lambda_function.py", "app.py", "handler.py", "main.py", "index.py"} {
		files = append(files, filepath.Join(dir, first))
	}
	for _, file := range append(files, matches...) {
		src, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		if m := pythonFunction.FindSubmatch(src); m != nil {
			return strings.TrimSuffix(filepath.Base(file), ".py") + "." + string(m[1]), nil
		}
	}
	if len(matches) > 0 {
		return "", fmt.Errorf("%s: no top-level function lambda_handler, handler or main in any .py file; name it with --handler FILE.FUNCTION", dir)
	}
	return "", fmt.Errorf("%s: %w", dir, errUnknown)
}

// nodeHandler is the handler export of the main module.
func nodeHandler(dir string) (string, error) {
	var pkg struct {
		Main string `json:"main"`
	}
	src, err := os.ReadFile(filepath.Join(dir, "package.json"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return "", err
	default:
		if err := json.Unmarshal(src, &pkg); err != nil {
			return "", fmt.Errorf("package.json: %w", err)
		}
	}
	candidates := []string{"index.mjs", "index.js", "index.cjs", "app.mjs", "app.js"}
	if pkg.Main != "" {
		candidates = append([]string{filepath.Clean(pkg.Main)}, candidates...)
	}
	for _, c := range candidates {
		if _, err := os.Stat(filepath.Join(dir, c)); err == nil {
			return strings.TrimSuffix(c, filepath.Ext(c)) + ".handler", nil
		}
	}
	return "", fmt.Errorf("%s: neither package.json's main nor index.js/.mjs/.cjs is there; name the handler with --handler FILE.EXPORT", dir)
}
