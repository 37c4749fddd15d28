package guest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"hearth/internal/controlstream"
	"hearth/internal/guest/guesttest"
)

func TestInitFailures(t *testing.T) {
	for _, c := range []struct {
		name, script string
		status       controlstream.Status
		kind, want   string
	}{
		{"exit 0", "exit 0", controlstream.StatusExited, "Runtime.ExitError", "Runtime exited without providing a reason"},
		{"exit 127", "exit 127", controlstream.StatusExited, "Runtime.ExitError", "Runtime exited with error: exit status 127"},
		{"killed", "kill -9 $$", controlstream.StatusExited, "Runtime.ExitError", "Runtime exited with error: signal: killed"},
		{"no interpreter", "", controlstream.StatusError, "Runtime.InvalidEntrypoint", "no such file or directory"},
		{"not executable", "", controlstream.StatusError, "Runtime.InvalidEntrypoint", "permission denied"},
		{"not a program", "", controlstream.StatusError, "Runtime.InvalidEntrypoint", "exec format error"},
		{"missing", "", controlstream.StatusError, "Runtime.InvalidEntrypoint", "Couldn't find valid bootstrap(s): ["},
	} {
		t.Run(c.name, func(t *testing.T) {
			dirs := shellFunction(t, c.script)
			bootstrap := filepath.Join(dirs.Task, "bootstrap")
			var err error
			switch c.name {
			case "no interpreter":
				err = os.WriteFile(bootstrap, []byte("#!/no/such\n"), 0o755)
			case "not executable":
				err = os.Chmod(bootstrap, 0o644)
			case "not a program":
				err = os.WriteFile(bootstrap, []byte("\x00\x01"), 0o755)
			case "missing":
				err = os.Remove(bootstrap)
			}
			if err != nil {
				t.Fatal(err)
			}
			e := start(t, dirs)
			e.assign(assignment())
			r := e.init()
			if r.Status != c.status || r.ErrorType != c.kind || !strings.Contains(string(r.Error), c.want) {
				t.Errorf("init: got %s %s %s, want %s %s %s", r.Status, r.ErrorType, r.Error, c.status, c.kind, c.want)
			}
			// Init runs again inside the invoke, and fails again.
			got := e.invoke("{}")
			want := fmt.Sprintf(`"errorMessage":"RequestId: %s Error: `, got.id)
			if got.resp.Status != controlstream.StatusInitError || !strings.Contains(got.body, want) ||
				!strings.Contains(got.body, c.want) {
				t.Errorf("invoke: got %+v %s", got.resp, got.body)
			}
			if got.done.Alive || got.done.Init == nil || got.done.Init.Status != c.status {
				t.Errorf("done: got %+v", got.done)
			}
		})
	}
}

// TestInitError: what was posted is what the caller gets, even though the
// runtime exits right after.
func TestInitError(t *testing.T) {
	m := startManual(t)
	report := m.launch()
	m.want(m.post("runtime/init/error", `{"errorType":"Import"}`, "Lambda-Runtime-Function-Error-Type", "Runtime.Import"), 202, "OK")
	r := <-report
	if r.Status != controlstream.StatusError || r.ErrorType != "Runtime.Import" || string(r.Error) != `{"errorType":"Import"}` {
		t.Errorf("got %+v %s", r, r.Error)
	}
	noProcesses(t)
}

