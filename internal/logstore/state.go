package logstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	stateFile    = "group.json"
	stateVersion = 1
	// maxState bounds the file; what the store writes stays far below.
	maxState = 16 << 20
)

// state is what is kept of a group beside its events, in the file group.json;
// docs/formats/log-segment.md describes it. A state that has been handed out
// is never changed: a change makes a new one.
type state struct {
	Version int       `json:"version"`
	Account string    `json:"account"`
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	// Retention is how many days events are kept; 0 is for as long as there is
	// room.
	Retention int               `json:"retentionDays,omitempty"`
	Tags      map[string]string `json:"tags,omitempty"`
	// Trimmed is where the first event is that has not been deleted for its age.
	Trimmed Position                `json:"trimmed,omitzero"`
	Streams map[string]*streamState `json:"streams,omitempty"`
}

// streamState is what is kept of a stream that somebody created or deleted;
// most streams are only the name that events carry.
type streamState struct {
	Created time.Time `json:"created,omitzero"`
	// Deleted is the position before which the stream's events are gone.
	Deleted Position `json:"deleted,omitzero"`
}

func (st *state) clone() *state {
	c := *st
	c.Tags = maps.Clone(st.Tags)
	c.Streams = maps.Clone(st.Streams)
	return &c
}

// stream returns what is kept of a stream, to be changed, in a cloned state.
func (st *state) stream(name string) *streamState {
	s := new(streamState)
	if old := st.Streams[name]; old != nil {
		*s = *old
	}
	if st.Streams == nil {
		st.Streams = make(map[string]*streamState)
	}
	st.Streams[name] = s
	return s
}

// cutoff is the time before which events have expired; zero if none do.
func (st *state) cutoff(now time.Time) time.Time {
	if st.Retention == 0 {
		return time.Time{}
	}
	return now.AddDate(0, 0, -st.Retention)
}

// shows says that an event has neither expired nor been deleted.
func (st *state) shows(e *Event, cutoff time.Time) bool {
	if e.Time.Before(cutoff) || e.At.Compare(st.Trimmed) < 0 {
		return false
	}
	s := st.Streams[e.Stream]
	return s == nil || e.At.Compare(s.Deleted) >= 0
}

// readState reads the state of a group's directory; fs.ErrNotExist if it has
// none.
func readState(dir string) (*state, error) {
	name := filepath.Join(dir, stateFile)
	info, err := os.Lstat(name)
	if err != nil {
		return nil, fmt.Errorf("read log group: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxState {
		return nil, fmt.Errorf("read log group: %s is not the file of a log group", name)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read log group: %w", err)
	}
	st, err := parseState(b)
	if err != nil {
		return nil, fmt.Errorf("read log group: %s: %w", name, err)
	}
	return st, nil
}

func parseState(b []byte) (*state, error) {
	st := new(state)
	if err := json.Unmarshal(b, st); err != nil {
		return nil, err
	}
	if st.Version != stateVersion {
		return nil, fmt.Errorf("it has version %d, this Hearth reads %d", st.Version, stateVersion)
	}
	maps.DeleteFunc(st.Streams, func(_ string, s *streamState) bool { return s == nil })
	return st, nil
}

// writeState replaces the state in a group's directory. What is durable has
// reached the disk when it returns.
func writeState(dir string, st *state, durable bool) (err error) {
	b, err := json.Marshal(st)
	if err != nil {
		return fmt.Errorf("write log group: %w", err) // no time of year 10000 can be written
	}
	temp := filepath.Join(dir, stateFile+".tmp")
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return fmt.Errorf("write log group: %w", err)
	}
	_, err = f.Write(b)
	if err == nil && durable {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(temp, filepath.Join(dir, stateFile))
	}
	if err == nil && durable {
		err = errors.Join(syncDir(dir), syncDir(filepath.Dir(dir)))
	}
	if err != nil {
		return fmt.Errorf("write log group: %w", err)
	}
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// registry knows every group. The writer's goroutine changes it; anyone reads.
type registry struct {
	dir string

	mu     sync.RWMutex
	groups map[Group]*state
}

// openRegistry reads what groups there are.
func openRegistry(dir string, now time.Time, log *slog.Logger) (*registry, error) {
	r := &registry{dir: dir, groups: make(map[Group]*state)}
	accounts, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("open log store: %w", err)
	}
	for _, a := range accounts {
		account, ok := strings.CutPrefix(a.Name(), accountMark)
		if !ok || !a.IsDir() {
			continue
		}
		entries, err := os.ReadDir(filepath.Join(dir, a.Name()))
		if err != nil {
			return nil, fmt.Errorf("open log store: %w", err)
		}
		for _, e := range entries {
			path := filepath.Join(dir, a.Name(), e.Name())
			st, err := readState(path)
			if err != nil {
				if !errors.Is(err, fs.ErrNotExist) {
					log.Warn("logstore: what was set for a log group is lost", "error", err)
				}
				if st, err = recoverState(path, account, now); err != nil {
					continue // no group: nothing in it can be read
				}
			}
			if g := (Group{st.Account, st.Name}); g.path(dir) == path {
				r.groups[g] = st
			}
		}
	}
	return r, nil
}

// recoverState makes the state of a group that has none: it is older than
// states are, or a crash came between the making of its directory and it.
func recoverState(path, account string, now time.Time) (*state, error) {
	all, err := segments(path)
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		name, err := readGroup(s.path)
		if err != nil {
			continue
		}
		st := &state{Version: stateVersion, Account: account, Name: name, Created: now}
		if info, err := os.Stat(s.path); err == nil && info.ModTime().Before(now) {
			st.Created = info.ModTime()
		}
		return st, writeState(path, st, false)
	}
	return nil, fs.ErrNotExist
}

func (r *registry) get(g Group) *state {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.groups[g]
}

// all returns an account's groups in the order of their names; those of every
// account if it is empty.
func (r *registry) all(account string) []*state {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var found []*state
	for g, st := range r.groups {
		if account == "" || g.Account == account {
			found = append(found, st)
		}
	}
	slices.SortFunc(found, func(a, b *state) int { return strings.Compare(a.Name, b.Name) })
	return found
}

// set writes a group's state and then shows it.
func (r *registry) set(st *state, durable bool) error {
	g := Group{st.Account, st.Name}
	if err := writeState(g.path(r.dir), st, durable); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.groups[g] = st
	return nil
}

// add makes a group.
func (r *registry) add(g Group, tags map[string]string, now time.Time, durable bool) error {
	if err := os.MkdirAll(g.path(r.dir), 0o700); err != nil {
		return fmt.Errorf("make log group: %w", err)
	}
	return r.set(&state{Version: stateVersion, Account: g.Account, Name: g.Name, Created: now.UTC(), Tags: tags}, durable)
}

// remove deletes a group and all that is in it.
func (r *registry) remove(g Group) error {
	r.mu.Lock()
	delete(r.groups, g)
	r.mu.Unlock()
	// The state goes last: a crash leaves a group that can be deleted again.
	path := g.path(r.dir)
	all, err := segments(path)
	for _, s := range all {
		err = errors.Join(err, os.Remove(s.path))
	}
	if err == nil {
		err = errors.Join(os.RemoveAll(path), syncDir(filepath.Dir(path)))
	}
	if err != nil {
		return fmt.Errorf("delete log group: %w", err)
	}
	return nil
}
