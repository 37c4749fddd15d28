package logstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var here = Group{account, group}

// clock is a clock that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) sleep(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// scan is what can be read of the group, in the order of its writing.
func scan(t *testing.T, r *Reader) (string, []Position) {
	t.Helper()
	var all []string
	var at []Position
	_, err := r.Scan(t.Context(), here, Position{}, func(e Event) error {
		all, at = append(all, e.Message), append(at, e.At)
		return nil
	})
	if err != nil && !errors.Is(err, ErrNoGroup) {
		t.Fatal(err)
	}
	return strings.Join(all, " "), at
}

func TestAccountsAreApart(t *testing.T) {
	s := open(t, Config{})
	s.Append(account, group, "s", epoch, "", []byte("mine"))
	s.Append("111111111111", group, "s", epoch, "", []byte("theirs"))
	s.Append("../"+account, group, "s", epoch, "", []byte("hostile"))
	if got, _ := scan(t, &s.Reader); got != "mine" {
		t.Errorf("got %q", got)
	}
	if err := s.DeleteGroup(Group{"111111111111", group}); err != nil {
		t.Error(err)
	}
	if got, _ := scan(t, &s.Reader); got != "mine" {
		t.Errorf("after another account's delete: got %q", got)
	}
	if entries, err := os.ReadDir(s.cfg.Dir); err != nil || len(entries) != 3 {
		t.Errorf("%d accounts' directories, %v", len(entries), err)
	}
}

// TestLogsWithoutAccountsAreAdopted opens logs of the layout before accounts.
func TestLogsWithoutAccountsAreAdopted(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	s.Append(account, group, "s", epoch, "", []byte("old"))
	s.Stop()
	if err := errors.Join(os.Rename(here.path(dir), filepath.Join(dir, dirName(group))), os.Remove(accountDir(dir, account)),
		os.Remove(filepath.Join(dir, dirName(group), stateFile))); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s = open(t, Config{Dir: dir, Account: account})
		s.Append(account, group, "s", epoch, "", []byte("new"))
		if got, _ := scan(t, &s.Reader); !strings.HasPrefix(got, "old new") {
			t.Errorf("got %q", got)
		}
		if info, ok := s.Info(here); !ok || info.Created.After(time.Now()) || info.Created.IsZero() {
			t.Errorf("info %+v, %v", info, ok)
		}
		s.Stop()
	}
}

