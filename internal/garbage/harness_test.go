package garbage_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hearth/internal/chunk"
	"hearth/internal/garbage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a clock that tests put forward.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

var errDead = errors.New("the process is dead")

// life is one life of a process: after so many steps it dies, before or after
// the step is done.
type life struct {
	steps int // left; never if negative
	after bool
}

// step does something durable.
func (l *life) step(do func()) error {
	switch {
	case l.steps < 0:
		do()
		return nil
	case l.steps > 0:
		l.steps--
		do()
		return nil
	}
	if l.after {
		l.after = false
		do()
	}
	return errDead
}

// memStore is a garbage.Store in memory.
type memStore struct {
	life     func() *life
	mu       sync.Mutex
	value    []byte
	revision int64
}

func (m *memStore) Load(context.Context) ([]byte, int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.value), m.revision, nil
}

func (m *memStore) Swap(_ context.Context, value []byte, revision int64) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if revision != m.revision {
		return 0, garbage.ErrConflict
	}
	err := m.life().step(func() { m.value, m.revision = slices.Clone(value), m.revision+1 })
	return m.revision, err
}

// forever is a life without end.
func forever() *life { return &life{steps: -1} }

// readers counts what is open.
type readers struct {
	mu    sync.Mutex
	count map[chunk.Root]int
	// failing are the objects of which reads have failed.
	failing []string
}

func newReaders() *readers { return &readers{count: make(map[chunk.Root]int)} }

func (r *readers) add(root chunk.Root, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count[root] += n
}

func (r *readers) Reading(root chunk.Root) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count[root] > 0
}

func (*readers) Leave() error { return nil }

func (r *readers) fail(object string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failing = append(r.failing, object)
}

func (r *readers) Unreadable(context.Context) ([]string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	failing := r.failing
	r.failing = nil
	return failing, nil
}
