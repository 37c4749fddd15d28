package logstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
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
	now     func() time.Time
	// state finds what is kept of a group, or ErrNoGroup.
	state func(Group) (*state, error)
}

// OpenReader returns a reader of the logs in a directory.
func OpenReader(dir string) *Reader {
	return &Reader{dir: dir, now: time.Now, state: func(g Group) (*state, error) {
		st, err := readState(g.path(dir))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, ErrNoGroup
		}
		return st, err
	}}
}

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
func (r *Reader) Read(ctx context.Context, g Group, q Query) ([]Event, error) {
	if q.Limit <= 0 {
		q.Limit = defaultLimit
	}
	var found []Event
	newest := func() {
		slices.SortStableFunc(found, func(a, b Event) int { return a.Time.Compare(b.Time) })
		if drop := len(found) - q.Limit; drop > 0 {
			found = slices.Delete(found, 0, drop)
		}
	}
	_, err := r.Scan(ctx, g, Position{}, func(e Event) error {
		if q.selects(&e) {
			found = append(found, e)
		}
		if len(found) >= 2*q.Limit {
			newest()
		}
		return nil
	})
	if err != nil && !errors.Is(err, ErrNoGroup) {
		return nil, err
	}
	newest()
	return found, nil
}

// Scan calls fn with a group's events, from a position on and in the order in
// which they were written, until fn returns an error, which is returned. The
// position in the result is where the next event will be. The group must
// exist.
func (r *Reader) Scan(ctx context.Context, g Group, from Position, fn func(Event) error) (Position, error) {
	if r.flush != nil {
		r.flush()
	}
	if _, err := r.state(g); err != nil {
		return from, err
	}
	return r.scan(ctx, g, from, fn)
}

func (r *Reader) scan(ctx context.Context, g Group, from Position, fn func(Event) error) (Position, error) {
	all, err := segments(g.path(r.dir))
	if err != nil {
		return from, err
	}
	i, _ := slices.BinarySearchFunc(all, from.Segment, func(s segment, seq uint64) int { return cmp.Compare(s.seq, seq) })
	// The segment last read comes first: it may have grown before the next one
	// was begun.
	for _, s := range all[i:] {
		if s.seq != from.Segment {
			from = Position{Segment: s.seq}
		}
		if from.Offset, err = r.scanSegment(ctx, g, s, from.Offset, fn); err != nil {
			return from, err
		}
	}
	return from, nil
}

// scanSegment reads on in a segment. What is deleted meanwhile reads as torn:
// then it goes on behind that.
func (r *Reader) scanSegment(ctx context.Context, g Group, s segment, offset int64, fn func(Event) error) (int64, error) {
	for {
		st, err := r.state(g)
		if errors.Is(err, ErrNoGroup) {
			return offset, nil // deleted meanwhile
		}
		if err != nil {
			return offset, err
		}
		if st.Trimmed.Segment == s.seq {
			offset = max(offset, st.Trimmed.Offset)
		}
		cutoff := st.cutoff(r.now())
		offset, err = readSegment(ctx, s, offset, func(e Event) error {
			if !st.shows(&e, cutoff) {
				return nil
			}
			return fn(e)
		})
		if err != nil {
			return offset, err
		}
		st, err = r.state(g)
		if err != nil || st.Trimmed.Segment != s.seq || st.Trimmed.Offset <= offset {
			return offset, nil //nolint:nilerr // whatever is wrong, all there is has been read
		}
	}
}

// end is the position behind a group's last record.
func end(dir string) (Position, error) {
	all, err := segments(dir)
	if err != nil || len(all) == 0 {
		return Position{}, err
	}
	last := all[len(all)-1]
	info, err := os.Stat(last.path)
	if err != nil {
		return Position{}, fmt.Errorf("read log segment: %w", err)
	}
	return Position{last.seq, info.Size()}, nil
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
func readSegment(ctx context.Context, s segment, offset int64, fn func(Event) error) (_ int64, err error) {
	f, err := os.OpenFile(s.path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return offset, nil
	}
	if err != nil {
		return offset, fmt.Errorf("open log segment: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	d, err := decoderAt(f, offset)
	if err != nil {
		return offset, err
	}
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
		e.At.Segment = s.seq
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
