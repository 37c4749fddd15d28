package logstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// defaultLimit bounds a Query that sets no limit.
	defaultLimit = 10_000
	// pollInterval is how often a Reader without a Store looks for news.
	pollInterval = 250 * time.Millisecond
)

// Reader reads logs, also those that another process is writing.
type Reader struct {
	dir     string
	flush   func()  // of the Store, or nil
	written *signal // raised by the Store, or nil
}

// OpenReader returns a reader of the logs in a directory.
func OpenReader(dir string) *Reader { return &Reader{dir: dir} }

// Query selects events; zero fields select all.
type Query struct {
	Since, Until time.Time // from Since on, before Until
	Stream       string
	RequestID    string
	Contains     string
	// Limit is the most events; the newest are returned. 10,000 if zero.
	Limit int
}

func (q *Query) selects(e *Event) bool {
	return (q.Since.IsZero() || !e.Time.Before(q.Since)) &&
		(q.Until.IsZero() || e.Time.Before(q.Until)) &&
		(q.Stream == "" || e.Stream == q.Stream) &&
		(q.RequestID == "" || e.RequestID == q.RequestID) &&
		strings.Contains(e.Message, q.Contains)
}

// Read returns a group's events in the order of their times, over all streams.
// A group that does not exist has none.
func (r *Reader) Read(ctx context.Context, group string, q Query) ([]Event, error) {
	if r.flush != nil {
		r.flush()
	}
	if q.Limit <= 0 {
		q.Limit = defaultLimit
	}
	all, err := segments(filepath.Join(r.dir, dirName(group)))
	if err != nil {
		return nil, err
	}
	var found []Event
	newest := func() {
		slices.SortStableFunc(found, func(a, b Event) int { return a.Time.Compare(b.Time) })
		if drop := len(found) - q.Limit; drop > 0 {
			found = slices.Delete(found, 0, drop)
		}
	}
	for _, s := range all {
		_, err := readSegment(ctx, s.path, 0, func(e Event) error {
			if q.selects(&e) {
				found = append(found, e)
			}
			if len(found) >= 2*q.Limit {
				newest()
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	newest()
	return found, nil
}

// Groups returns the names of the groups that have logs, in order.
func (r *Reader) Groups() ([]string, error) {
	if r.flush != nil {
		r.flush()
	}
	entries, err := os.ReadDir(r.dir)
	if err != nil {
		return nil, fmt.Errorf("list log groups: %w", err)
	}
	var found []string
	for _, e := range entries {
		all, err := segments(filepath.Join(r.dir, e.Name()))
		if err != nil {
			continue // not a directory, or removed meanwhile
		}
		for _, s := range all {
			if group, err := readGroup(s.path); err == nil {
				found = append(found, group)
				break
			}
		}
	}
	slices.Sort(found)
	return found, nil
}

func readGroup(path string) (string, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", fmt.Errorf("open log segment: %w", err)
	}
	group, err := newDecoder(f, 0).header()
	return group, errors.Join(err, f.Close())
}

// readSegment calls fn for the events of a segment from an offset on, and
// returns where the last one ends. A segment that is gone, or torn at its end,
// is no error.
func readSegment(ctx context.Context, path string, offset int64, fn func(Event) error) (_ int64, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return offset, nil
	}
	if err != nil {
		return offset, fmt.Errorf("open log segment: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return offset, fmt.Errorf("read log segment: %w", err)
	}
	d := newDecoder(f, offset)
	if offset == 0 {
		if _, err := d.header(); err != nil {
			return 0, unreadable(err)
		}
	}
	for {
		if ctx.Err() != nil {
			return d.offset, context.Cause(ctx)
		}
		e, err := d.next()
		if err != nil {
			return d.offset, unreadable(err)
		}
		if err := fn(e); err != nil {
			return d.offset, err
		}
	}
}

// unreadable drops the errors that only mean "no more to read here".
func unreadable(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, errTorn) || errors.Is(err, errHeader) {
		return nil
	}
	return err
}

// Follow calls fn for a group's events from a time on, those that are there
// and then those that come, in the order they were written, until ctx ends or
// fn returns an error, which is returned. Events that were rotated away before
// they were read are missed.
func (r *Reader) Follow(ctx context.Context, group string, since time.Time, fn func(Event) error) error {
	dir := filepath.Join(r.dir, dirName(group))
	selected := func(e Event) error {
		if e.Time.Before(since) {
			return nil
		}
		return fn(e)
	}
	at, offset := uint64(0), int64(0)
	for {
		// Taken before reading, so that what is written meanwhile is noticed.
		news := r.written.wait()
		all, err := segments(dir)
		if err != nil {
			return err
		}
		i, _ := slices.BinarySearchFunc(all, at, func(s segment, seq uint64) int { return cmp.Compare(s.seq, seq) })
		// The segment last read comes first: it may have grown before the next
		// one was begun.
		for _, s := range all[i:] {
			if s.seq != at {
				at, offset = s.seq, 0
			}
			if offset, err = readSegment(ctx, s.path, offset, selected); err != nil {
				return err
			}
		}
		timer := time.NewTimer(pollInterval)
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-news:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// signal wakes everyone who waits for it.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

func newSignal() *signal { return &signal{ch: make(chan struct{})} }

// wait returns a channel that the next raise closes; never closed if s is nil.
func (s *signal) wait() <-chan struct{} {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ch
}

func (s *signal) raise() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.ch)
	s.ch = make(chan struct{})
}
