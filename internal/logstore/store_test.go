package logstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	account = "000000000000"
	group   = "/aws/lambda/hi"
	stream  = "2026/11/22/[$LATEST]0123456789abcdef0123456789abcdef"
)

var epoch = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func open(t *testing.T, cfg Config) *Store {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	s, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func read(t *testing.T, r *Reader, q Query) []Event {
	t.Helper()
	events, err := r.Read(t.Context(), Group{account, group}, q)
	if err != nil {
		t.Fatal(err)
	}
	return events
}

func messages(events []Event) string {
	var all []string
	for _, e := range events {
		all = append(all, e.Message)
	}
	return strings.Join(all, " ")
}

// groups is the names of the account's groups.
func groups(s *Store) []string {
	var names []string
	for _, g := range s.Groups(account, func(string) bool { return true }) {
		names = append(names, g.Name)
	}
	return names
}

func TestAppendAndRead(t *testing.T) {
	s := open(t, Config{})
	s.Append(account, group, "b", epoch.Add(2*time.Second), "r2", []byte("third\n"))
	s.Append(account, group, "a", epoch, "r1", []byte("first\r\n"))
	s.Append(account, group, "a", epoch.Add(time.Second), "r1", []byte("second"))
	s.Append(account, "/aws/lambda/other", "a", epoch, "r1", []byte("elsewhere"))
	tests := []struct {
		name string
		q    Query
		want string
	}{
		{"all, by time over streams", Query{}, "first second third"},
		{"since", Query{Since: epoch.Add(time.Second)}, "second third"},
		{"until", Query{Until: epoch.Add(time.Second)}, "first"},
		{"stream", Query{Stream: "a"}, "first second"},
		{"request", Query{RequestID: "r2"}, "third"},
		{"contains", Query{Contains: "ir"}, "first third"},
		{"newest", Query{Limit: 2}, "second third"},
		{"newest of many", Query{Limit: 1}, "third"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := messages(read(t, &s.Reader, tt.q)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	first := read(t, &s.Reader, Query{Limit: 3})[0]
	first.At = Position{}
	if want := (Event{Time: epoch, Stream: "a", RequestID: "r1", Message: "first"}); first != want {
		t.Errorf("got %+v, want %+v", first, want)
	}
	if got := strings.Join(groups(s), " "); got != "/aws/lambda/hi /aws/lambda/other" {
		t.Errorf("groups %v", got)
	}
	if got := read(t, OpenReader(s.cfg.Dir), Query{}); len(got) != 3 {
		t.Errorf("another process reads %d events, want 3", len(got))
	}
}

func TestLinesAreWrittenWithoutFlush(t *testing.T) {
	s := open(t, Config{FlushInterval: time.Millisecond})
	s.Append(account, group, stream, epoch, "r", []byte("x"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err := OpenReader(s.cfg.Dir).Follow(ctx, Group{account, group}, time.Time{}, func(Event) error { return errFound })
	if !errors.Is(err, errFound) {
		t.Fatal(err)
	}
}

func TestSurvivesStopAndAppendsToTheSameSegment(t *testing.T) {
	dir := t.TempDir()
	for i := range 3 {
		s := open(t, Config{Dir: dir})
		s.Append(account, group, stream, epoch, "r", fmt.Append(nil, i))
		s.Stop()
		s.Append(account, group, stream, epoch, "r", []byte("after stop"))
		s.Flush()
	}
	if got := messages(read(t, OpenReader(dir), Query{})); got != "0 1 2" {
		t.Errorf("got %q", got)
	}
	all, err := segments(Group{account, group}.path(dir))
	if err != nil || len(all) != 1 {
		t.Errorf("segments %v, %v, want one", all, err)
	}
}

func TestTornTailIsLeftAndNotAppendedTo(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir})
	s.Append(account, group, stream, epoch, "r", []byte("whole"))
	s.Append(account, group, stream, epoch, "r", []byte("torn"))
	s.Stop()
	all, err := segments(Group{account, group}.path(dir))
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(all[0].path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(all[0].path, info.Size()-2); err != nil {
		t.Fatal(err)
	}
	s = open(t, Config{Dir: dir})
	s.Append(account, group, stream, epoch, "r", []byte("after"))
	if got := messages(read(t, &s.Reader, Query{})); got != "whole after" {
		t.Errorf("got %q, want %q", got, "whole after")
	}
}

func TestRotationBoundsAGroup(t *testing.T) {
	const segmentBytes, count = 4096, 3
	s := open(t, Config{SegmentBytes: segmentBytes, Segments: count})
	line := []byte(strings.Repeat("x", 500))
	for range 200 {
		s.Append(account, group, stream, epoch, "r", line)
		s.Flush()
	}
	s.Append(account, group, stream, epoch, "r", []byte("last"))
	events := read(t, &s.Reader, Query{})
	if len(events) < 10 || events[len(events)-1].Message != "last" {
		t.Errorf("%d events after rotation", len(events))
	}
	all, err := segments(Group{account, group}.path(s.cfg.Dir))
	if err != nil || len(all) != count {
		t.Fatalf("%d segments, %v, want %d", len(all), err, count)
	}
	for _, seg := range all {
		if info, err := os.Stat(seg.path); err != nil || info.Size() > segmentBytes {
			t.Errorf("segment of %d bytes, %v", info.Size(), err)
		}
	}
}

func TestFollowAcrossRotation(t *testing.T) {
	s := open(t, Config{SegmentBytes: 2048, Segments: 100, FlushInterval: time.Millisecond})
	const n = 300
	got := make(chan string)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		err := s.Follow(ctx, Group{account, group}, epoch, func(e Event) error {
			select {
			case got <- e.Message:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		})
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	s.Append(account, group, stream, epoch.Add(-time.Second), "r", []byte("too old"))
	wg.Go(func() {
		for i := range n {
			s.Append(account, group, stream, epoch, "r", fmt.Appendf(nil, "%d %s", i, strings.Repeat("x", 50)))
			if i%7 == 0 {
				s.Flush()
			}
		}
	})
	for i := range n {
		if m := <-got; !strings.HasPrefix(m, fmt.Sprintf("%d ", i)) {
			t.Fatalf("event %d is %q", i, m)
		}
	}
	cancel()
	wg.Wait()
}

func TestHostileNamesStayInTheDirectory(t *testing.T) {
	s := open(t, Config{})
	names := []string{"..", ".", "../../etc/passwd", "/", "a/../b", "x\x00y", "~", "%2E", strings.Repeat("é", 250), "A", "a"}
	seen := make(map[string]string)
	for _, name := range names {
		d := dirName(name)
		if other, ok := seen[d]; ok {
			t.Errorf("%q and %q share a directory", name, other)
		}
		seen[d] = name
		if d == "" || strings.ContainsAny(d, "/.\x00") || len(d) > 255 {
			t.Errorf("name %q became %q", name, d)
		}
		s.Append(account, name, strings.Repeat("s", 2000), epoch, strings.Repeat("r", 2000), []byte(name))
		events, err := s.Read(t.Context(), Group{account, name}, Query{})
		if err != nil || len(events) != 1 || events[0].Message != name {
			t.Errorf("%q: %v, %v", name, events, err)
		}
	}
	if got := groups(s); len(got) != len(names) {
		t.Errorf("%d groups, want %d", len(got), len(names))
	}
	s.Append(account, "", stream, epoch, "r", []byte("x"))
	s.Append(account, strings.Repeat("g", maxName+1), stream, epoch, "r", []byte("x"))
	if got := groups(s); len(got) != len(names) {
		t.Errorf("bad names were taken: %d groups", len(got))
	}
}

func TestLongLinesAreSplit(t *testing.T) {
	s := open(t, Config{})
	s.Append(account, group, stream, epoch, "r", make([]byte, maxMessage+10))
	s.Append(account, group, stream, epoch, "r", nil)
	events := read(t, &s.Reader, Query{})
	if len(events) != 3 || len(events[0].Message) != maxMessage || len(events[1].Message) != 10 || events[2].Message != "" {
		t.Errorf("%d events", len(events))
	}
}

// failing is a disk on which writes fail after some bytes while it is full.
type failing struct {
	mu    sync.Mutex
	full  bool
	short int
}

func (f *failing) set(full bool, short int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.full, f.short = full, short
}

func (f *failing) Open(path string, create bool) (file, error) {
	inner, err := osFiles{}.Open(path, create)
	return failingFile{inner, f}, err
}

type failingFile struct {
	file
	disk *failing
}

func (f failingFile) Write(p []byte) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if !f.disk.full {
		return f.file.Write(p)
	}
	n, err := f.file.Write(p[:min(len(p), f.disk.short)])
	return n, errors.Join(err, syscall.ENOSPC)
}

func TestFullDiskLosesLinesAndSaysSo(t *testing.T) {
	for _, short := range []int{0, 5, 95, 150} {
		t.Run(fmt.Sprint(short), func(t *testing.T) {
			disk := &failing{}
			s := open(t, Config{})
			s.writer.files = disk // nothing was written yet
			s.Append(account, group, stream, epoch, "r", []byte("before"))
			s.Flush()
			disk.set(true, short)
			for range 3 {
				s.Append(account, group, stream, epoch, "r", []byte("lost"))
				s.Append(account, group, stream, epoch, "r", []byte("lost"))
				s.Flush()
			}
			disk.set(false, 0)
			s.Append(account, group, stream, epoch, "r", []byte("after"))
			events := read(t, &s.Reader, Query{})
			got := messages(events)
			if !strings.HasPrefix(got, "before") || !strings.Contains(got, "after") || !strings.Contains(got, "lines were dropped here") {
				t.Errorf("got %q", got)
			}
			for _, e := range events {
				if e.Stream != stream {
					t.Errorf("event in stream %q", e.Stream)
				}
			}
		})
	}
}

func TestFullDiskTakesNoOldSegments(t *testing.T) {
	disk := &failing{}
	s := open(t, Config{SegmentBytes: 500, Segments: 3})
	s.writer.files = disk
	for i := range 20 {
		s.Append(account, group, stream, epoch, "r", fmt.Append(nil, i))
		s.Flush()
	}
	before := len(read(t, &s.Reader, Query{}))
	disk.set(true, 0)
	for range 20 {
		s.Append(account, group, stream, epoch, "r", []byte(strings.Repeat("x", 400)))
		s.Flush()
	}
	if after := len(read(t, &s.Reader, Query{})); after < before/2 {
		t.Errorf("%d events before the disk was full, %d after", before, after)
	}
}

func TestBufferIsBounded(t *testing.T) {
	s := open(t, Config{BufferBytes: 10_000, FlushInterval: time.Hour})
	for i := range 1000 {
		s.Append(account, group, stream, epoch, "r", fmt.Appendf(nil, "line %d", i))
	}
	s.mu.Lock()
	if s.bytes > 10_000 {
		t.Errorf("%d bytes wait, at most 10000", s.bytes)
	}
	s.mu.Unlock()
	s.Append(account, "another", stream, epoch, "r", []byte("dropped with no line of its own"))
	s.Flush()
	s.Append(account, group, stream, epoch, "r", []byte("after"))
	events := read(t, &s.Reader, Query{Limit: 10_000})
	kept := 0
	for _, e := range events {
		if strings.HasPrefix(e.Message, "line ") {
			kept++
		}
	}
	if want := fmt.Sprintf("%d log lines were dropped", 1000-kept); kept == 0 || !strings.Contains(messages(events), want) {
		t.Errorf("kept %d, and no note %q", kept, want)
	}
}

func TestIdleFilesAreClosed(t *testing.T) {
	s := open(t, Config{IdleClose: time.Millisecond})
	for i := range maxOpen + 10 {
		s.Append(account, fmt.Sprint("group", i), stream, epoch, "r", []byte("x"))
	}
	s.Flush()
	s.Stop()
	w := newWriter(s.cfg, s.registry, osFiles{})
	for i := range maxOpen + 10 {
		w.write(Group{account, fmt.Sprint("group", i)}, &batch{records: appendRecord(nil, epoch, "s", "", nil), count: 1}, epoch)
	}
	if w.open() > maxOpen {
		t.Errorf("%d files are open, at most %d", w.open(), maxOpen)
	}
	w.closeIdle(epoch.Add(time.Second))
	if w.open() != 0 {
		t.Errorf("%d idle files are open", w.open())
	}
}

func TestAppendConcurrently(t *testing.T) {
	s := open(t, Config{FlushInterval: time.Millisecond, SegmentBytes: 64 << 10, Segments: 100})
	var wg sync.WaitGroup
	const workers, lines = 8, 500
	for w := range workers {
		wg.Go(func() {
			for i := range lines {
				s.Append(account, group, fmt.Sprint("s", w), epoch.Add(time.Duration(i)), "r", fmt.Append(nil, i))
			}
		})
	}
	wg.Wait()
	for w := range workers {
		events := read(t, &s.Reader, Query{Stream: fmt.Sprint("s", w)})
		if len(events) != lines {
			t.Fatalf("stream %d has %d events, want %d", w, len(events), lines)
		}
		for i, e := range events {
			if e.Message != fmt.Sprint(i) {
				t.Fatalf("stream %d, event %d is %q", w, i, e.Message)
			}
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	s, err := Open(Config{Dir: b.TempDir(), BufferBytes: 64 << 20})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Stop()
	line := []byte("START RequestId: 8f5a7d3e-0000-0000-0000-000000000000 Version: $LATEST\n")
	b.ReportAllocs()
	for b.Loop() {
		s.Append(account, group, stream, epoch, "8f5a7d3e-0000-0000-0000-000000000000", line)
	}
}