// TestSuppressedInit: init that ran out of time runs again inside the invoke.
func TestSuppressedInit(t *testing.T) {
	dirs := goFunction(t)
	writeScript(t, filepath.Join(dirs.Opt, "slow"), "sleep 1000")
	fast := filepath.Join(dirs.Task, "bootstrap")
	slow := filepath.Join(dirs.Task, "bootstrap.go")
	if err := os.Rename(fast, slow); err != nil {
		t.Fatal(err)
	}
	writeScript(t, fast, "sleep 1000")
	e := start(t, dirs)
	e.assign(assignment())
	ctx, cancel := contextWithTimeout(t, 100*time.Millisecond)
	defer cancel()
	r, err := e.Session.Init(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != controlstream.StatusTimeout || r.Duration < 100*time.Millisecond {
		t.Errorf("init: got %+v", r)
	}
	noProcesses(t)
	if err := os.Rename(slow, fast); err != nil {
		t.Fatal(err)
	}
	got := e.invoke(`{"do":"echo","text":"late"}`)
	if got.body != `"late"` || got.done.Init == nil || got.done.Init.Status != controlstream.StatusSuccess || !got.done.Alive {
		t.Errorf("got %q, %+v", got.body, got.done)
	}
	if got = e.invoke(`{"do":"echo","text":"warm"}`); got.body != `"warm"` || got.done.Init != nil {
		t.Errorf("got %q, %+v", got.body, got.done)
	}
}

func TestExits(t *testing.T) {
	e := ready(t, goFunction(t))
	for _, c := range []struct{ event, want string }{
		{`{"do":"exit","size":0}`, "Runtime exited without providing a reason"},
		{`{"do":"exit","size":3}`, "Runtime exited with error: exit status 3"},
	} {
		got := e.invoke(c.event)
		want := fmt.Sprintf(`{"errorType":"Runtime.ExitError","errorMessage":"RequestId: %s Error: %s"}`, got.id, c.want)
		if got.body != want || got.resp.Status != controlstream.StatusExited || got.done.Alive {
			t.Errorf("got %s %+v %+v, want %s", got.body, got.resp, got.done, want)
		}
	}
	// The Go client reports a panic and then exits.
	got := e.invoke(`{"do":"panic","text":"boom"}`)
	if got.resp.Status != controlstream.StatusError || !strings.Contains(got.body, "boom") {
		t.Errorf("panic: got %+v %s", got.resp, got.body)
	}
	if got.done.Alive {
		t.Error("panic: alive")
	}
	if got := e.invoke(`{"do":"fail","text":"sorry"}`); got.resp.Status != controlstream.StatusError || !got.done.Alive ||
		got.body != `{"errorMessage":"sorry","errorType":"errorString"}` {
		t.Errorf("fail: got %+v %s", got.resp, got.body)
	}
}

func TestDeadline(t *testing.T) {
	e := ready(t, goFunction(t))
	got := e.invokeFor(`{"do":"hang"}`, 300*time.Millisecond)
	if got.resp.Status != controlstream.StatusTimeout || got.done.Alive || got.done.Duration < 250*time.Millisecond {
		t.Errorf("got %+v %+v", got.resp, got.done)
	}
	if log := e.logs.of(got.id); log != "hanging\n" {
		t.Errorf("log: got %q", log)
	}
	noProcesses(t)
	if got = e.invoke(`{"do":"echo","text":"again"}`); got.body != `"again"` || got.done.Init == nil {
		t.Errorf("after: got %q %+v", got.body, got.done)
	}
}

// TestDaemons: what a function leaves behind dies with it.
func TestDaemons(t *testing.T) {
	dirs := shellFunction(t, `for i in 1 2 3; do setsid sh -c 'sleep 1000 & exec setsid sleep 1000' & done; sleep 0.1; exit 1`)
	e := start(t, dirs)
	e.assign(assignment())
	e.init()
	noProcesses(t)
}

// noProcesses fails if a process of the function's user is alive.
func noProcesses(t testing.TB) {
	t.Helper()
	for _, pid := range functionProcesses(t) {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		t.Errorf("left behind: %d\n%.200s", pid, b)
	}
}

// functionProcesses are those of the function's user.
func functionProcesses(t testing.TB) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, entry := range entries {
		b, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "status"))
		pid, notPID := strconv.Atoi(entry.Name())
		if err == nil && notPID == nil && strings.Contains(string(b), fmt.Sprintf("\nUid:\t%d\t", testUID)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// TestPrivileges: what the function's processes are and have.
func TestPrivileges(t *testing.T) {
	e := start(t, shellFunction(t, `grep -E '^(Uid|Gid|Groups|CapPrm|CapEff|CapAmb|NoNewPrivs)' /proc/self/status
echo "cwd $PWD; umask $(umask); files $(ulimit -n); core $(ulimit -c)"
echo "fds" $(ls /proc/self/fd); ps -o sid= -p $$ | tr -d ' '; env | sort; exit 1`))
	a := assignment()
	a.CustomerEnv["AWS_LAMBDA_RUNTIME_API"], a.CustomerEnv["PATH"], a.CustomerEnv["_HANDLER"] = "x", "/usr/bin:/bin", "x"
	a.PlatformEnv["PATH"] = "/nowhere"
	e.assign(a)
	e.init()
	log := e.logs.of("")
	for _, want := range []string{
		fmt.Sprintf("Uid:\t%d\t%d\t%d\t%d\n", testUID, testUID, testUID, testUID),
		fmt.Sprintf("Gid:\t%d\t%d\t%d\t%d\n", testGID, testGID, testGID, testGID),
		"Groups:\t \n", "CapPrm:\t0000000000000000\n", "CapEff:\t0000000000000000\n", "CapAmb:\t0000000000000000\n",
		"NoNewPrivs:\t1\n", "umask 0022; files 256; core 0\n", "fds 0 1 2 3\n", // 3 is ls's own
		"AWS_LAMBDA_RUNTIME_API=" + e.API + "\n", "PATH=/usr/bin:/bin\n", "_HANDLER=app.handler\n", "COLOUR=green\n",
		"TZ=:UTC\n", "AWS_LAMBDA_FUNCTION_NAME=f\n", "LAMBDA_TASK_ROOT=/",
	} {
		if !strings.Contains(log, want) {
			t.Errorf("lacks %q in\n%s", want, log)
		}
	}
}

// TestLogs: lines, long ones, and a flood, all there when the invoke is done.
func TestLogs(t *testing.T) {
	const flood = 3 << 20
	e := ready(t, goFunction(t))
	got := e.invoke(fmt.Sprintf(`{"do":"log","text":%q}`, strings.Repeat("y", 300<<10)+strings.Repeat("\nline", flood/5)))
	if n := len(e.logs.of(got.id)); n < flood {
		t.Errorf("got %d bytes at done, want more than %d", n, flood)
	}
	if log := e.logs.of(got.id); !strings.HasSuffix(log, "\nline\nno newline") {
		t.Errorf("log ends with %q", log[len(log)-20:])
	}
	e.invoke(`{"do":"log","text":"x"}`)
	if log := e.logs.of(got.id); !strings.HasSuffix(log, "no newline") {
		t.Error("a later invoke's log was counted to an earlier one")
	}
}

// TestHostileConnections: what a function does to the Runtime API's port
// neither ends hearth-init nor makes it grow.
func TestHostileConnections(t *testing.T) {
	m := startManual(t)
	id, got := m.begin(m.ready(), "{}")
	head := "POST /2018-06-01/runtime/invocation/" + id + "/response HTTP/1.1\r\nX: "
	for range 2000 {
		c := dialHostile(t, m.API)
		_, _ = c.Write([]byte(head)) // and no more
	}
	if rss := residentKB(t, m.PID); rss > 64<<10 {
		t.Errorf("hearth-init holds %d KiB", rss)
	}
	// The connection from before still works.
	m.want(m.post("runtime/invocation/"+id+"/response", "fine"), 202, "")
	m.next()
	if r := <-got; r.body != "fine" {
		t.Errorf("got %q", r.body)
	}
}

func residentKB(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestShutdown(t *testing.T) {
	e := ready(t, goFunction(t))
	if err := e.Session.Shutdown(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	noProcesses(t)
	if err := e.Session.Close(); err != nil {
		t.Fatal(err)
	}
	<-e.Exited
}

// TestWorkerGone: without a worker everything ends.
func TestWorkerGone(t *testing.T) {
	e := ready(t, goFunction(t))
	if err := e.Session.Close(); err != nil {
		t.Fatal(err)
	}
	<-e.Exited
	noProcesses(t)
}

func TestAssignTwice(t *testing.T) {
	e := ready(t, goFunction(t))
	if err := e.Session.Assign(t.Context(), assignment()); err == nil {
		t.Error("assigned twice")
	}
	<-e.Session.Closed()
	<-e.Exited
}

func TestAssignRefusesRoot(t *testing.T) {
	e := start(t, guesttest.NewDirs(t))
	a := assignment()
	a.UID = 0
	if err := e.Session.Assign(t.Context(), a); err == nil || !strings.Contains(err.Error(), "must not be root") {
		t.Errorf("got %v", err)
	}
}
