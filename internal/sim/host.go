package sim

import (
	"context"
	"errors"
	"time"

	"hearth/internal/assignment"
	"hearth/internal/environment"
	"hearth/internal/function"
	"hearth/internal/journal"
	"hearth/internal/placement"
)

// host is a process of assignment, with a placement of its own.
type host struct {
	*node
	w       *World
	places  *placement.Service
	members []*member
}

// member is a host's part in a partition: what assignment's service does with
// goroutines is done with events here.
type member struct {
	h         *host
	id        int
	partition *assignment.Partition
	replica   *assignment.Replica
	leading   bool
	term      journal.Term
	foreign   bool // another has appended since
	asking    bool // to lead

	// The entry on its way, and what goes into the next.
	onItsWay bool
	next     journal.Index
	current  []assignment.Record
	queue    []assignment.Record
	writing  bool // false while the term is in doubt
	saved    journal.Index
}

// begin is a host's new life: nothing is left of the one before.
func (h *host) begin() {
	h.up = true
	h.life++
	places, err := placement.New(placement.Config{
		Lease: h.w.cfg.Lease, Now: func() time.Time { return h.w.now },
		Random: h.w.dice.Int64N,
	})
	if err != nil {
		panic(err)
	}
	h.places, h.members = places, nil
	for id := range h.w.cfg.Partitions {
		m := &member{h: h, id: id, replica: assignment.NewReplica()}
		m.partition = assignment.NewPartition(id, h.w.tuning, m)
		h.members = append(h.members, m)
		h.loop(h.w.cfg.Term/4, m.look)
	}
	// What etcd's watch tells a process in the end, whatever gets lost.
	h.loop(10*time.Second, func() {
		for i := range h.w.functions {
			h.provide(i)
		}
	})
	h.loop(time.Second, func() {
		for _, m := range h.members {
			m.partition.Expire()
		}
	})
	h.loop(15*time.Second, func() {
		for _, m := range h.members {
			m.partition.Check()
		}
	})
}

// provide tells the partition of a function how many of its environments are to
// be ready.
func (h *host) provide(i int) {
	rec := h.w.functions[i]
	h.members[assignment.PartitionOf(rec.UID, h.w.cfg.Partitions)].partition.Provide(rec, h.w.provisioned[i])
}

// loop repeats something for as long as this life lasts.
func (n *node) loopIn(w *World, every time.Duration, do func()) {
	life := n.life
	var again func()
	again = func() {
		if n.up && n.life == life {
			do()
			w.after(w.between(every*9/10, every*11/10), again)
		}
	}
	w.after(w.between(0, every), again)
}

func (h *host) loop(every time.Duration, do func()) { h.node.loopIn(h.w, every, do) }

// look learns what has happened in the journal, keeps the term, or asks for one.
func (m *member) look() {
	k := m.h.w.keeper
	term := m.term
	if m.leading {
		call(m.h.w.network, m.h.node, k.node, time.Second, func(reply func(bool)) { reply(k.keep(m.id, term)) }, func(bool, error) {})
	}
	call(m.h.w.network, m.h.node, k.node, time.Second,
		func(reply func(view)) { reply(k.look(m.id, m.replica.Next())) },
		func(v view, err error) {
			if err == nil {
				m.learn(v)
			}
		})
}

func (m *member) learn(v view) {
	if !m.catchUp(v) {
		return
	}
	switch {
	case v.leader == nil:
		if !m.asking && (!m.h.w.cfg.Managers || m.id%zones == m.h.az) {
			m.ask()
		}
	case v.leader.Term > m.term && string(v.leader.Value) != m.h.name:
		m.depose()
	case v.leader.Term > m.term && !m.asking:
		// A former life of this host leads, or one that did not hear that it does.
		k, term := m.h.w.keeper, v.leader.Term
		call(m.h.w.network, m.h.node, k.node, time.Second, func(reply func(error)) {
			reply(k.logs[m.id].Evict(context.Background(), term))
		}, func(error, error) {})
	}
}

