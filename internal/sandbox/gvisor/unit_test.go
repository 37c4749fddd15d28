package gvisor

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"hearth/internal/cgroup"
)

const mega = 1 << 20

func TestMemoryLeavesTheSandboxOut(t *testing.T) {
	var m memory
	m.setLimit(128)
	m.setBaseline(cgroup.Usage{Memory: 20 * mega})
	for _, step := range []struct {
		name      string
		usage     cgroup.Usage
		now, peak int64
	}{
		{"idle", cgroup.Usage{Memory: 20 * mega, Charged: 25 * mega, ChargedPeak: 25 * mega}, 0, 0},
		{"in use", cgroup.Usage{Memory: 50 * mega, Charged: 55 * mega, ChargedPeak: 55 * mega}, 30, 30},
		{"a spike between two samples", cgroup.Usage{Memory: 50 * mega, Charged: 55 * mega, ChargedPeak: 95 * mega}, 30, 70},
		{"page cache", cgroup.Usage{Memory: 50 * mega, Charged: 180 * mega, ChargedPeak: 180 * mega}, 30, 70},
		{"less than at first", cgroup.Usage{Memory: 10 * mega, Charged: 180 * mega, ChargedPeak: 180 * mega}, 0, 70},
		{"in the sandbox's own reserve", cgroup.Usage{Memory: 190 * mega, Charged: 192 * mega, ChargedPeak: 192 * mega}, 128, 128},
	} {
		now, peak := m.observe(step.usage)
		if now != step.now*mega || peak != step.peak*mega {
			t.Errorf("%s: got %d and %d, want %d and %d MB", step.name, now/mega, peak/mega, step.now, step.peak)
		}
	}
}

func TestRunsOn(t *testing.T) {
	for _, test := range []struct {
		cmdline string
		want    bool
	}{
		{"runsc-sandbox\x00--root=/data/run\x00boot\x00", true},
		{"/opt/bin/runsc\x00-root=/data/run\x00list\x00", true},
		{"runsc-gofer\x00--root=/data/run2\x00gofer\x00", false},
		{"runsc-gofer\x00--shared-root=/data/run\x00", false},
		{"vi\x00--root=/data/run\x00", false},
		{"", false},
		{"\x00\x00", false},
	} {
		if got := runsOn([]byte(test.cmdline), "/data/run"); got != test.want {
			t.Errorf("runsOn(%q): got %t, want %t", test.cmdline, got, test.want)
		}
	}
}

// peer serves a sentry's end of a conversation with one answer a call.
func peer(t *testing.T, answers ...string) *sentry {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	go func() {
		calls := json.NewDecoder(theirs)
		for _, answer := range answers {
			var call struct{ Method string }
			if calls.Decode(&call) != nil {
				return
			}
			_, _ = io.WriteString(theirs, strings.ReplaceAll(answer, "METHOD", call.Method))
		}
	}()
	return &sentry{conn: ours}
}

func TestSentryPausesOnce(t *testing.T) {
	// Pauses add up in the sentry: it must be told once, however often asked.
	s := peer(t, `{"success":true}`, `{"success":false,"err":"refused METHOD"}`)
	for range 3 {
		if err := s.pause(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.resume(t.Context()); err == nil || !strings.Contains(err.Error(), "refused containerManager.Resume") {
		t.Errorf("resume: got %v, want the sentry's refusal", err)
	}
}

func TestSentryIsNotTrusted(t *testing.T) {
	for name, answer := range map[string]string{
		"garbage": "garbage\n",
		"endless": `{"err":"` + strings.Repeat("x", 10*maxReply),
		"nothing": "{}",
	} {
		if err := peer(t, answer).pause(t.Context()); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

func TestSentryThatDoesNotAnswer(t *testing.T) {
	want := errors.New("out of patience")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, want)
	defer cancel()
	if err := peer(t, "").pause(ctx); !errors.Is(err, want) {
		t.Errorf("pause: got %v, want %v", err, want)
	}
}

func TestConfigIsChecked(t *testing.T) {
	_, err := New(Config{Runsc: "relative", Init: "/missing", Dir: "/tmp", Instance: "Not/Good"})
	for _, want := range []string{`"relative" is not absolute`, "program /missing", `instance "Not/Good"`, "no logger"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New: got %v, want also %q", err, want)
		}
	}
}

func FuzzSentryReply(f *testing.F) {
	f.Add(`{"success":true,"err":"","result":null}`)
	f.Add(`{"success":`)
	f.Fuzz(func(_ *testing.T, reply string) {
		_ = exchange(&fixedReply{Reader: strings.NewReader(reply)}, "x")
	})
}

// fixedReply is a connection whose peer has said all that it will say.
type fixedReply struct {
	net.Conn
	io.Reader
}

func (c *fixedReply) Read(p []byte) (int, error)  { return c.Reader.Read(p) }
func (c *fixedReply) Write(p []byte) (int, error) { return len(p), nil }
