package guest_test

import (
	"path/filepath"
	"strings"
	"testing"

	"hearth/internal/controlstream"
	"hearth/internal/guest/guesttest"
)

// imageFunction starts hearth-init with a function that is a container image,
// whose files are those of the host and script.
func imageFunction(t *testing.T, script string, change func(dirs guesttest.Dirs, a *controlstream.Assignment)) (*env, *controlstream.InitReport) {
	t.Helper()
	dirs := guesttest.NewDirs(t)
	writeScript(t, filepath.Join(dirs.Opt, "entry"), script)
	a := assignment()
	a.Handler = ""
	a.Image = &controlstream.Image{Command: []string{filepath.Join(dirs.Opt, "entry"), "one", "two words"}}
	change(dirs, a)
	e := start(t, dirs)
	e.assign(a)
	return e, e.init()
}

// TestImageCommand: arguments, directory, and whose variables win.
func TestImageCommand(t *testing.T) {
	e, r := imageFunction(t, `echo "$# $2 in $PWD: $OWN $COLOUR $AWS_LAMBDA_FUNCTION_NAME $LD_LIBRARY_PATH $LAMBDA_TASK_ROOT. $AWS_LAMBDA_RUNTIME_API"; exit 3`,
		func(dirs guesttest.Dirs, a *controlstream.Assignment) {
			a.Image.Dir = dirs.Opt
			a.Image.Env = map[string]string{
				"OWN": "own", "COLOUR": "red", "AWS_LAMBDA_FUNCTION_NAME": "forged", "AWS_LAMBDA_RUNTIME_API": "forged", "LAMBDA_TASK_ROOT": "/app",
			}
		})
	if r.ErrorType != "Runtime.ExitError" {
		t.Errorf("init: %+v %s", r, r.Error)
	}
	log := e.logs.of("")
	if before, rest, ok := strings.Cut(log, " in "); !ok || before != "2 two words" || !strings.Contains(rest, "/opt: own green f  /app. "+e.API) {
		t.Errorf("log: %q", log)
	}
}

// TestImageSearchPath finds programs by name, and relative to the directory.
func TestImageSearchPath(t *testing.T) {
	for name, change := range map[string]func(dirs guesttest.Dirs, a *controlstream.Assignment){
		"by the image's PATH": func(dirs guesttest.Dirs, a *controlstream.Assignment) {
			a.Image.Command = []string{"entry"}
			a.Image.Env = map[string]string{"PATH": "/usr/bin:" + dirs.Opt}
		},
		"by the directory": func(dirs guesttest.Dirs, a *controlstream.Assignment) {
			a.Image.Command, a.Image.Dir = []string{"./entry"}, dirs.Opt
		},
	} {
		t.Run(name, func(t *testing.T) {
			e, r := imageFunction(t, "echo found; exit 3", change)
			if log := e.logs.of(""); log != "found\n" && log != "found" {
				t.Errorf("init: %+v %s, log %q", r, r.Error, log)
			}
		})
	}
}

func TestImageUnstartable(t *testing.T) {
	for name, c := range map[string]struct {
		change     func(dirs guesttest.Dirs, a *controlstream.Assignment)
		kind, want string
	}{
		"no command": {func(_ guesttest.Dirs, a *controlstream.Assignment) { a.Image.Command = nil }, "Runtime.InvalidEntrypoint", "no ENTRYPOINT or CMD"},
		"not there": {func(_ guesttest.Dirs, a *controlstream.Assignment) { a.Image.Command = []string{"/no/such"} }, "Runtime.InvalidEntrypoint",
			"fork/exec /no/such: no such file or directory"},
		"not in PATH": {func(_ guesttest.Dirs, a *controlstream.Assignment) { a.Image.Command = []string{"entry"} }, "Runtime.InvalidEntrypoint",
			"fork/exec entry: no such file or directory"},
		"no directory":             {func(_ guesttest.Dirs, a *controlstream.Assignment) { a.Image.Dir = "/no/such" }, "Runtime.InvalidWorkingDir", "/no/such"},
		"a file for the directory": {func(dirs guesttest.Dirs, a *controlstream.Assignment) { a.Image.Dir = dirs.Opt + "/entry" }, "Runtime.InvalidWorkingDir", "/entry"},
	} {
		t.Run(name, func(t *testing.T) {
			_, r := imageFunction(t, "exit 3", c.change)
			if r.ErrorType != c.kind || !strings.Contains(string(r.Error), c.want) {
				t.Errorf("got %s %s, want %s with %q", r.ErrorType, r.Error, c.kind, c.want)
			}
		})
	}
}