func TestPositionsAreForGood(t *testing.T) {
	c := &clock{now: epoch}
	s := open(t, Config{Now: c.Now, SegmentBytes: 300, Segments: 3})
	seen := make(map[Position]string)
	last := Position{}
	for round := range 5 {
		for i := range 10 {
			s.Append(account, group, "s", c.Now(), "", fmt.Appendf(nil, "%d.%d", round, i))
			s.Flush()
		}
		_, err := s.Scan(t.Context(), here, Position{}, func(e Event) error {
			if m, ok := seen[e.At]; ok && m != e.Message {
				t.Errorf("%v is %q and %q", e.At, m, e.Message)
			}
			if seen[e.At] == "" && e.At.Compare(last) <= 0 {
				t.Errorf("%q came later, at the earlier %v", e.Message, e.At)
			}
			seen[e.At], last = e.Message, e.At
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if round%2 == 1 {
			c.sleep(time.Second)
			if err := s.DeleteGroup(here); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestScanGoesOn(t *testing.T) {
	s := open(t, Config{SegmentBytes: 300, Segments: 100})
	from, got := Position{}, ""
	for i := range 50 {
		s.Append(account, group, "s", epoch, "", fmt.Appendf(nil, "%d,", i))
		if i%3 > 0 {
			continue
		}
		var err error
		if from, err = s.Scan(t.Context(), here, from, func(e Event) error { got += e.Message; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	want := ""
	for i := range 49 {
		want += fmt.Sprint(i, ",")
	}
	if got != want {
		t.Errorf("got %s", got)
	}
}

// TestExpiredBytesAreGone looks at the disk: what has expired is not only
// hidden, but what has not stays where it was.
func TestExpiredBytesAreGone(t *testing.T) {
	c := &clock{now: epoch}
	dir := t.TempDir()
	s := open(t, Config{Dir: dir, Now: c.Now, SegmentBytes: 20_000, Segments: 10})
	filler := strings.Repeat("x", 1000)
	for day := range 60 {
		s.Append(account, group, "s", epoch.AddDate(0, 0, day), "", fmt.Appendf(nil, "secret%02d%s", day, filler))
		s.Flush()
	}
	_, before := scan(t, &s.Reader)
	c.sleep(60 * 24 * time.Hour)
	if err := s.SetRetention(here, 30); err != nil {
		t.Fatal(err)
	}
	check := func(first int) {
		t.Helper()
		for _, r := range []*Reader{&s.Reader, OpenReader(dir)} {
			r.now = c.Now
			text, at := scan(t, r)
			if len(at) != 60-first || !strings.HasPrefix(text, fmt.Sprintf("secret%02d", first)) {
				t.Fatalf("%d events from %.8s on, want those from %d on", len(at), text, first)
			}
			for i, p := range at {
				if p != before[first+i] {
					t.Errorf("event %d moved from %v to %v", first+i, before[first+i], p)
				}
			}
		}
		var disk strings.Builder
		all, err := segments(here.path(dir))
		if err != nil {
			t.Fatal(err)
		}
		for _, seg := range all {
			b, err := os.ReadFile(seg.path)
			if err != nil {
				t.Fatal(err)
			}
			disk.Write(b)
		}
		for day := range 60 {
			if there := strings.Contains(disk.String(), fmt.Sprintf("secret%02d", day)); there != (day >= first) {
				t.Errorf("day %d is on the disk: %v", day, there)
			}
		}
	}
	check(30)
	c.sleep(8 * 24 * time.Hour)
	if err := s.do(func() error { s.sweep(); return nil }); err != nil {
		t.Fatal(err)
	}
	check(38)
	s.Stop()
	s = open(t, Config{Dir: dir, Now: c.Now, SegmentBytes: 20_000, Segments: 10})
	check(38)
	// The last segment is written on after a restart, although its beginning
	// is gone.
	all, _ := segments(here.path(dir))
	s.Append(account, group, "s", c.Now(), "", []byte("after"))
	s.Flush()
	if now, _ := segments(here.path(dir)); len(now) != len(all) {
		t.Errorf("%d segments, before %d", len(now), len(all))
	}
	if info, ok := s.Info(here); !ok || info.Retention != 30 || info.Bytes > 30_000 {
		t.Errorf("%+v", info)
	}
	c.sleep(100 * 24 * time.Hour)
	if err := s.do(func() error { s.sweep(); return nil }); err != nil {
		t.Fatal(err)
	}
	if all, _ := segments(here.path(dir)); len(all) != 0 {
		t.Errorf("%d segments of a log that has expired", len(all))
	}
	s.Append(account, group, "s", c.Now(), "", []byte("again"))
	if got, at := scan(t, &s.Reader); got != "again" || at[0].Compare(before[59]) <= 0 {
		t.Errorf("got %q at %v", got, at)
	}
}

// TestTrimmedSegmentIsWrittenOn: otherwise each restart would cost a segment,
// and the oldest lines with it.
func TestTrimmedSegmentIsWrittenOn(t *testing.T) {
	c := &clock{now: epoch.AddDate(0, 0, 10)}
	dir := t.TempDir()
	for restart := range 6 {
		s := open(t, Config{Dir: dir, Now: c.Now})
		for day := range 10 {
			s.Append(account, group, "s", c.Now().AddDate(0, 0, day-10), "", []byte("x"))
		}
		if err := s.SetRetention(here, 5); err != nil {
			t.Fatal(err)
		}
		if st := s.registry.get(here); st.Trimmed.Offset == 0 {
			t.Fatal("nothing was trimmed")
		}
		s.Stop()
		if all, err := segments(here.path(dir)); err != nil || len(all) != 1 {
			t.Fatalf("%d segments after restart %d, %v", len(all), restart, err)
		}
	}
}

// TestTrimWhileReading deletes what a reader is about to read.
func TestTrimWhileReading(t *testing.T) {
	c := &clock{now: epoch.AddDate(0, 0, 10)}
	s := open(t, Config{Now: c.Now})
	filler := strings.Repeat("x", 10_000)
	for i := range 40 { // far more than the reader's buffer holds
		s.Append(account, group, "s", epoch.AddDate(0, 0, i/4), "", fmt.Appendf(nil, "%d %s", i, filler))
	}
	first := true
	var got []string
	_, err := s.Scan(t.Context(), here, Position{}, func(e Event) error {
		if first {
			first = false
			if err := s.SetRetention(here, 3); err != nil {
				return err
			}
		}
		got = append(got, strings.Fields(e.Message)[0])
		return nil
	})
	if err != nil || len(got) == 0 || got[len(got)-1] != "39" {
		t.Errorf("read %v, %v; want it to go on to 39", got, err)
	}
}

func TestStateSurvives(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	other := Group{account, "other"}
	for _, err := range []error{
		s.CreateGroup(here, map[string]string{"a": "1"}), s.CreateGroup(other, nil), s.CreateStream(t.Context(), here, "s"),
		s.SetRetention(here, 7), s.ChangeTags(here, func(tags map[string]string) error { tags["b"] = "2"; return nil }), s.DeleteGroup(other),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	// Not stopped: what was answered must be there after a kill.
	again := open(t, Config{Dir: dir})
	info, ok := again.Info(here)
	streams, err := again.Streams(t.Context(), here)
	if !ok || info.Retention != 7 || fmt.Sprint(info.Tags) != "map[a:1 b:2]" || err != nil || len(streams) != 1 || streams[0].Name != "s" {
		t.Errorf("%+v, %v, %v", info, streams, err)
	}
	if _, ok := again.Info(other); ok {
		t.Error("a deleted group is back")
	}
}

func TestDamagedStateIsReplaced(t *testing.T) {
	for name, damage := range map[string]string{"empty": "", "text": "hello", "version": `{"version":99}`, "other": `{"version":1,"account":"1","name":"x"}`, "null": "null"} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, Config{Dir: dir})
			s.Append(account, group, "s", epoch, "", []byte("line"))
			s.Stop()
			if err := os.WriteFile(filepath.Join(here.path(dir), stateFile), []byte(damage), 0o600); err != nil {
				t.Fatal(err)
			}
			s = open(t, Config{Dir: dir})
			s.Append(account, group, "s", epoch, "", []byte("more"))
			if got, _ := scan(t, &s.Reader); name != "other" && got != "line more" {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestPutTellsOfAFullDisk(t *testing.T) {
	disk := &failing{}
	s := open(t, Config{})
	s.writer.files = disk
	if err := s.Put(here, "s", nil); !errors.Is(err, ErrNoGroup) {
		t.Errorf("put without a group: %v", err)
	}
	if err := s.CreateGroup(here, nil); err != nil {
		t.Fatal(err)
	}
	events := []Event{{Time: epoch, Message: "one"}, {Time: epoch, Message: "two\n"}}
	if err := s.Put(here, "s", events); err != nil {
		t.Fatal(err)
	}
	disk.set(true, 0)
	if err := s.Put(here, "s", events); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("put on a full disk: %v", err)
	}
	disk.set(false, 0)
	if got, _ := scan(t, &s.Reader); got != "one two\n" {
		t.Errorf("got %q", got)
	}
	if err := s.Put(here, "s", []Event{{Message: strings.Repeat("x", maxMessage+1)}}); err == nil {
		t.Error("a long message was taken")
	}
	s.Stop()
	if err := s.Put(here, "s", events); !errors.Is(err, errStopped) {
		t.Errorf("put after the stop: %v", err)
	}
}

func FuzzState(f *testing.F) {
	f.Add([]byte(`{"version":1,"account":"000000000000","name":"g","created":"2026-11-22T12:00:00Z","retentionDays":7,` +
		`"tags":{"a":"b"},"trimmed":{"segment":3,"offset":17},"streams":{"s":{"deleted":{"segment":1,"offset":2}},"t":null}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := parseState(b)
		if err != nil {
			return
		}
		st.shows(&Event{Stream: "s", Time: epoch}, st.cutoff(epoch))
		st = st.clone()
		st.stream("s").Created = epoch
		written, err := json.Marshal(st)
		if err != nil {
			return // a time beyond year 9999 has no JSON
		}
		if _, err := parseState(written); err != nil {
			t.Errorf("%s was written, and not read: %v", b, err)
		}
	})
}