// catchUp applies what is new; it returns false for what is too old.
func (m *member) catchUp(v view) bool {
	if v.trimmed != nil {
		if err := m.replica.Restore(v.trimmed); err != nil {
			panic(err)
		}
		m.foreign = true
	}
	for _, e := range v.entries {
		if e.Index < m.replica.Next() {
			continue
		}
		if e.Index > m.replica.Next() {
			return false
		}
		if err := m.replica.Apply(e); err != nil {
			panic(err)
		}
		m.foreign = m.foreign || e.Term != m.term
	}
	return true
}

// claim is the answer to who asks to lead.
type claim struct {
	term journal.Term
	ok   bool
	view view
}

func (m *member) ask() {
	m.asking = true
	k := m.h.w.keeper
	call(m.h.w.network, m.h.node, k.node, time.Second, func(reply func(claim)) {
		term, ok := k.lead(m.id, m.h.name)
		reply(claim{term, ok, k.look(m.id, m.replica.Next())})
	}, func(c claim, err error) {
		m.asking = false
		if err != nil || !c.ok || !m.catchUp(c.view) {
			return
		}
		if m.foreign && m.leading {
			m.depose()
		}
		m.h.w.notef("%s leads partition %d in term %d", m.h.name, m.id, c.term)
		m.term, m.foreign, m.leading = c.term, false, true
		m.writing, m.next = true, m.replica.Next()
		if m.onItsWay { // it goes again, with what came since
			m.queue, m.current, m.onItsWay = append(m.current, m.queue...), nil, false
		}
		m.partition.Lead(uint64(c.term), m.replica) //nolint:gosec // terms are positive
		m.pump()
	})
}

func (m *member) depose() {
	if !m.leading {
		return
	}
	m.h.w.notef("%s leads partition %d no more", m.h.name, m.id)
	m.leading, m.writing, m.onItsWay = false, false, false
	lost := append(m.current, m.queue...)
	m.current, m.queue = nil, nil
	m.partition.Depose()
	for _, r := range lost {
		m.appended(r, environment.ErrNotLeading)
	}
}

func (m *member) appended(r assignment.Record, err error) {
	if r.IsIntent() {
		m.partition.Appended(r.ID, err)
	}
}

// pump has one entry on its way at a time.
func (m *member) pump() {
	if m.onItsWay || !m.writing || len(m.queue) == 0 {
		return
	}
	m.onItsWay, m.current, m.queue = true, m.queue, nil
	var data []byte
	for _, r := range m.current {
		data = journal.AppendRecord(data, r.Encode())
	}
	m.attempt(journal.Entry{Index: m.next, Term: m.term, Data: data})
}

func (m *member) attempt(e journal.Entry) {
	k := m.h.w.keeper
	call(m.h.w.network, m.h.node, k.node, time.Second,
		func(reply func(error)) { reply(k.append(m.id, e)) },
		func(said error, err error) {
			if !m.onItsWay || m.term != e.Term {
				return // it was given up
			}
			switch {
			case err != nil || errors.Is(said, journal.ErrUnknown):
				m.h.w.after(50*time.Millisecond, func() {
					if m.onItsWay && m.term == e.Term && m.h.up {
						m.attempt(e)
					}
				})
			case said != nil: // another leads, or nobody
				m.writing, m.onItsWay = false, false
				m.queue, m.current = append(m.current, m.queue...), nil
			default:
				done := m.current
				m.onItsWay, m.current = false, nil
				m.next = e.Index + 1
				for _, r := range done {
					m.appended(r, nil)
				}
				m.checkpoint()
				m.pump()
			}
		})
}

// checkpoint makes one from what the replica has by now.
func (m *member) checkpoint() {
	if m.replica.Next() <= m.saved+64 {
		return
	}
	c := m.replica.Checkpoint()
	m.saved = c.Index
	k, term := m.h.w.keeper, m.term
	call(m.h.w.network, m.h.node, k.node, time.Second, func(reply func(error)) {
		reply(k.logs[m.id].Save(context.Background(), term, c))
	}, func(error, error) {})
}

