package logstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"
)

// sweep deletes what has expired in all groups.
func (s *Store) sweep() {
	for _, st := range s.registry.all("") {
		if st.Retention == 0 {
			continue
		}
		if err := s.expire(Group{st.Account, st.Name}); err != nil {
			s.cfg.Log.LogAttrs(context.Background(), slog.LevelWarn, "logstore: expired lines were not deleted",
				slog.String("group", st.Name), slog.Any("error", err))
		}
	}
}

// expire deletes the events at the beginning of a group's log that have
// expired: whole segments are removed, and of the first that stays the bytes
// before its first event are given back to the file system. Positions stay
// what they are. Expired events behind others that have not are only hidden
// until these expire, too.
func (s *Store) expire(g Group) error {
	st := s.registry.get(g)
	if st == nil {
		return nil
	}
	dir, cutoff := g.path(s.cfg.Dir), st.cutoff(s.cfg.Now())
	all, err := segments(dir)
	if err != nil {
		return err
	}
	for _, seg := range all {
		from := int64(0)
		if seg.seq == st.Trimmed.Segment {
			from = st.Trimmed.Offset
		}
		first := int64(-1)
		_, err := readSegment(context.Background(), seg, from, func(e Event) error {
			if e.Time.Before(cutoff) {
				return nil
			}
			first = e.At.Offset
			return errFound
		})
		if err != nil && !errors.Is(err, errFound) {
			return err
		}
		if first >= 0 {
			return s.trim(st, seg, from, first)
		}
		s.writer.abandon(g) // if it is the one being written to
		if err := os.Remove(seg.path); err != nil {
			return fmt.Errorf("delete expired log: %w", err)
		}
	}
	return nil
}

// trim deletes what is before an offset of a segment.
func (s *Store) trim(st *state, seg segment, from, to int64) error {
	if from == 0 {
		from = int64(headerSize(st.Name))
	}
	if to <= from {
		return nil
	}
	next := st.clone()
	next.Trimmed = Position{seg.seq, to}
	// Before the bytes go: who reads must know that they are no events.
	if err := s.registry.set(next, true); err != nil {
		return err
	}
	f, err := os.OpenFile(seg.path, os.O_WRONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("delete expired log: %w", err)
	}
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, to-from)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = overwrite(f, from, to)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("delete expired log: %w", err)
	}
	return nil
}

// overwrite is for file systems without holes.
func overwrite(f *os.File, from, to int64) error {
	zeros := make([]byte, 64<<10)
	for from < to {
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), to-from)], from)
		if err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}
