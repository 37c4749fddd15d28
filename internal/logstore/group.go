package logstore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// What goes wrong with groups and streams.
var (
	ErrNoGroup  = errors.New("logstore: no such log group")
	ErrNoStream = errors.New("logstore: no such log stream")
	ErrExists   = errors.New("logstore: it exists already")
	ErrTooMany  = errors.New("logstore: there are too many")
	errStopped  = errors.New("logstore: stopped")
)

const (
	// maxGroups bounds the groups that an account creates by itself; those of
	// functions come with the functions.
	maxGroups = 10_000
	// maxStreams bounds the streams of a group that were created or deleted by
	// name, as these are kept in one file.
	maxStreams = 10_000
)

// GroupInfo describes a group.
type GroupInfo struct {
	Group
	Created   time.Time
	Retention int // days; 0 if events do not expire
	Bytes     int64
	Tags      map[string]string
}

// StreamInfo describes a stream. First and Last are zero if it has no events.
type StreamInfo struct {
	Name                 string
	Created, First, Last time.Time
}

// do runs f in the writer's goroutine, after what was appended before has been
// written.
func (s *Store) do(f func() error) error {
	done := make(chan error, 1)
	select {
	case s.admin <- func() { done <- f() }:
		return <-done
	case <-s.done:
		return errStopped
	}
}

// change changes the state of a group; durable when it returns.
func (s *Store) change(g Group, f func(*state) error) error {
	return s.do(func() error {
		old := s.registry.get(g)
		if old == nil {
			return ErrNoGroup
		}
		st := old.clone()
		if err := f(st); err != nil {
			return err
		}
		s.forget(g, st)
		if len(st.Streams) > maxStreams && len(st.Streams) > len(old.Streams) {
			return ErrTooMany
		}
		return s.registry.set(st, true)
	})
}

// forget drops from a state what it says of streams all of whose events have
// been rotated away.
func (s *Store) forget(g Group, st *state) {
	all, err := segments(g.path(s.cfg.Dir))
	if err != nil {
		return
	}
	oldest := Position{}
	if len(all) > 0 {
		oldest.Segment = all[0].seq
	}
	maps.DeleteFunc(st.Streams, func(_ string, kept *streamState) bool {
		return kept.Created.IsZero() && (len(all) == 0 || kept.Deleted.Compare(oldest) <= 0)
	})
}

// CreateGroup makes a group. The error is ErrExists or ErrTooMany, or the
// disk's.
func (s *Store) CreateGroup(g Group, tags map[string]string) error {
	if len(g.Name) == 0 || len(g.Name) > maxName {
		return fmt.Errorf("logstore: a group's name has 1 to %d bytes", maxName)
	}
	return s.do(func() error {
		if s.registry.get(g) != nil {
			return ErrExists
		}
		if len(s.registry.all(g.Account)) >= maxGroups {
			return ErrTooMany
		}
		return s.registry.add(g, maps.Clone(tags), s.cfg.Now(), true)
	})
}

// DeleteGroup deletes a group with all its events. A function that still logs
// to it makes it anew.
func (s *Store) DeleteGroup(g Group) error {
	return s.do(func() error {
		if s.registry.get(g) == nil {
			return ErrNoGroup
		}
		s.writer.abandon(g)
		return s.registry.remove(g)
	})
}

// CreateStream makes a stream that has no events yet.
func (s *Store) CreateStream(ctx context.Context, g Group, name string) error {
	known, err := s.HasStream(ctx, g, name)
	if err != nil {
		return err
	}
	if known {
		return ErrExists
	}
	return s.change(g, func(st *state) error {
		kept := st.stream(name)
		if !kept.Created.IsZero() {
			return ErrExists
		}
		kept.Created = s.cfg.Now().UTC()
		return nil
	})
}

// DeleteStream deletes a stream with its events: none can be read any more,
// and their bytes go with their segment.
func (s *Store) DeleteStream(ctx context.Context, g Group, name string) error {
	known, err := s.HasStream(ctx, g, name)
	if err != nil {
		return err
	}
	if !known {
		return ErrNoStream
	}
	return s.change(g, func(st *state) error {
		kept := st.stream(name)
		kept.Created = time.Time{}
		kept.Deleted, err = end(g.path(s.cfg.Dir))
		return err
	})
}

var errFound = errors.New("found")

