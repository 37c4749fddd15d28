package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

var reportLine = regexp.MustCompile(`^REPORT RequestId: (\S+)\tDuration: (\d+\.\d\d) ms\tBilled Duration: (\d+) ms\tMemory Size: (\d+) MB\tMax Memory Used: (\d+) MB\t(?:Init Duration: (\d+\.\d\d) ms\t)?$`)

func TestLogLines(t *testing.T) {
	t.Parallel()
	eachRuntime(t, func(t *testing.T, runtime string) {
		f := deploy(t, runtime, memory(256), variables("AT_INIT", "print"))
		cold := f.do(t, event{"do": "say", "text": "erste Zeile ü"}, nil)
		warm := f.do(t, event{"do": "say", "text": "zweite Zeile"}, nil)
		var lines []string
		eventually(t, "the log is whole", func() bool {
			lines = logLines(t, f, "")
			return strings.Contains(strings.Join(lines, "\n"), "REPORT RequestId: "+warm.id)
		})
		want := []string{
			`^INIT_START Runtime Version: \S+\tRuntime Version ARN: arn:aws:lambda:us-east-1::runtime:[0-9a-f]{64}$`,
			`said at init$`,
			`^START RequestId: ` + cold.id + ` Version: \$LATEST$`, `erste Zeile ü$`, `^END RequestId: ` + cold.id + `$`, reportLine.String(),
			`^START RequestId: ` + warm.id + ` Version: \$LATEST$`, `zweite Zeile$`, `^END RequestId: ` + warm.id + `$`, reportLine.String(),
		}
		if len(lines) != len(want) {
			t.Fatalf("%d lines, want %d:\n%s", len(lines), len(want), strings.Join(lines, "\n"))
		}
		for i, pattern := range want {
			if !regexp.MustCompile(pattern).MatchString(lines[i]) {
				t.Errorf("line %d: %q, want %s", i+1, lines[i], pattern)
			}
		}
		checkReport(t, lines[5], cold.id, true)
		checkReport(t, lines[9], warm.id, false)
		// The tail of an invoke is what the log has of it.
		if want := strings.Join(lines[6:], "\n") + "\n"; warm.log != want {
			t.Errorf("tail %q, want %q", warm.log, want)
		}
		if got := logLines(t, f, warm.id); strings.Join(got, "\n") != strings.Join(lines[6:], "\n") {
			t.Errorf("lines of one request: %q", got)
		}
	})
}

// logLines reads a function's log with hearth logs, without the times.
func logLines(t *testing.T, f *function, id string) []string {
	t.Helper()
	args := []string{"logs", f.name}
	if id != "" {
		args = append(args, "--request-id", id)
	}
	stamp := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z `)
	var lines []string
	for line := range strings.Lines(hearth(t, shared, args...)) {
		if !stamp.MatchString(line) {
			t.Errorf("no time in %q", line)
		}
		lines = append(lines, strings.TrimSuffix(stamp.ReplaceAllString(line, ""), "\n"))
	}
	return lines
}

func checkReport(t *testing.T, line, id string, cold bool) {
	t.Helper()
	m := reportLine.FindStringSubmatch(line)
	if m == nil || m[1] != id || m[4] != "256" {
		t.Fatalf("%q is no report of %s", line, id)
	}
	number := func(s string) float64 {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if (m[6] != "") != cold {
		t.Errorf("init duration %q in %q", m[6], line)
	}
	duration := number(m[2])
	if cold {
		duration += number(m[6])
	}
	if billed := number(m[3]); math.Abs(billed-duration) > 1.1 {
		t.Errorf("billed %v ms of %.2f", billed, duration)
	}
}

// TestMemoryUsed is about the figure in REPORT: it follows what the function
// takes, and never falls while the environment lives.
func TestMemoryUsed(t *testing.T) {
	t.Parallel()
	f := deploy(t, python, memory(512))
	used := func(e event) int {
		t.Helper()
		m := regexp.MustCompile(`Max Memory Used: (\d+) MB`).FindStringSubmatch(f.do(t, e, nil).log)
		if m == nil {
			t.Fatal("no report")
		}
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	idle := used(event{"do": "state"})
	if idle < 1 || idle > 100 {
		t.Errorf("an idle function has used %d MB", idle)
	}
	if got := used(event{"do": "take", "mb": 200}); got < idle+195 || got > idle+230 {
		t.Errorf("%d MB with 200 taken, %d before", got, idle)
	}
	if got := used(event{"do": "state"}); got < idle+195 {
		t.Errorf("%d MB after 200 were taken", got)
	}
}

// TestTailIsCutOff is about the size of the tail: the last 4 KB.
func TestTailIsCutOff(t *testing.T) {
	t.Parallel()
	f := deploy(t, python)
	r := f.do(t, event{"do": "say", "text": strings.Repeat("y", 99), "times": 200}, nil)
	if len(r.log) > 4096 || len(r.log) < 4000 || !strings.Contains(r.log, "REPORT RequestId: "+r.id) {
		t.Errorf("%d bytes of tail: %q", len(r.log), r.log)
	}
	out, err := f.client.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: &f.name, Payload: []byte(`{"do":"state"}`)})
	if err != nil || out.LogResult != nil {
		t.Errorf("a tail that nobody asked for: %v, %v", out.LogResult, err)
	}
}

// TestFlood is about a function that writes more than anyone reads.
func TestFlood(t *testing.T) {
	t.Parallel()
	eachRuntime(t, func(t *testing.T, runtime string) {
		f := deploy(t, runtime, timeout(60))
		f.do(t, event{"do": "say", "text": strings.Repeat("z", 1023), "times": 10 << 10}, nil)
		r := f.do(t, event{"do": "say", "text": "still here"}, nil)
		if !strings.Contains(r.log, "still here") {
			t.Errorf("tail after a flood: %q", r.log)
		}
		// One line without an end is cut into pieces, not collected.
		f.do(t, event{"do": "say", "text": strings.Repeat("w", 2<<20)}, nil)
		f.do(t, event{"do": "state"}, nil)
	})
}

// TestJSONLogs is about the other format of log lines.
func TestJSONLogs(t *testing.T) {
	t.Parallel()
	f := deploy(t, python, func(in *lambda.CreateFunctionInput) {
		in.LoggingConfig = &types.LoggingConfig{LogFormat: types.LogFormatJson}
	})
	r := f.do(t, event{"do": "state"}, nil)
	kinds := map[string]map[string]any{}
	for line := range strings.Lines(r.log) {
		var l struct {
			Time, Type string
			Record     map[string]any
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		kinds[l.Type] = l.Record
	}
	for _, kind := range []string{"platform.start", "platform.report"} {
		if kinds[kind]["requestId"] != r.id {
			t.Errorf("%s of %s: got %v", kind, r.id, kinds[kind])
		}
	}
	metrics, _ := kinds["platform.report"]["metrics"].(map[string]any)
	for _, name := range []string{"durationMs", "billedDurationMs", "memorySizeMB", "maxMemoryUsedMB", "initDurationMs"} {
		if v, ok := metrics[name].(float64); !ok || v <= 0 {
			t.Errorf("%s is %v", name, fmt.Sprint(metrics[name]))
		}
	}
}
