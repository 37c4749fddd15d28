package worker

import (
	"fmt"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/internal/controlstream"
	"hearth/internal/environment"
	"hearth/internal/function"
	"hearth/internal/invocation"
)

// memoryLogs keeps what is appended, one string a line.
type memoryLogs struct {
	mu    sync.Mutex
	lines []string
}

func (m *memoryLogs) Append(_, group, stream string, _ time.Time, requestID string, line []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines = append(m.lines, fmt.Sprintf("%s|%s|%s|%s", group, stream, requestID, strings.TrimRight(string(line), "\n")))
}

func assigned() (*sink, *memoryLogs) {
	logs, s := &memoryLogs{}, &sink{}
	s.assign(logs, "a", "g", "s", levelTrace)
	return s, logs
}

func TestSinkDropsWhatNobodyOwns(t *testing.T) {
	s := &sink{}
	s.take(controlstream.LogRecord{Data: []byte("before\n")})
	logs := &memoryLogs{}
	s.assign(logs, "a", "g", "s", levelTrace)
	s.take(controlstream.LogRecord{RequestID: "r", Data: []byte("after\n")})
	if got := strings.Join(logs.lines, ","); got != "g|s|r|after" {
		t.Fatalf("got %q, want only what came after the assignment", got)
	}
}

func TestTail(t *testing.T) {
	line := func(i int) string { return fmt.Sprintf("line %04d %s\n", i, strings.Repeat("x", 40)) }
	s, _ := assigned()
	s.take(controlstream.LogRecord{Data: []byte("of the invoke before\n")})
	s.begin()
	var all strings.Builder
	for i := range 1000 {
		s.take(controlstream.LogRecord{Data: []byte(line(i))})
		all.WriteString(line(i))
	}
	got := string(s.end())
	if len(got) != invocation.LogTail || !strings.HasSuffix(all.String(), got) {
		t.Fatalf("got %d bytes ending %q, want the last 4 KiB", len(got), got[len(got)-20:])
	}
	s.begin()
	s.take(controlstream.LogRecord{Data: []byte("no newline")})
	s.take(controlstream.LogRecord{Data: []byte(strings.Repeat("y", 3*invocation.LogTail))})
	if got := s.end(); len(got) != invocation.LogTail {
		t.Fatalf("after one long line: %d bytes, want %d", len(got), invocation.LogTail)
	}
	if cap(s.tail) > 16*invocation.LogTail {
		t.Fatalf("the tail keeps %d bytes of memory", cap(s.tail))
	}
}

func newReport(json bool) (*report, *memoryLogs) {
	s, logs := assigned()
	rec := &function.Record{Name: "f", Serving: &function.Config{MemorySize: 128, Timeout: 3}}
	return &report{rec: rec, image: Image{Version: "python:3.11.v1", ARN: "arn:x"}, sink: s, json: json}, logs
}

var at = time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC)

func TestReportLines(t *testing.T) {
	tests := []struct {
		name string
		do   func(r *report)
		want string
	}{
		{"init start", func(r *report) { r.initStart(at) }, "|INIT_START Runtime Version: python:3.11.v1\tRuntime Version ARN: arn:x"},
		{"start", func(r *report) { r.start(at, "id") }, "id|START RequestId: id Version: $LATEST"},
		{
			"warm", func(r *report) { r.end(at, "id", usage{duration: 1234 * time.Microsecond, memoryMB: 40}) },
			"id|END RequestId: id\ng|s|id|REPORT RequestId: id\tDuration: 1.23 ms\tBilled Duration: 2 ms\tMemory Size: 128 MB\tMax Memory Used: 40 MB\t",
		},
		{
			"cold", func(r *report) {
				r.end(at, "id", usage{duration: time.Millisecond, init: 100 * time.Millisecond, memoryMB: 40})
			},
			"id|END RequestId: id\ng|s|id|REPORT RequestId: id\tDuration: 1.00 ms\tBilled Duration: 101 ms\tMemory Size: 128 MB\tMax Memory Used: 40 MB\tInit Duration: 100.00 ms\t",
		},
		{
			"error", func(r *report) { r.end(at, "id", usage{duration: time.Millisecond, errType: "Runtime.Unknown"}) },
			"id|END RequestId: id\ng|s|id|REPORT RequestId: id\tDuration: 1.00 ms\tBilled Duration: 1 ms\tMemory Size: 128 MB\tMax Memory Used: 0 MB\tStatus: error\tError Type: Runtime.Unknown\t",
		},
		{
			"timeout", func(r *report) {
				r.end(at, "id", usage{duration: 3 * time.Second, outcome: environment.OutcomeTimeout})
			},
			"id|END RequestId: id\ng|s|id|REPORT RequestId: id\tDuration: 3000.00 ms\tBilled Duration: 3000 ms\tMemory Size: 128 MB\tMax Memory Used: 0 MB\tStatus: timeout\t",
		},
		{"timed out", func(r *report) { r.timedOut(at, "id") }, "id|2026-01-02T03:04:05.006Z id Task timed out after 3.00 seconds"},
		{
			"init failed", func(r *report) {
				r.initFailed(at, "init", "", &controlstream.InitReport{Status: controlstream.StatusExited, Duration: time.Second, ErrorType: "Runtime.ExitError"})
			},
			"|INIT_REPORT Init Duration: 1000.00 ms\tPhase: init\tStatus: error\tError Type: Runtime.ExitError",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, logs := newReport(false)
			tt.do(r)
			if got, want := strings.Join(logs.lines, "\n"), "g|s|"+tt.want; got != want {
				t.Errorf("got  %q\nwant %q", got, want)
			}
		})
	}
}