// Place implements assignment.Actions.
func (m *member) Place(p *assignment.Partition, ask environment.PlaceRequest) {
	m.soon(func() {
		at, err := m.h.places.Place(ask)
		p.Placed(ask.ID, at, err)
	})
}

// soon has something happen in this life, but not now.
func (m *member) soon(do func()) {
	life := m.h.life
	m.h.w.after(100*time.Microsecond, func() {
		if m.h.up && m.h.life == life {
			do()
		}
	})
}

// Return implements assignment.Actions.
func (m *member) Return(id environment.ID) { m.h.places.Return(id) }

// Append implements assignment.Actions.
func (m *member) Append(_ *assignment.Partition, r assignment.Record) {
	if !m.leading {
		m.soon(func() { m.appended(r, environment.ErrNotLeading) })
		return
	}
	m.queue = append(m.queue, r)
	if m.h.w.cfg.Bug == BugEarlyStart {
		m.soon(func() { m.appended(r, nil) })
	}
	m.soon(m.pump)
}

// Start implements assignment.Actions. A worker that does not answer may have
// started it: it is stopped before that is called a failure.
func (m *member) Start(p *assignment.Partition, worker environment.WorkerID, start *environment.Start) {
	w := m.h.w.workers[worker]
	call(m.h.w.network, m.h.node, w.node, 30*time.Second,
		func(reply func(startAnswer)) { w.start(start, reply) },
		func(a startAnswer, err error) {
			if err != nil {
				m.stop(w, start.ID, func() { p.Started(start.ID, nil, err) })
				return
			}
			p.Started(start.ID, a.started, a.err)
		})
}

// Stop implements assignment.Actions.
func (m *member) Stop(p *assignment.Partition, worker environment.WorkerID, id environment.ID) {
	if m.h.w.cfg.Bug == BugOrphans {
		m.soon(func() { p.Stopped(id) })
		return
	}
	m.soon(func() { m.stop(m.h.w.workers[worker], id, func() { p.Stopped(id) }) })
}

func (m *member) stop(w *worker, id environment.ID, done func()) {
	call(m.h.w.network, m.h.node, w.node, time.Second,
		func(reply func(struct{})) {
			w.stop(id)
			reply(struct{}{})
		},
		func(_ struct{}, err error) {
			if err != nil {
				m.h.w.after(time.Second, func() {
					if m.h.up {
						m.stop(w, id, done)
					}
				})
				return
			}
			done()
		})
}

// List implements assignment.Actions.
func (m *member) List(p *assignment.Partition, worker environment.WorkerID, epoch uint64) {
	m.soon(func() {
		w, asked := m.h.w.workers[worker], m.h.w.now
		call(m.h.w.network, m.h.node, w.node, time.Second,
			func(reply func([]environment.Report)) {
				if reports, err := w.list(m.id, epoch); err == nil {
					reply(reports)
				}
			},
			func(reports []environment.Report, err error) {
				if err == nil {
					p.Listed(worker, epoch, asked, reports)
				}
			})
	})
}

// Workers implements assignment.Actions.
func (m *member) Workers() []environment.WorkerID {
	return append([]environment.WorkerID(nil), m.h.w.workerIDs...)
}

// acquire is a frontend's request.
func (h *host) acquire(partition int, rec *function.Record, reply func(leaseAnswer)) {
	p := h.members[partition].partition
	l, ok, err := p.Acquire(rec, "")
	if ok || err != nil {
		reply(leaseAnswer{l, err})
		return
	}
	over := false
	w := p.Wait(rec, "", false, func(l environment.Lease, err error) {
		if !over {
			over = true
			reply(leaseAnswer{l, err})
		}
	})
	life := h.life
	h.w.after(h.w.cfg.Patience, func() {
		if !over && h.up && h.life == life {
			over = true
			p.Abandon(w)
			reply(leaseAnswer{err: errPatience})
		}
	})
}

type leaseAnswer struct {
	lease environment.Lease
	err   error
}

var errPatience = errors.New("sim: throttled")
