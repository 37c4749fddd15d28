package guest_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hearth/internal/controlstream"
	"hearth/internal/guest/guesttest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	guesttest.Cleanup()
	// These two live as long as hearth-init; a benchmark starts them.
	err := goleak.Find(goleak.IgnoreAnyFunction("hearth/internal/guest.(*poller).run"),
		goleak.IgnoreAnyFunction("hearth/internal/guest.(*server).serve"))
	if code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// testUID and testGID are the function's user; nobody else uses them.
const testUID, testGID = 64993, 64990

// env is an assigned environment under test.
type env struct {
	*guesttest.Guest
	t    testing.TB
	logs *logs
	n    int
}

// logs are what the function wrote, by request id.
type logs struct {
	mu    sync.Mutex
	moved sync.Cond
	by    map[string]*strings.Builder
}

func newLogs() *logs {
	l := &logs{by: make(map[string]*strings.Builder)}
	l.moved.L = &l.mu
	return l
}

func (l *logs) add(rec controlstream.LogRecord) {
	l.mu.Lock()
	b := l.by[rec.RequestID]
	if b == nil {
		b = new(strings.Builder)
		l.by[rec.RequestID] = b
	}
	b.Write(rec.Data)
	l.mu.Unlock()
	l.moved.Broadcast()
}

// await waits until a part was written outside of any invoke.
func (l *logs) await(part string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.by[""] == nil || !strings.Contains(l.by[""].String(), part) {
		l.moved.Wait()
	}
}

func (l *logs) of(id string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if b := l.by[id]; b != nil {
		return b.String()
	}
	return ""
}

// goFunction is a task directory with the Go function.
func goFunction(t testing.TB) guesttest.Dirs {
	t.Helper()
	dirs := guesttest.NewDirs(t)
	copyFile(t, guesttest.Build(t, "hearth/internal/guest/testdata/gofunc"), filepath.Join(dirs.Task, "bootstrap"))
	return dirs
}

// shellFunction is a task directory with a bootstrap that is a shell script.
func shellFunction(t testing.TB, script string) guesttest.Dirs {
	t.Helper()
	dirs := guesttest.NewDirs(t)
	writeScript(t, filepath.Join(dirs.Task, "bootstrap"), script)
	return dirs
}

func writeScript(t testing.TB, path, script string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t testing.TB, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func start(t testing.TB, dirs guesttest.Dirs) *env {
	t.Helper()
	l := newLogs()
	return &env{Guest: guesttest.Start(t, dirs, controlstream.Options{Logs: l.add}), t: t, logs: l}
}

func assignment() *controlstream.Assignment {
	return &controlstream.Assignment{
		FunctionName: "f", FunctionVersion: "$LATEST", Handler: "app.handler",
		CustomerEnv: map[string]string{"COLOUR": "green"},
		PlatformEnv: map[string]string{"AWS_LAMBDA_FUNCTION_NAME": "f"},
		UID:         testUID, GID: testGID, Files: 256, Processes: 256,
	}
}

func (e *env) assign(a *controlstream.Assignment) {
	e.t.Helper()
	if err := e.Session.Assign(e.t.Context(), a); err != nil {
		e.t.Fatal(err)
	}
}

func (e *env) init() *controlstream.InitReport {
	e.t.Helper()
	report, err := e.Session.Init(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	return report
}

// ready assigns and initialises.
func ready(t testing.TB, dirs guesttest.Dirs) *env {
	t.Helper()
	e := start(t, dirs)
	e.assign(assignment())
	if r := e.init(); r.Status != controlstream.StatusSuccess {
		t.Fatalf("init: %+v %s", r, r.Error)
	}
	return e
}

// result is how an invoke ended.
type result struct {
	id   string
	resp *controlstream.Response
	body string
	done *controlstream.Done
}

func (e *env) invoke(event string) result {
	e.t.Helper()
	return e.invokeFor(event, time.Minute)
}

func (e *env) invokeFor(event string, limit time.Duration) result {
	e.t.Helper()
	e.n++
	in := &controlstream.Invoke{
		RequestID:     fmt.Sprintf("00000000-0000-0000-0000-%012d", e.n),
		FunctionARN:   "arn:aws:lambda:us-east-1:000000000000:function:f",
		DeadlineMs:    time.Now().Add(limit).UnixMilli(),
		ClientContext: []byte("{\"custom\":\n{\"a\":\"b\"}}"),
	}
	resp, body, err := e.Session.Invoke(e.t.Context(), in, []byte(event))
	if err != nil {
		e.t.Fatal(err)
	}
	done, err := e.Session.WaitDone(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	return result{in.RequestID, resp, string(body), done}
}

func contextWithTimeout(t testing.TB, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Context(), d)
}

func dialHostile(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func TestGoFunction(t *testing.T) {
	e := ready(t, goFunction(t))
	for range 3 {
		got := e.invoke(`{"do":"echo","text":"hello"}`)
		if got.body != `"hello"` || got.resp.Status != controlstream.StatusSuccess || !got.done.Alive {
			t.Fatalf("got %q %+v %+v", got.body, got.resp, got.done)
		}
	}
	got := e.invoke(`{"do":"log","text":"a line"}`)
	if want := "a line\nno newline"; e.logs.of(got.id) != want {
		t.Errorf("log %q, want %q", e.logs.of(got.id), want)
	}
	got = e.invoke(`{"do":"context","text":"COLOUR"}`)
	for _, want := range []string{`"id":"` + got.id, `"env":"green"`, `"client":{"a":"b"}`, `:function:f"`} {
		if !strings.Contains(got.body, want) {
			t.Errorf("context %s lacks %s", got.body, want)
		}
	}
}
