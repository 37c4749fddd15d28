package worker

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"hearth/internal/controlstream"
	"hearth/internal/environment"
	"hearth/internal/function"
	"hearth/internal/invocation"
	"hearth/internal/sandbox"
)

// scripted is a hearth-init whose function does what a script says.
type scripted struct {
	guest  *controlstream.Guest
	script func(g *controlstream.Guest, in controlstream.Invoke)
	credit chan int
}

func (*scripted) Assign(*controlstream.Assignment) error       { return nil }
func (*scripted) Init(time.Duration) *controlstream.InitReport { return nil }
func (*scripted) Expire(string)                                {}
func (s *scripted) Credit(_ string, n int)                     { s.credit <- n }
func (*scripted) Shutdown(time.Duration)                       {}
func (s *scripted) Invoke(in *controlstream.Invoke, _ []byte) error {
	go s.script(s.guest, *in)
	return nil
}

// outcomes is a Reporter that keeps what it hears.
type outcomes chan environment.Outcome

func (o outcomes) InvokeDone(_ environment.Lease, out environment.Outcome, _ []byte) { o <- out }
func (outcomes) Lost(string, environment.ID)                                         {}

type counted chan struct{}

func (c counted) Release() { c <- struct{}{} }

// streamRig is a worker with one environment.
type streamRig struct {
	*Worker
	script   *scripted
	outcomes outcomes
	released counted
	logs     *memoryLogs
}

func newStreamRig(t *testing.T, script func(*controlstream.Guest, controlstream.Invoke)) *streamRig {
	t.Helper()
	ln, err := net.Listen("unix", t.TempDir()+"/s")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	r := &streamRig{script: &scripted{script: script, credit: make(chan int, 100)}, outcomes: make(outcomes, 1), released: make(counted, 1)}
	served := make(chan struct{})
	go func() {
		defer close(served)
		conn, err := net.Dial("unix", ln.Addr().String())
		if err != nil {
			return
		}
		if r.script.guest, err = controlstream.Accept(conn, controlstream.Hello{Protocol: controlstream.Version}); err == nil {
			_ = r.script.guest.Serve(r.script) // ends with the test
		}
	}()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	logs, lines := assigned()
	session, _, err := controlstream.Open(t.Context(), conn, controlstream.Options{Logs: logs.take})
	if err != nil {
		t.Fatal(err)
	}
	rec := &function.Record{Serving: &function.Config{Timeout: 60, MemorySize: 128}}
	r.logs = lines
	r.Worker = &Worker{ctx: t.Context(), cfg: Config{Reporter: r.outcomes, FreezeAfter: -1, Log: slog.New(slog.DiscardHandler)}}
	r.envs.Store(environment.ID("e"), &env{
		booted: &booted{sb: fixedSandbox{usage: sandbox.Usage{}}, session: session, logs: logs},
		w:      r.Worker, start: &environment.Start{ID: "e", Record: rec},
		report: report{rec: rec, sink: logs}, state: idle,
	})
	t.Cleanup(func() { _ = session.Close(); r.wg.Wait(); <-served })
	return r
}

