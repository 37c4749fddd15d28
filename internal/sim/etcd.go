package sim

import (
	"context"
	"time"

	"hearth/internal/assignment"
	"hearth/internal/environment"
	"hearth/internal/journal"
)

// keeper is etcd, as far as journals need it: the logs, and the leases of their
// leaders.
type keeper struct {
	*node
	w    *World
	logs []*log
}

// log is a partition's journal.
type log struct {
	*journal.Memory
	term journal.Term // of the last entry
	last journal.Index
	kept time.Time // when its leader was last heard of
	// intents are the environments that it has ever known.
	intents map[environment.ID]bool
}

func newKeeper(w *World) *keeper {
	k := &keeper{node: &node{name: "etcd", az: -1, up: true}, w: w}
	for range w.cfg.Partitions {
		k.logs = append(k.logs, &log{Memory: journal.NewMemory(), intents: make(map[environment.ID]bool)})
	}
	w.every(w.cfg.Term/10, func() {
		for _, l := range k.logs {
			if w.now.Sub(l.kept) > w.cfg.Term {
				l.Lapse()
			}
		}
	})
	return k
}

// view is what a host learns when it looks.
type view struct {
	leader  *journal.Leader
	entries []journal.Entry
	trimmed *journal.Checkpoint
}

func (k *keeper) look(partition int, from journal.Index) view {
	l := k.logs[partition]
	var v view
	v.leader, _ = l.Leader(context.Background())
	entries, err := l.Read(context.Background(), from)
	if err != nil { // what it wants was trimmed
		v.trimmed, _ = l.Checkpoint(context.Background())
		entries, _ = l.Read(context.Background(), v.trimmed.Index+1)
	}
	v.entries = entries
	return v
}

// lead gives the term to whoever asks, if nobody has it.
func (k *keeper) lead(partition int, name string) (term journal.Term, ok bool) {
	l := k.logs[partition]
	if leader, _ := l.Leader(context.Background()); leader != nil {
		return 0, false
	}
	t, err := l.Lead(context.Background(), []byte(name), 0)
	if err != nil {
		return 0, false
	}
	l.kept = k.w.now
	return t.Term(), true
}

// keep renews a term.
func (k *keeper) keep(partition int, term journal.Term) bool {
	l := k.logs[partition]
	leader, _ := l.Leader(context.Background())
	if leader == nil || leader.Term != term {
		return false
	}
	l.kept = k.w.now
	return true
}

// append is fenced, unless that is the planted bug.
func (k *keeper) append(partition int, e journal.Entry) error {
	l := k.logs[partition]
	term := e.Term
	if leader, _ := l.Leader(context.Background()); k.w.cfg.Bug == BugStaleAppends && leader != nil && leader.Term != e.Term {
		entries, _ := l.Read(context.Background(), e.Index)
		e.Term, e.Index = leader.Term, e.Index+journal.Index(len(entries))
	}
	if err := l.Append(context.Background(), e); err != nil {
		return err
	}
	if e.Index <= l.last {
		return nil // it was there already
	}
	if term < l.term {
		k.w.violatedf("partition %d: a leader of term %d appends behind one of term %d", partition, term, l.term)
	}
	l.term, l.last = term, e.Index
	for raw, err := range journal.Records(e.Data) {
		var r assignment.Record
		if err == nil {
			r, err = assignment.DecodeRecord(raw)
		}
		if err != nil {
			k.w.violatedf("partition %d: entry %d: %w", partition, e.Index, err)
		} else if r.IsIntent() {
			l.intents[r.ID] = true
		}
	}
	return nil
}

func (l *log) next() journal.Index { return l.last + 1 }
