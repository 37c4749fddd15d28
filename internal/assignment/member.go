package assignment

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"hearth/internal/environment"
	"hearth/internal/journal"
)

// member is this process's part in one partition: it follows the journal, and
// leads when it is its turn.
type member struct {
	*Partition

	log    journal.Log
	name   []byte
	ttl    time.Duration
	every  int // entries between two checkpoints
	logger *slog.Logger
	told   func() // is called when leading begins or ends
	cfg    *Config

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced when something below changes
	replica  *Replica
	saved    journal.Index // of the last checkpoint
	term     journal.Term  // of this process's last leadership
	foreign  bool          // another has appended since
	followed error         // why the journal cannot be followed at the moment
	writer   *journal.Writer
	leading  bool
}

const (
	// memberPause is the longest wait before something that failed is tried
	// again: random, for all partitions fail together.
	memberPause = 500 * time.Millisecond
	// lookEvery is how often a leader that is not sure of its term looks for
	// another.
	lookEvery = 250 * time.Millisecond
)

func pause(ctx context.Context) {
	timer := time.NewTimer(time.Duration(rand.Int64N(int64(memberPause)))) //nolint:gosec // it spreads load and keeps no secret
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// change is called with the lock held.
func (m *member) change() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// run leads whenever nobody does, until the context ends.
func (m *member) run(ctx context.Context) {
	var following sync.WaitGroup
	following.Go(func() { m.follow(ctx) })
	defer following.Wait()
	m.evict(ctx, string(m.name)) // nobody else has the name: it is that of a former life
	for ctx.Err() == nil {
		if m.lags() {
			pause(ctx) // the follower says why
			continue
		}
		t, err := m.campaign(ctx)
		if err == nil {
			err = m.lead(ctx, t)
		}
		if err != nil && ctx.Err() == nil {
			m.logger.Warn("assignment: cannot lead", "partition", m.id, "error", err)
			pause(ctx)
		}
	}
	m.depose()
}

// evict ends the term of a process that is dead, so that nobody need wait for it
// to lapse.
func (m *member) evict(ctx context.Context, name string) {
	if err := journal.EvictHolder(ctx, m.log, name); err != nil && ctx.Err() == nil {
		m.logger.Warn("assignment: a term lapses by itself", "partition", m.id, "of", name, "error", err)
	}
}

// follow applies what is appended, whoever leads.
func (m *member) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := m.followOnce(ctx)
		m.mu.Lock()
		m.followed = err
		m.change()
		m.mu.Unlock()
		if ctx.Err() == nil {
			if !errors.Is(err, journal.ErrTrimmed) {
				m.logger.Warn("assignment: cannot follow the journal", "partition", m.id, "error", err)
			}
			pause(ctx)
		}
	}
}

// lags says that the journal cannot be followed: who does not know what it says
// must not lead. Whoever leads already goes on.
func (m *member) lags() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.followed != nil && !m.leading
}

func (m *member) followOnce(ctx context.Context) error {
	c, err := m.log.Checkpoint(ctx)
	if err != nil {
		return err
	}
	m.mu.Lock()
	err = m.replica.Restore(c)
	if c != nil {
		m.saved = max(m.saved, c.Index)
	}
	next := m.replica.Next()
	if err == nil {
		m.followed = nil
	}
	m.mu.Unlock()
	if err != nil {
		return err
	}
	return m.log.Follow(ctx, next, m.apply)
}

func (m *member) apply(e journal.Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.replica.Apply(e); err != nil {
		return err
	}
	m.followed = nil
	m.foreign = m.foreign || e.Term != m.term
	m.change()
	return nil
}

