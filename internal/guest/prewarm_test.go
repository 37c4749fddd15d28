package guest_test

import (
	"path/filepath"
	"strings"
	"testing"

	"hearth/internal/controlstream"
	"hearth/internal/guest/guesttest"
)

// prewarmFunction has a prewarm program that becomes the Go function.
func prewarmFunction(t *testing.T) guesttest.Dirs {
	t.Helper()
	dirs := goFunction(t)
	writeScript(t, filepath.Join(dirs.Runtime, "prewarm"), `
echo >&4; exec 4>&-
IFS= read -r line <&3 || exit 0
exec 3<&-
echo "took $line"
cd `+dirs.Task+`
COLOUR=warm exec ./bootstrap`)
	return dirs
}

// warmAssignment has the user and the limits of prewarmed runtimes.
func warmAssignment() *controlstream.Assignment {
	a := assignment()
	a.UID, a.GID, a.Files, a.Processes = 993, 990, 1024, 1024
	return a
}

func TestPrewarm(t *testing.T) {
	e := start(t, prewarmFunction(t))
	if !e.Hello.Prewarmed {
		t.Error("hello does not say prewarmed")
	}
	a := warmAssignment()
	e.assign(a)
	if r := e.init(); r.Status != controlstream.StatusSuccess {
		t.Fatalf("init: %+v %s", r, r.Error)
	}
	if got := e.invoke(`{"do":"context","text":"COLOUR"}`); !strings.Contains(got.body, `"env":"warm"`) {
		t.Errorf("not the prewarmed one: %s", got.body)
	}
	log := e.logs.of("")
	for _, want := range []string{`"COLOUR":"green"`, `"_HANDLER":"app.handler"`, `"cwd":"/`, `"TZ":":UTC"`} {
		if !strings.Contains(log, want) {
			t.Errorf("handover lacks %s: %s", want, log)
		}
	}
}

// TestPrewarmUnfit: a prewarmed runtime that cannot take the function is
// replaced.
func TestPrewarmUnfit(t *testing.T) {
	for _, name := range []string{"PYTHONPATH", "NODE_OPTIONS", "LD_PRELOAD", "TZ", "AWS_LAMBDA_EXEC_WRAPPER", "another user", "other limits"} {
		t.Run(name, func(t *testing.T) {
			e := start(t, prewarmFunction(t))
			a := warmAssignment()
			switch name {
			case "another user":
				a.UID, a.GID = testUID, testGID
			case "other limits":
				a.Files--
			default:
				a.CustomerEnv[name] = ""
			}
			e.assign(a)
			if r := e.init(); r.Status != controlstream.StatusSuccess {
				t.Fatalf("init: %+v %s", r, r.Error)
			}
			if got := e.invoke(`{"do":"context","text":"COLOUR"}`); !strings.Contains(got.body, `"env":"green"`) {
				t.Errorf("got %s", got.body)
			}
		})
	}
}

// TestPrewarmDead: one that died is replaced too.
func TestPrewarmDead(t *testing.T) {
	dirs := goFunction(t)
	writeScript(t, filepath.Join(dirs.Runtime, "prewarm"), "exit 1")
	e := start(t, dirs)
	if e.Hello.Prewarmed {
		t.Error("hello says prewarmed")
	}
	a := warmAssignment()
	e.assign(a)
	if r := e.init(); r.Status != controlstream.StatusSuccess {
		t.Fatalf("init: %+v %s", r, r.Error)
	}
}
