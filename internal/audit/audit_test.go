package audit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func event(day int, action string, allowed bool) Event {
	return Event{Time: time.Date(2026, 11, day, 1, 2, 3, 0, time.UTC), Principal: "p", Action: action, Allowed: allowed}
}

func read(t *testing.T, dir string, since time.Time) (lines []string, unreadable int) {
	t.Helper()
	unreadable, err := Read(dir, since, func(e Event) error {
		lines = append(lines, e.Time.Format("02 ")+e.Action)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return lines, unreadable
}

func TestLog(t *testing.T) {
	for _, tt := range []struct {
		data bool
		want string
	}{
		{false, "01 lambda:CreateFunction,01 lambda:InvokeFunction,02 iam:CreateRole"},
		{true, "01 lambda:CreateFunction,01 lambda:InvokeFunction,01 lambda:InvokeFunction,02 iam:CreateRole"},
	} {
		dir := t.TempDir()
		l, err := Open(Config{Dir: dir, Data: tt.data})
		if err != nil {
			t.Fatal(err)
		}
		l.Record(event(1, "lambda:CreateFunction", true))
		l.Record(event(1, "lambda:InvokeFunction", true))
		l.Record(event(1, "lambda:InvokeFunction", false))
		l.Record(event(2, "iam:CreateRole", true))
		l.Stop()
		lines, unreadable := read(t, dir, time.Time{})
		if got := strings.Join(lines, ","); got != tt.want || unreadable != 0 {
			t.Errorf("data %t: got %s, %d unreadable; want %s", tt.data, got, unreadable, tt.want)
		}
		if lines, _ := read(t, dir, time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)); len(lines) != 1 {
			t.Errorf("since the second day: %v", lines)
		}
		info, err := os.Stat(filepath.Join(dir, "2026-11-01.jsonl"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("the file: %v, %v", info, err)
		}
	}
}

// TestAfterACrash reads a file whose last line was cut, and goes on in it.
func TestAfterACrash(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "2026-11-01.jsonl")
	if err := os.WriteFile(name, []byte(`{"time":"2026-11-01T01:00:00Z","action":"a","allowed":true}`+"\n"+`{"time":"2026-`), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	l.Record(event(1, "b", true))
	l.Stop()
	lines, unreadable := read(t, dir, time.Time{})
	if strings.Join(lines, ",") != "01 a,01 b" || unreadable != 1 {
		t.Errorf("got %v, %d unreadable", lines, unreadable)
	}
}

func TestOldDaysGo(t *testing.T) {
	dir := t.TempDir()
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range maxDays + 5 {
		name := filepath.Join(dir, start.AddDate(0, 0, i).Format(time.DateOnly)+suffix)
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	l.Record(event(1, "a", true))
	l.Stop()
	all, err := days(dir)
	if err != nil || len(all) != maxDays || all[len(all)-1] != "2026-11-01" {
		t.Errorf("%d days are left, %v", len(all), err)
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := Open(Config{Dir: filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("a missing directory was accepted")
	}
}

// TestTooMuch records more than the queue takes while nothing is written.
func TestTooMuch(t *testing.T) {
	l := &Log{cfg: Config{Dir: t.TempDir()}, events: make(chan Event, 1), done: make(chan struct{})}
	for range 5 {
		l.Record(event(1, "a", true))
	}
	go l.run()
	l.Stop()
	var dropped int64
	if _, err := Read(l.cfg.Dir, time.Time{}, func(e Event) error { dropped += e.Dropped; return nil }); err != nil || dropped != 4 {
		t.Errorf("%d dropped, %v, want 4", dropped, err)
	}
}
