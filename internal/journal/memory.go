package journal

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Memory keeps a log in memory. Terms do not lapse by themselves: Lapse ends
// them, which is how a simulation says that a leader was not heard of.
type Memory struct {
	// Fault, if there is one, is asked before each operation whether it fails:
	// not at all, before anything is done, or after it was, which its caller then
	// does not know. It may wait.
	Fault func(ctx context.Context, op Op) Fault

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each change
	term    Term
	leader  *memoryTerm
	first   Index // of entries
	entries []Entry
	saved   *Checkpoint
}

// Op names an operation on a log.
type Op string

// The operations that can be made to fail.
const (
	OpLead   Op = "lead"
	OpAppend Op = "append"
	OpRead   Op = "read"
	OpSave   Op = "save"
)

// Fault is how an operation fails.
type Fault int

// The ways to fail.
const (
	NoFault Fault = iota
	// Unreached operations are not done.
	Unreached
	// Unheard ones are done, but their result is not heard of.
	Unheard
)

var errUnreached = fmt.Errorf("journal: the log does not answer: %w", context.DeadlineExceeded)

// NewMemory returns an empty log.
func NewMemory() *Memory { return &Memory{changed: make(chan struct{}), first: 1} }

type memoryTerm struct {
	log   *Memory
	term  Term
	value []byte
	lost  chan struct{}
	over  bool // under log.mu
}

func (t *memoryTerm) Term() Term            { return t.term }
func (t *memoryTerm) Lost() <-chan struct{} { return t.lost }

func (t *memoryTerm) Resign(context.Context) error {
	t.log.mu.Lock()
	defer t.log.mu.Unlock()
	t.end()
	return nil
}

// end is called with the log locked.
func (t *memoryTerm) end() {
	if t.over {
		return
	}
	t.over = true
	close(t.lost)
	if t.log.leader == t {
		t.log.leader = nil
		t.log.tell()
	}
}

// Lapse ends the term of whoever leads, as if it had not been heard of. Whether
// that one is told is up to its own clock: Lost is closed.
func (m *Memory) Lapse() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.leader != nil {
		m.leader.end()
	}
}

// tell wakes those who wait. The caller holds mu.
func (m *Memory) tell() {
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *Memory) fault(ctx context.Context, op Op) Fault {
	if m.Fault == nil {
		return NoFault
	}
	return m.Fault(ctx, op)
}

// Lead implements Log. The time to live is the simulation's affair.
func (m *Memory) Lead(ctx context.Context, value []byte, _ time.Duration) (Leadership, error) {
	if len(value) > MaxLeader {
		return nil, ErrTooLarge
	}
	fault := m.fault(ctx, OpLead)
	if fault == Unreached {
		return nil, errUnreached
	}
	for {
		m.mu.Lock()
		if m.leader == nil {
			m.term++
			t := &memoryTerm{log: m, term: m.term, value: bytes.Clone(value), lost: make(chan struct{})}
			m.leader = t
			m.tell()
			m.mu.Unlock()
			if fault == Unheard {
				return nil, errUnreached // until it lapses, nobody leads
			}
			return t, nil
		}
		changed := m.changed
		m.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Leader implements Log.
func (m *Memory) Leader(ctx context.Context) (*Leader, error) {
	if m.fault(ctx, OpRead) != NoFault {
		return nil, errUnreached
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.leader == nil {
		return nil, nil //nolint:nilnil // nobody leads
	}
	return &Leader{m.leader.term, bytes.Clone(m.leader.value)}, nil
}

// Evict implements Log.
func (m *Memory) Evict(ctx context.Context, term Term) error {
	if m.fault(ctx, OpLead) == Unreached {
		return errUnreached
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.leads(term) {
		m.leader.end()
	}
	return nil
}

func (m *Memory) leads(term Term) bool { return m.leader != nil && m.leader.term == term }

// Append implements Log.
func (m *Memory) Append(ctx context.Context, e Entry) error {
	if len(e.Data) > MaxEntry {
		return ErrTooLarge
	}
	fault := m.fault(ctx, OpAppend)
	if fault == Unreached {
		return ErrUnknown
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.append(e); err != nil {
		return err
	}
	if fault == Unheard {
		return ErrUnknown
	}
	return nil
}

func (m *Memory) append(e Entry) error {
	next := m.first + Index(len(m.entries))
	switch {
	case e.Index < m.first:
		return ErrDeposed // only another leader has trimmed it
	case e.Index < next:
		if there := m.entries[e.Index-m.first]; there.Term == e.Term && bytes.Equal(there.Data, e.Data) {
			return nil
		}
		return ErrDeposed
	case !m.leads(e.Term):
		return ErrDeposed
	case e.Index > next:
		return ErrGap
	}
	e.Data = bytes.Clone(e.Data)
	m.entries = append(m.entries, e)
	m.tell()
	return nil
}

// Read implements Log.
func (m *Memory) Read(ctx context.Context, from Index) ([]Entry, error) {
	if m.fault(ctx, OpRead) != NoFault {
		return nil, errUnreached
	}
	entries, _, err := m.since(from)
	return entries, err
}

// since returns the entries from an index on, and what is closed when there are
// more.
func (m *Memory) since(from Index) ([]Entry, <-chan struct{}, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if from < m.first {
		return nil, nil, ErrTrimmed
	}
	at := min(int(from-m.first), len(m.entries)) //nolint:gosec // far below 2^63
	return slices.Clone(m.entries[at:]), m.changed, nil
}

// Follow implements Log.
func (m *Memory) Follow(ctx context.Context, from Index, do func(Entry) error) error {
	for {
		entries, changed, err := m.since(from)
		if err != nil {
			return err
		}
		for _, e := range entries {
			if err := do(e); err != nil {
				return err
			}
			from = e.Index + 1
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Save implements Log.
func (m *Memory) Save(ctx context.Context, term Term, c Checkpoint) error {
	fault := m.fault(ctx, OpSave)
	if fault == Unreached {
		return errUnreached
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case !m.leads(term):
		return ErrDeposed
	case c.Index >= m.first+Index(len(m.entries)):
		return ErrGap
	case m.saved != nil && c.Index <= m.saved.Index:
		return nil
	}
	m.saved = &Checkpoint{c.Index, bytes.Clone(c.Data)}
	if c.Index >= m.first {
		m.entries = slices.Clone(m.entries[c.Index+1-m.first:])
		m.first = c.Index + 1
	}
	m.tell()
	if fault == Unheard {
		return errUnreached
	}
	return nil
}

// Checkpoint implements Log.
func (m *Memory) Checkpoint(ctx context.Context) (*Checkpoint, error) {
	if m.fault(ctx, OpRead) != NoFault {
		return nil, errUnreached
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.saved == nil {
		return nil, nil //nolint:nilnil // there is none
	}
	return &Checkpoint{m.saved.Index, bytes.Clone(m.saved.Data)}, nil
}
