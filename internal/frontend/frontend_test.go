package frontend

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"hearth/internal/awserr"
	"hearth/internal/counting"
	"hearth/internal/environment"
	"hearth/internal/function"
	"hearth/internal/invocation"
)

type catalog map[string]*function.Record

func (c catalog) Lookup(_, name string) (*function.Record, bool) {
	r, ok := c[name]
	return r, ok
}

func (c catalog) Version(account, name, version string) (*function.Record, bool) {
	if version != "" {
		name += ":" + version
	}
	return c.Lookup(account, name)
}

// assigner gives out leases, or fails.
type assigner struct {
	err     error
	asked   []*function.Record
	refused int
}

func (a *assigner) Refused(environment.Lease, error) { a.refused++ }

func (a *assigner) Acquire(_ context.Context, r *function.Record) (environment.Lease, error) {
	a.asked = append(a.asked, r)
	return environment.Lease{ID: environment.ID(r.UID)}, a.err
}

// worker answers with each of its errors in turn, then with success.
type worker struct {
	errs  []error
	calls int
}

func (w *worker) Invoke(_ context.Context, _ environment.Lease, req *invocation.Request, unit invocation.Unit) (*invocation.Response, error) {
	w.calls++
	if len(w.errs) > 0 {
		err := w.errs[0]
		w.errs = w.errs[1:]
		if !errors.Is(err, environment.ErrNotAccepted) {
			unit.Release()
		}
		return nil, err
	}
	unit.Release()
	return &invocation.Response{Payload: req.Payload}, nil
}

// InvokeStream is Invoke whose answer goes to the sink.
func (w *worker) InvokeStream(ctx context.Context, l environment.Lease, req *invocation.Request, unit invocation.Unit, to invocation.Sink) (*invocation.Response, error) {
	res, err := w.Invoke(ctx, l, req, unit)
	if err == nil {
		to.Begin(invocation.StreamHead{Version: "$LATEST"})
		_, err = to.Write(res.Payload)
		res.Payload = nil
	}
	return res, err
}

type rig struct {
	*Service
	assigner *assigner
	worker   *worker
	counter  *counting.Service
}

func newRig(t *testing.T, functions catalog) rig {
	t.Helper()
	c, err := counting.New(counting.Config{AccountConcurrency: 1})
	if err != nil {
		t.Fatal(err)
	}
	r := rig{assigner: &assigner{}, worker: &worker{}, counter: c}
	r.Service, err = New(Config{
		Catalog: functions, Counter: c, Assigner: r.assigner, Region: "us-east-1",
		Worker: func(environment.WorkerID) Worker { return r.worker },
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r rig) invoke(name, qualifier string) (*invocation.Response, error) {
	res, _, err := r.Invoke(context.Background(), "1", name, qualifier, &invocation.Request{ID: "r", Payload: []byte("in")})
	return res, err
}

func active(uid string) *function.Record {
	return &function.Record{Account: "1", UID: uid, State: function.Active, Serving: &function.Config{}}
}

func TestResolve(t *testing.T) {
	r := newRig(t, catalog{
		"up":      active("1"),
		"pending": {State: function.Pending},
		"failed":  {State: function.Failed},
	})
	tests := []struct{ name, qualifier, wantCode string }{
		{"up", "", ""},
		{"up", "$LATEST", ""},
		{"up", "7", "ResourceNotFoundException"},
		{"none", "", "ResourceNotFoundException"},
		{"pending", "", "ResourceConflictException"},
		{"failed", "", "ResourceConflictException"},
	}
	for _, tt := range tests {
		_, err := r.invoke(tt.name, tt.qualifier)
		got := ""
		if e, ok := awserr.As(err); ok {
			got = e.Code
		}
		if got != tt.wantCode {
			t.Errorf("%s:%s: got %v, want %q", tt.name, tt.qualifier, err, tt.wantCode)
		}
	}
	if n := r.counter.InFlight("1"); n != 0 {
		t.Errorf("%d units held at the end", n)
	}
}

func TestRetriesOnlyWhatWasNotAccepted(t *testing.T) {
	tests := []struct {
		name      string
		errs      []error
		wantCalls int
		wantOK    bool
	}{
		{"accepted", nil, 1, true},
		{"refused once", []error{environment.ErrNotAccepted}, 2, true},
		{"refused always", []error{environment.ErrNotAccepted, environment.ErrNotAccepted, environment.ErrNotAccepted, environment.ErrNotAccepted, environment.ErrNotAccepted}, 4, false},
		{"failed after it was accepted", []error{errors.New("lost")}, 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, catalog{"f": active("1")})
			r.worker.errs = tt.errs
			res, err := r.invoke("f", "")
			if (err == nil) != tt.wantOK || r.worker.calls != tt.wantCalls {
				t.Fatalf("got %v, %v after %d calls; want ok %v after %d", res, err, r.worker.calls, tt.wantOK, tt.wantCalls)
			}
			if n := r.counter.InFlight("1"); n != 0 {
				t.Fatalf("%d units held at the end", n)
			}
			if want := min(len(tt.errs), 4); tt.errs != nil && errors.Is(tt.errs[0], environment.ErrNotAccepted) && r.assigner.refused != want {
				t.Fatalf("%d refused leases reported, want %d", r.assigner.refused, want)
			}
		})
	}
}

