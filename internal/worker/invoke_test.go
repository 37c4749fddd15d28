package worker

import (
	"context"
	"encoding/json"
	"testing"

	"hearth/internal/controlstream"
	"hearth/internal/environment"
	"hearth/internal/function"
	"hearth/internal/invocation"
	"hearth/internal/sandbox"
)

// fixedSandbox is a sandbox that has used so much.
type fixedSandbox struct {
	sandbox.Sandbox
	usage sandbox.Usage
}

func (s fixedSandbox) Stats(context.Context) (sandbox.Usage, error) { return s.usage, nil }

// TestOutOfMemoryComesFirst has functions miss their deadline, or end, with and
// without a kill for memory.
func TestOutOfMemoryComesFirst(t *testing.T) {
	fails := map[string]func(c *call){
		"told":  func(c *call) { c.judge(&controlstream.Response{Status: controlstream.StatusTimeout}, nil) },
		"lost":  func(c *call) { c.lost(t.Context(), context.DeadlineExceeded) },
		"ended": func(c *call) { c.judge(&controlstream.Response{Status: controlstream.StatusExited}, []byte(`{}`)) },
	}
	for _, test := range []struct {
		how     string
		killed  bool
		want    environment.Outcome
		payload string // its errorType
	}{
		{"told", false, environment.OutcomeTimeout, "Sandbox.Timedout"},
		{"told", true, environment.OutcomeOutOfMemory, outOfMemory},
		{"lost", false, environment.OutcomeTimeout, "Sandbox.Timedout"},
		{"lost", true, environment.OutcomeOutOfMemory, outOfMemory},
		{"ended", false, environment.OutcomeCrash, ""},
		{"ended", true, environment.OutcomeOutOfMemory, outOfMemory},
	} {
		logs, _ := assigned()
		rec := &function.Record{Serving: &function.Config{Timeout: 3}}
		e := &env{
			booted: &booted{sb: fixedSandbox{usage: sandbox.Usage{OutOfMemory: test.killed}}},
			w:      &Worker{ctx: t.Context()},
			start:  &environment.Start{Record: rec},
			report: report{rec: rec, sink: logs},
		}
		c := &call{env: e, req: &invocation.Request{ID: "id"}, res: &invocation.Response{}}
		fails[test.how](c)
		var got struct{ ErrorType string }
		if err := json.Unmarshal(c.res.Payload, &got); err != nil {
			t.Fatal(err)
		}
		if c.res.Outcome != test.want || got.ErrorType != test.payload || c.res.FunctionError != "Unhandled" {
			t.Errorf("%s, killed %t: got %v, %s, want %v", test.how, test.killed, c.res.Outcome, c.res.Payload, test.want)
		}
	}
}