func (r *streamRig) invoke(t *testing.T, tail bool, to invocation.Sink) *invocation.Response {
	t.Helper()
	res, err := r.InvokeStream(t.Context(), environment.Lease{ID: "e"}, &invocation.Request{ID: "id", Tail: tail}, r.released, to)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

// over waits for the end of the invoke.
func (r *streamRig) over() environment.Outcome {
	<-r.released
	return <-r.outcomes
}

// recorder is a Sink that keeps everything.
type recorder struct {
	heads []invocation.StreamHead
	bytes.Buffer
	err  error // of every Write
	gate chan struct{}
}

func (r *recorder) Begin(h invocation.StreamHead) { r.heads = append(r.heads, h) }

func (r *recorder) Write(b []byte) (int, error) {
	if r.gate != nil {
		<-r.gate
	}
	if r.err != nil {
		return 0, r.err
	}
	return r.Buffer.Write(b)
}

func finish(g *controlstream.Guest, in controlstream.Invoke, resp controlstream.Response, payload string, alive bool) {
	resp.RequestID = in.RequestID
	_ = g.Respond(&resp, []byte(payload)) // a broken connection shows elsewhere
	_ = g.Finish(&controlstream.Done{RequestID: in.RequestID, Alive: alive})
}

func TestInvokeStream(t *testing.T) {
	begin := func(g *controlstream.Guest, in controlstream.Invoke, pieces ...string) {
		_ = g.Begin(&controlstream.StreamHead{RequestID: in.RequestID, ContentType: "text/x"})
		for _, p := range pieces {
			_ = g.Data([]byte(p))
		}
	}
	streamed := []invocation.StreamHead{{ContentType: "text/x", Version: "$LATEST", Streamed: true}}
	for _, test := range []struct {
		name     string
		script   func(*controlstream.Guest, controlstream.Invoke)
		heads    []invocation.StreamHead
		want     string
		function string // errors
		payload  string // a part of it
		outcome  environment.Outcome
	}{
		{"streamed", func(g *controlstream.Guest, in controlstream.Invoke) {
			begin(g, in, "a", "b")
			finish(g, in, controlstream.Response{Status: controlstream.StatusSuccess}, "", true)
		}, streamed, "ab", "", "", environment.OutcomeOK},
		{"empty", func(g *controlstream.Guest, in controlstream.Invoke) {
			begin(g, in)
			finish(g, in, controlstream.Response{Status: controlstream.StatusSuccess}, "", true)
		}, streamed, "", "", "", environment.OutcomeOK},
		{"not streamed", func(g *controlstream.Guest, in controlstream.Invoke) {
			finish(g, in, controlstream.Response{Status: controlstream.StatusSuccess, ContentType: "application/json"}, "whole", true)
		}, []invocation.StreamHead{{ContentType: "application/json", Version: "$LATEST"}}, "whole", "", "", environment.OutcomeOK},
		{"failed before", func(g *controlstream.Guest, in controlstream.Invoke) {
			finish(g, in, controlstream.Response{Status: controlstream.StatusError}, "why", true)
		}, nil, "", "Unhandled", "why", environment.OutcomeOK},
		{"failed within", func(g *controlstream.Guest, in controlstream.Invoke) {
			begin(g, in, "half")
			finish(g, in, controlstream.Response{Status: controlstream.StatusError}, "why", true)
		}, streamed, "half", "Unhandled", "why", environment.OutcomeOK},
		{"timed out", func(g *controlstream.Guest, in controlstream.Invoke) {
			begin(g, in, "half")
			finish(g, in, controlstream.Response{Status: controlstream.StatusTimeout}, "", false)
		}, streamed, "half", "Unhandled", "Task timed out after 60.00 seconds", environment.OutcomeTimeout},
		{"exited", func(g *controlstream.Guest, in controlstream.Invoke) {
			begin(g, in, "half")
			finish(g, in, controlstream.Response{Status: controlstream.StatusExited, ErrorType: "Runtime.ExitError"}, "gone", false)
		}, streamed, "half", "Unhandled", "gone", environment.OutcomeCrash},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newStreamRig(t, test.script)
			var to recorder
			res := r.invoke(t, true, &to)
			if out := r.over(); out != test.outcome {
				t.Errorf("outcome %v, want %v", out, test.outcome)
			}
			if !slices.Equal(to.heads, test.heads) || to.String() != test.want {
				t.Errorf("got %+v %q, want %+v %q", to.heads, to.String(), test.heads, test.want)
			}
			if res.FunctionError != test.function || !strings.Contains(string(res.Payload), test.payload) || (test.payload == "") != (len(res.Payload) == 0) {
				t.Errorf("got %q %s, want %q %s", res.FunctionError, res.Payload, test.function, test.payload)
			}
			if !strings.Contains(string(res.Log), "REPORT RequestId: id") {
				t.Errorf("log %q", res.Log)
			}
		})
	}
}