func TestReportJSON(t *testing.T) {
	r, logs := newReport(true)
	r.initialization = "on-demand"
	r.initDone(at, time.Millisecond)
	r.start(at, "id")
	r.timedOut(at, "id") // the text line has no counterpart
	r.end(at, "id", usage{duration: 1234 * time.Microsecond, init: time.Millisecond, memoryMB: 40, errType: "X"})
	const head = `{"time":"2026-01-02T03:04:05.006Z","type":"platform.`
	want := []string{
		`g|s||` + head + `initRuntimeDone","record":{"initializationType":"on-demand","phase":"init","status":"success"}}`,
		`g|s||` + head + `initReport","record":{"initializationType":"on-demand","metrics":{"durationMs":1},"phase":"init","status":"success"}}`,
		`g|s|id|` + head + `start","record":{"requestId":"id","version":"$LATEST"}}`,
		`g|s|id|` + head + `runtimeDone","record":{"errorType":"X","metrics":{"durationMs":1.234},"requestId":"id","status":"error"}}`,
		`g|s|id|` + head + `report","record":{"errorType":"X","metrics":{"billedDurationMs":3,"durationMs":1.234,"initDurationMs":1,` +
			`"maxMemoryUsedMB":40,"memorySizeMB":128},"requestId":"id","status":"error"}}`,
	}
	if got, want := strings.Join(logs.lines, "\n"), strings.Join(want, "\n"); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestReportLevels has the table of AWS's page "Log-level filtering", "System
// log level event mapping":
// https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html
func TestReportLevels(t *testing.T) {
	failed := &controlstream.InitReport{Status: controlstream.StatusExited, ErrorType: "X"}
	good, bad := usage{}, usage{errType: "X"}
	tests := []struct {
		name              string
		initialization    string
		do                func(r *report)
		debug, info, warn string
	}{
		{"init", "on-demand", func(r *report) { r.initStart(at) }, "initStart", "initStart", ""},
		{"init done", "on-demand", func(r *report) { r.initDone(at, 1) }, "initRuntimeDone initReport", "", ""},
		{"init done ahead", "provisioned-concurrency", func(r *report) { r.initDone(at, 1) }, "initRuntimeDone initReport", "initReport", ""},
		{
			"init failed", "on-demand", func(r *report) { r.initFailed(at, "init", "", failed) },
			"initRuntimeDone initReport", "initRuntimeDone initReport", "initRuntimeDone initReport",
		},
		{"start", "on-demand", func(r *report) { r.start(at, "id") }, "start", "start", ""},
		{"end", "on-demand", func(r *report) { r.end(at, "id", good) }, "runtimeDone report", "report", ""},
		{"failed", "on-demand", func(r *report) { r.end(at, "id", bad) }, "runtimeDone report", "runtimeDone report", "runtimeDone report"},
	}
	kind := regexp.MustCompile(`"type":"platform\.(\w+)"`)
	for _, tt := range tests {
		for name, want := range map[string]string{"DEBUG": tt.debug, "INFO": tt.info, "": tt.info, "WARN": tt.warn} {
			r, logs := newReport(true)
			r.initialization = tt.initialization
			r.least = systemLevel(&function.Config{LogFormat: "JSON", SystemLogLevel: name})
			tt.do(r)
			var got []string
			for _, line := range logs.lines {
				got = append(got, kind.FindStringSubmatch(line)[1])
			}
			if got := strings.Join(got, " "); got != want {
				t.Errorf("%s at %q: got %q, want %q", tt.name, name, got, want)
			}
		}
	}
	if systemLevel(&function.Config{LogFormat: "Text", SystemLogLevel: "WARN"}) != levelTrace {
		t.Error("text lines are left out")
	}
}

func TestApplicationLevels(t *testing.T) {
	tests := []struct {
		runtime, format, level string
		want                   string
	}{
		{"provided.al2023", "JSON", "WARN", "W T X"},
		{"provided.al2023", "JSON", "INFO", "I W N M T X"},
		{"provided.al2023", "JSON", "", "I W N M T X"},
		{"provided.al2023", "JSON", "TRACE", "D I W N M T X"},
		{"provided.al2023", "Text", "", "D I W N M T X"},
		{"python3.11", "JSON", "WARN", "D I W N M T X"}, // it has done so itself
	}
	for _, tt := range tests {
		logs, s := &memoryLogs{}, &sink{}
		s.assign(logs, "a", "g", "s", appLevel(&function.Config{Runtime: tt.runtime, LogFormat: tt.format, ApplicationLogLevel: tt.level}))
		for _, line := range []string{
			`{"level":"debug","m":"D"}`, `{"level":"INFO","m":"I"}`, `{"m":"W","level":"warn"}`, `{"level":7,"m":"N"}`, `{"m":"M"}`, `text "m":"T"`, `{"m":"X"`,
		} {
			s.take(controlstream.LogRecord{Data: []byte(line + "\n")})
		}
		var got []string
		for _, line := range logs.lines {
			got = append(got, regexp.MustCompile(`"m":"(\w)`).FindStringSubmatch(line)[1])
		}
		if got := strings.Join(got, " "); got != tt.want {
			t.Errorf("%s %s %s: got %s, want %s", tt.runtime, tt.format, tt.level, got, tt.want)
		}
	}
}