// StreamCreated says whether somebody created a stream of this name. Unlike
// HasStream it does not look for one that only has events.
func (s *Store) StreamCreated(g Group, name string) bool {
	st := s.registry.get(g)
	if st == nil {
		return false
	}
	kept := st.Streams[name]
	return kept != nil && !kept.Created.IsZero()
}

// HasStream says whether a group has a stream of a name.
func (s *Store) HasStream(ctx context.Context, g Group, name string) (bool, error) {
	s.Flush()
	if s.StreamCreated(g, name) {
		return true, nil
	}
	_, err := s.Scan(ctx, g, Position{}, func(e Event) error {
		if e.Stream == name {
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}

// SetRetention sets for how many days events are kept; 0 keeps them for as
// long as there is room. What has expired is hidden at once and deleted soon.
func (s *Store) SetRetention(g Group, days int) error {
	err := s.change(g, func(st *state) error {
		st.Retention = days
		return nil
	})
	if err != nil || days == 0 {
		return err
	}
	return s.do(func() error { return s.expire(g) })
}

// ChangeTags has f change the tags of a group.
func (s *Store) ChangeTags(g Group, f func(tags map[string]string) error) error {
	return s.change(g, func(st *state) error {
		if st.Tags == nil {
			st.Tags = make(map[string]string)
		}
		return f(st.Tags)
	})
}

// Put writes events of a stream, in the order they have, and returns when they
// can be read. Unlike those of Append they are all written, or an error tells.
// No message is longer than MaxMessage.
func (s *Store) Put(g Group, stream string, events []Event) error {
	return s.do(func() error {
		if s.registry.get(g) == nil {
			return ErrNoGroup
		}
		var records []byte
		for _, e := range events {
			if len(e.Message) > maxMessage || len(stream) > maxName {
				return fmt.Errorf("logstore: put: a message of %d bytes is too long", len(e.Message))
			}
			records = appendRecord(records, e.Time, stream, "", []byte(e.Message))
		}
		_, err := s.writer.append(g, records, s.cfg.Now())
		s.written.raise()
		return err
	})
}

// Info describes a group.
func (s *Store) Info(g Group) (GroupInfo, bool) {
	s.Flush()
	st := s.registry.get(g)
	if st == nil {
		return GroupInfo{}, false
	}
	return s.info(st), true
}

// Groups describes an account's groups, in the order of their names, that a
// function chooses.
func (s *Store) Groups(account string, choose func(name string) bool) []GroupInfo {
	s.Flush()
	var found []GroupInfo
	for _, st := range s.registry.all(account) {
		if choose(st.Name) {
			found = append(found, s.info(st))
		}
	}
	return found
}

func (s *Store) info(st *state) GroupInfo {
	g := Group{st.Account, st.Name}
	info := GroupInfo{Group: g, Created: st.Created, Retention: st.Retention, Tags: maps.Clone(st.Tags)}
	all, err := segments(g.path(s.cfg.Dir))
	if err != nil {
		return info // it is being deleted
	}
	for _, seg := range all {
		if file, err := os.Stat(seg.path); err == nil {
			info.Bytes += file.Size()
		}
	}
	if len(all) > 0 && all[0].seq == st.Trimmed.Segment {
		info.Bytes -= st.Trimmed.Offset
	}
	return info
}

// Streams describes a group's streams, in the order of their names.
func (s *Store) Streams(ctx context.Context, g Group) ([]StreamInfo, error) {
	s.Flush()
	st := s.registry.get(g)
	if st == nil {
		return nil, ErrNoGroup
	}
	found := make(map[string]*StreamInfo)
	for name, kept := range st.Streams {
		if !kept.Created.IsZero() {
			found[name] = &StreamInfo{Name: name, Created: kept.Created}
		}
	}
	_, err := s.Scan(ctx, g, Position{}, func(e Event) error {
		info := found[e.Stream]
		if info == nil {
			// Nobody created it: it began with its first event.
			info = &StreamInfo{Name: e.Stream, Created: e.Time}
			found[e.Stream] = info
		}
		if info.First.IsZero() || e.Time.Before(info.First) {
			info.First = e.Time
		}
		if e.Time.After(info.Last) {
			info.Last = e.Time
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	sorted := make([]StreamInfo, 0, len(found))
	for _, info := range found {
		sorted = append(sorted, *info)
	}
	slices.SortFunc(sorted, func(a, b StreamInfo) int { return strings.Compare(a.Name, b.Name) })
	return sorted, nil
}