// TestInvokeStreamLost: a sandbox that dies in the middle of an answer.
func TestInvokeStreamLost(t *testing.T) {
	r := newStreamRig(t, nil)
	hang := make(chan struct{})
	r.script.script = func(g *controlstream.Guest, in controlstream.Invoke) {
		_ = g.Begin(&controlstream.StreamHead{RequestID: in.RequestID})
		_ = g.Data([]byte("half"))
		<-hang
	}
	v, _ := r.envs.Load(environment.ID("e"))
	e := v.(*env)
	e.sb = deadSandbox{}
	to := &recorder{gate: make(chan struct{})}
	go func() {
		to.gate <- struct{}{} // the first piece has come
		_ = e.session.Close()
		close(hang)
	}()
	res := r.invoke(t, false, to)
	if out := r.over(); out != environment.OutcomeCrash {
		t.Errorf("outcome %v", out)
	}
	if to.String() != "half" || !strings.Contains(string(res.Payload), `"Runtime.ExitError"`) {
		t.Errorf("got %q, %s", to.String(), res.Payload)
	}
}

// deadSandbox has ended.
type deadSandbox struct{ fixedSandbox }

func (deadSandbox) Done() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func (deadSandbox) Exit() sandbox.Exit { return sandbox.Exit{Detail: "killed"} }

// TestSlowClientKeepsNoEnvironment: an invoke is over, and its environment and
// unit are free, while its client still has to take the answer.
func TestSlowClientKeepsNoEnvironment(t *testing.T) {
	r := newStreamRig(t, func(g *controlstream.Guest, in controlstream.Invoke) {
		_ = g.Begin(&controlstream.StreamHead{RequestID: in.RequestID})
		_ = g.Data([]byte("answer"))
		finish(g, in, controlstream.Response{Status: controlstream.StatusSuccess}, "", true)
	})
	slow := &recorder{gate: make(chan struct{})}
	ended := make(chan *invocation.Response, 1)
	go func() { ended <- r.invoke(t, false, slow) }()
	if out := r.over(); out != environment.OutcomeOK {
		t.Errorf("outcome %v", out)
	}
	var next recorder
	r.invoke(t, false, &next)
	r.over()
	close(slow.gate)
	<-ended
	if slow.String() != "answer" || next.String() != "answer" {
		t.Errorf("got %q, %q", slow.String(), next.String())
	}
}

// TestClientGone: the function is let to run on.
func TestClientGone(t *testing.T) {
	r := newStreamRig(t, nil)
	r.script.script = func(g *controlstream.Guest, in controlstream.Invoke) {
		_ = g.Begin(&controlstream.StreamHead{RequestID: in.RequestID})
		for sent, room := 0, controlstream.Window; sent < 4*controlstream.Window; sent += controlstream.MaxData {
			if room == 0 {
				room = <-r.script.credit
			}
			_ = g.Data(make([]byte, controlstream.MaxData))
			room -= controlstream.MaxData
		}
		finish(g, in, controlstream.Response{Status: controlstream.StatusSuccess}, "", true)
	}
	to := &recorder{err: errors.New("gone")}
	if res := r.invoke(t, false, to); res.FunctionError != "" {
		t.Errorf("got %+v", res)
	}
	if out := r.over(); out != environment.OutcomeOK {
		t.Errorf("outcome %v", out)
	}
}

func TestInvokeStreamNotAccepted(t *testing.T) {
	w := &Worker{}
	if _, err := w.InvokeStream(context.Background(), environment.Lease{ID: "none"}, nil, nil, nil); !errors.Is(err, environment.ErrNotAccepted) {
		t.Errorf("got %v", err)
	}
}