// sink keeps an answer.
type sink struct {
	begun int
	bytes.Buffer
}

func (s *sink) Begin(invocation.StreamHead) { s.begun++ }

// TestInvokeStream: a stream is placed as any invoke is; a refused one leaves
// its sink untouched.
func TestInvokeStream(t *testing.T) {
	refused := environment.ErrNotAccepted
	for _, tt := range []struct {
		name     string
		function string
		errs     []error
		acquire  error
		want     string
		wantOK   bool
		failure  string
	}{
		{"accepted", "f", nil, nil, "in", true, ""},
		{"refused once", "f", []error{refused}, nil, "in", true, ""},
		{"refused always", "f", []error{refused, refused, refused, refused}, nil, "", false, ""},
		{"failed", "f", []error{errors.New("lost")}, nil, "", false, ""},
		{"unknown", "none", nil, nil, "", false, ""},
		{"back-off", "f", nil, &environment.BackoffError{Payload: []byte("why")}, "", true, "why"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, catalog{"f": active("1")})
			r.worker.errs, r.assigner.err = tt.errs, tt.acquire
			var to sink
			res, _, err := r.InvokeStream(t.Context(), "1", tt.function, "", &invocation.Request{Payload: []byte("in")}, &to)
			if (err == nil) != tt.wantOK || to.String() != tt.want || (to.begun > 0) != (tt.want != "") {
				t.Errorf("got %q, begun %d, %v", to.String(), to.begun, err)
			}
			if err == nil && string(res.Payload) != tt.failure {
				t.Errorf("payload %q, want %q", res.Payload, tt.failure)
			}
			if n := r.counter.InFlight("1"); n != 0 {
				t.Errorf("%d units held at the end", n)
			}
		})
	}
}

func TestRetryUsesTheNewestRecord(t *testing.T) {
	functions := catalog{"f": active("1")}
	r := newRig(t, functions)
	newer := active("1")
	newer.Generation = 2
	r.worker.errs = []error{environment.ErrNotAccepted}
	r.Service.cfg.Worker = func(environment.WorkerID) Worker {
		functions["f"] = newer // changes while the first attempt is under way
		return r.worker
	}
	if _, err := r.invoke("f", ""); err != nil {
		t.Fatal(err)
	}
	if got := r.assigner.asked[1]; got != newer {
		t.Fatalf("the retry asked for generation %d, want 2", got.Generation)
	}
}

