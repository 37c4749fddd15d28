package testimage

import (
	_ "embed"
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"hearth/runtimes"
)

//go:embed app/app.py
var appPy []byte

// pythonRecipe is Debian's interpreter with AWS's client, of the versions that
// the managed runtime pins, where pip would install it.
func pythonRecipe() runtimes.Recipe {
	r := debianRecipe("python", "python3")
	r.WheelDir = "/usr/local/lib/python3.11/dist-packages"
	client := []string{"awslambdaric", "simplejson", "snapshot-restore-py"}
	for _, managed := range runtimes.All() {
		for _, w := range managed.Wheels {
			if slices.Contains(client, w.Name) {
				r.Wheels = append(r.Wheels, w)
			}
		}
	}
	// As Debian's scripts do when packages are installed.
	r.Commands = [][]string{{
		"/usr/bin/python3", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash",
		"/usr/lib/python3", "/usr/lib/python3.11", "/usr/local/lib/python3.11",
	}}
	return r
}

// Python is an image of a Python function: four layers.
func Python(t testing.TB) v1.Image {
	t.Helper()
	base, err := overDebian(t.Context(), "python", pythonRecipe())
	if err != nil {
		t.Fatal(err)
	}
	return application(t, base, file{"var/task/app.py", 0o644, appPy}, nil, "/usr/bin/python3", "-m", "awslambdaric")
}

// application puts a function upon its runtime, with other layers between.
func application(t testing.TB, base v1.Image, app file, between []v1.Layer, entryPoint ...string) v1.Image {
	t.Helper()
	layer, err := filesLayer(types.OCILayer, app)
	if err != nil {
		t.Fatal(err)
	}
	img, err := assemble(base, config(v1.Config{
		Entrypoint: entryPoint, Cmd: []string{"app.handler"}, WorkingDir: "/var/task", Env: []string{"LAMBDA_TASK_ROOT=/var/task"},
	}), append(between, layer)...)
	if err != nil {
		t.Fatal(err)
	}
	return img
}