// campaign waits until nobody leads, and does. Meanwhile a former leadership of
// this process goes on with what needs no journal, until another leads: while
// the journal is away nobody can.
func (m *member) campaign(ctx context.Context) (journal.Leadership, error) {
	looking, stop := context.WithCancel(ctx)
	var look sync.WaitGroup
	look.Go(func() { m.lookForOther(looking) })
	defer look.Wait()
	defer stop()
	if !m.preferred() {
		timer := time.NewTimer(yield)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return m.log.Lead(ctx, m.name, m.ttl)
}

const (
	// yield is how long whoever should not lead leaves it to who should.
	yield = 2 * time.Second
	// yieldEvery is how often a leader looks whether another should lead.
	yieldEvery = 5 * time.Second
)

// preferred says whether this process is the one that should lead.
func (m *member) preferred() bool { return m.cfg.Prefer == nil || m.cfg.Prefer(m.id) }

func (m *member) lookForOther(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		m.mu.Lock()
		leading, term := m.leading, m.term
		m.mu.Unlock()
		if !leading {
			return
		}
		if leader, err := m.log.Leader(ctx); err == nil && leader != nil && leader.Term > term && string(leader.Value) != string(m.name) {
			m.depose()
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (m *member) depose() {
	m.mu.Lock()
	m.leading, m.writer = false, nil
	m.change()
	m.mu.Unlock()
	m.Depose()
	m.told()
}

// lead is one term.
func (m *member) lead(ctx context.Context, t journal.Leadership) (err error) {
	defer func() {
		// In an orderly end the next leader need not wait.
		err = errors.Join(err, t.Resign(context.WithoutCancel(ctx)))
	}()
	if err := m.catchUp(ctx); err != nil {
		return err
	}
	m.mu.Lock()
	if m.foreign && m.leading {
		m.mu.Unlock()
		m.depose() // another has led meanwhile
		m.mu.Lock()
	}
	m.term, m.foreign, m.leading = t.Term(), false, true
	w := journal.NewWriter(m.log, t.Term(), m.replica.Next())
	m.writer = w
	m.Lead(uint64(t.Term()), m.replica) //nolint:gosec // terms are positive
	m.change()
	m.mu.Unlock()
	m.told()
	defer w.Close()
	balance := time.NewTicker(yieldEvery)
	defer balance.Stop()
	for {
		if err := m.checkpoint(ctx); err != nil {
			m.logger.Warn("assignment: no checkpoint", "partition", m.id, "error", err)
		}
		m.mu.Lock()
		changed := m.changed
		m.mu.Unlock()
		select {
		case <-changed:
		case <-balance.C:
			if !m.preferred() {
				return nil // the other campaigns already
			}
		case <-t.Lost():
			return nil
		case <-w.Failed():
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// catchUp returns when everything is applied that was appended before.
func (m *member) catchUp(ctx context.Context) error {
	m.mu.Lock()
	next := m.replica.Next()
	m.mu.Unlock()
	entries, err := m.log.Read(ctx, next)
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return nil
	}
	for last := entries[len(entries)-1].Index; ; {
		m.mu.Lock()
		next, changed, err := m.replica.Next(), m.changed, m.followed
		m.mu.Unlock()
		switch {
		case next > last:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// checkpoint makes one if enough has been appended since the last.
func (m *member) checkpoint(ctx context.Context) error {
	m.mu.Lock()
	due := m.replica.Next() > m.saved+journal.Index(m.every) //nolint:gosec // it is positive
	var c journal.Checkpoint
	if due {
		c = m.replica.Checkpoint()
		m.saved = c.Index // also if it fails: the next one is tried after as many
	}
	term := m.term
	m.mu.Unlock()
	if !due {
		return nil
	}
	return m.log.Save(ctx, term, c)
}

// append journals a record, in this term or in a later one of this process: all
// records may be repeated. It waits while the journal is away.
func (m *member) append(ctx context.Context, r Record) error {
	record := r.Encode()
	for {
		m.mu.Lock()
		w, leading, changed := m.writer, m.leading, m.changed
		m.mu.Unlock()
		if !leading {
			return environment.ErrNotLeading
		}
		if w != nil {
			_, err := w.Append(ctx, record)
			if err == nil || ctx.Err() != nil || errors.Is(err, journal.ErrTooLarge) {
				return err
			}
			m.mu.Lock()
			if m.writer == w {
				m.writer = nil
			}
			m.mu.Unlock()
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// led returns when this process leads the partition.
func (m *member) led(ctx context.Context) error {
	for {
		m.mu.Lock()
		leading, changed := m.leading, m.changed
		m.mu.Unlock()
		if leading {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