// TestQualifiers resolves versions and aliases.
func TestQualifiers(t *testing.T) {
	f, one, two := active("f"), active("f1"), active("f2")
	one.Version, two.Version = "1", "2"
	f.Aliases = map[string]*function.Alias{
		"live":   {Name: "live", Version: "1"},
		"newest": {Name: "newest", Version: "$LATEST"},
		"half":   {Name: "half", Version: "1", Weights: map[string]float64{"2": 0.5}},
		"broken": {Name: "broken", Version: "3"},
	}
	r := newRig(t, catalog{"f": f, "f:1": one, "f:2": two})
	for qualifier, want := range map[string]*function.Record{
		"": f, "$LATEST": f, "1": one, "2": two, "live": one, "newest": f, "3": nil, "broken": nil, "none": nil,
	} {
		to, err := r.resolve("1", "f", qualifier)
		if want == nil {
			e, ok := awserr.As(err)
			if !ok || e.Message != "Function not found: arn:aws:lambda:us-east-1:1:function:f:"+qualifier {
				t.Errorf("%s: %v", qualifier, err)
			}
			continue
		}
		if err != nil || to.fn != f || to.run != want {
			t.Errorf("%s: %+v, %v", qualifier, to, err)
		}
	}
	const n = 10_000
	second := 0
	for range n {
		to, err := r.resolve("1", "f", "half")
		if err != nil {
			t.Fatal(err)
		}
		if to.run == two {
			second++
		}
	}
	// Nine standard deviations: it fails once in 10^18 runs.
	if second < n/2-450 || second > n/2+450 {
		t.Errorf("%d of %d invokes went to a version with weight 0.5", second, n)
	}
}

func TestRefusals(t *testing.T) {
	r := newRig(t, catalog{"f": active("1")})
	r.assigner.err = &environment.BackoffError{Payload: []byte(`{"errorType":"X"}`)}
	res, err := r.invoke("f", "")
	if err != nil || res.FunctionError != "Unhandled" || string(res.Payload) != `{"errorType":"X"}` {
		t.Fatalf("in a back-off: got %+v, %v; want the last failure as the function's error", res, err)
	}
	r.assigner.err = awserr.Throttled(awserr.ReasonConcurrentInvocationLimit)
	if _, err := r.invoke("f", ""); !errors.Is(err, r.assigner.err) {
		t.Fatalf("throttled: got %v", err)
	}
	r.assigner.err = errors.New("disk full at /secret/path")
	_, err = r.invoke("f", "")
	if e, ok := awserr.As(err); !ok || e.Code != "ServiceException" {
		t.Fatalf("own failure: got %v, want ServiceException without details", err)
	}
	unit, err := r.counter.Admit(t.Context(), active("1"), active("1"))
	if err != nil {
		t.Fatalf("refused invokes hold units: %v", err)
	}
	if _, err := r.invoke("f", ""); err == nil || r.counter.InFlight("1") != 1 {
		t.Fatalf("at the limit: got %v with %d in flight", err, r.counter.InFlight("1"))
	}
	unit.Release()
}

// TestCatchUp: what another process has just made is found.
func TestCatchUp(t *testing.T) {
	functions := catalog{}
	r := newRig(t, functions)
	caught := 0
	r.cfg.CatchUp = func(context.Context) error {
		caught++
		functions["late"] = active("1")
		return nil
	}
	for range 2 {
		if _, err := r.invoke("late", ""); err != nil {
			t.Fatal(err)
		}
	}
	if caught != 1 {
		t.Errorf("the catalog was brought up to date %d times, want once", caught)
	}
	r.cfg.CatchUp = func(context.Context) error { return errors.New("etcd is away") }
	if _, err := r.invoke("none", ""); !isCode(err, "ResourceNotFoundException") {
		t.Errorf("while etcd is away: %v", err)
	}
}

// TestAway: workers that are not there cost an invoke nothing but time, however
// many they are; a unit that was given up is replaced.
func TestAway(t *testing.T) {
	r := newRig(t, catalog{"f": active("1")})
	for range 10 {
		r.worker.errs = append(r.worker.errs, environment.ErrAway)
	}
	r.worker.errs = append(r.worker.errs, environment.ErrUnit)
	if _, err := r.invoke("f", ""); err != nil {
		t.Fatal(err)
	}
	if r.assigner.refused != 11 {
		t.Errorf("%d refusals were told, want 11", r.assigner.refused)
	}
	if n := r.counter.InFlight("1"); n != 0 {
		t.Errorf("%d units are held after the invoke", n)
	}
}

func isCode(err error, code string) bool {
	e, ok := awserr.As(err)
	return ok && e.Code == code
}
