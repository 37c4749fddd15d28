// Package table keeps all records of one kind in memory, fed by a watch on
// etcd, and changes them there. Every service that decides something for a
// request reads from tables, so that nothing of a request waits for etcd.
//
// Invariants:
//
//  1. A table's content is that of etcd at one revision, which only grows.
//  2. Lookup takes no lock and allocates nothing.
//  3. Subscribers hear of every change of a record once, in etcd's order, and
//     before WaitRevision returns for it.
//  4. Records that have been handed out are never changed.
//  5. A change is one transaction on the condition that the record is the one
//     it was computed from, and has been seen by the table before its caller
//     returns.
//
// Failure modes: when etcd is away the table serves on what it knows and
// catches up later; when it was away for longer than etcd keeps history, it
// reads everything again and tells subscribers the difference. A record that
// cannot be read is refused and reported, and the last good one stays.
//
// The design is in docs/control.md.
package table

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Config is what a table needs.
type Config[T any] struct {
	Client *clientv3.Client
	Log    *slog.Logger
	// Prefix begins the keys of the records in etcd; it ends in a slash.
	Prefix string
	// Check says what is wrong with a record that was read or is to be stored
	// as key; nothing else of a stored record is believed.
	Check func(key Key, r *T) error
	// OnRefused, if not nil, is told of records that cannot be read. It is
	// called by the goroutine that follows etcd and must not block.
	OnRefused func(key string, err error)
	// RetryDelay is the pause after a failed read of etcd; 200 ms if zero.
	RetryDelay time.Duration
	// WriteTimeout bounds one change; 10 seconds if zero.
	WriteTimeout time.Duration
}

// Table holds the records of one kind.
type Table[T any] struct {
	cfg Config[T]

	shards shards[T]

	// mu orders changes and guards what follows. Lookup does without it.
	mu       sync.RWMutex
	sorted   []row[T]
	revision int64
	advanced chan struct{} // closed and replaced when revision grows
	refused  map[string]struct{}

	// notify is held while subscribers are told, so that each hears changes in
	// order, also those made while it subscribes.
	notify      sync.Mutex
	subscribers []*subscriber[T]

	cancel context.CancelFunc
	done   chan struct{}
}

type subscriber[T any] struct {
	fn func(k Key, before, after *T)
}

// New makes a table; Start fills it.
func New[T any](cfg Config[T]) *Table[T] {
	if cfg.RetryDelay == 0 {
		cfg.RetryDelay = 200 * time.Millisecond
	}
	if cfg.WriteTimeout == 0 {
		cfg.WriteTimeout = defaultWriteTimeout
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	t := &Table[T]{
		cfg:      cfg,
		advanced: make(chan struct{}),
		refused:  make(map[string]struct{}),
		done:     make(chan struct{}),
	}
	t.shards.init()
	return t
}

// Start reads every record and then follows etcd until Stop. It returns when
// the table is complete, or with an error if etcd could not be read.
func (t *Table[T]) Start(ctx context.Context) error {
	revision, err := t.load(ctx)
	if err != nil {
		return fmt.Errorf("start table %s: %w", t.cfg.Prefix, err)
	}
	runCtx, cancel := context.WithCancel(context.Background()) //nolint:gosec // Stop calls it
	t.cancel = cancel
	go t.run(runCtx, revision)
	return nil
}

// Stop stops following etcd. The table can still be read.
func (t *Table[T]) Stop() {
	if t.cancel == nil {
		return
	}
	t.cancel()
	<-t.done
}

// Lookup returns a record, which must not be changed.
func (t *Table[T]) Lookup(k Key) (*T, bool) {
	e := t.shards.lookup(k)
	return e.record, e.record != nil
}

// List returns up to limit records of an account whose names begin with
// prefix, in the order of their names, beginning after the name after.
func (t *Table[T]) List(account, prefix, after string, limit int) []*T {
	t.mu.RLock()
	defer t.mu.RUnlock()
	i, found := t.search(Key{account, max(prefix, after)})
	if found && after >= prefix {
		i++ // after itself
	}
	var list []*T
	for ; i < len(t.sorted) && len(list) < limit; i++ {
		if k := t.sorted[i].key; k.Account != account || !strings.HasPrefix(k.Name, prefix) {
			break
		}
		list = append(list, t.sorted[i].record)
	}
	return list
}

// All returns every record, by account and name.
func (t *Table[T]) All() []*T {
	t.mu.RLock()
	defer t.mu.RUnlock()
	all := make([]*T, len(t.sorted))
	for i, r := range t.sorted {
		all[i] = r.record
	}
	return all
}

// rows is All with the keys.
func (t *Table[T]) rows() []row[T] {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.Clone(t.sorted)
}

// search returns where a key is, or would be, in sorted.
func (t *Table[T]) search(k Key) (int, bool) {
	return slices.BinarySearchFunc(t.sorted, k, func(r row[T], k Key) int { return r.key.compare(k) })
}

// Refused returns how many stored records cannot be read.
func (t *Table[T]) Refused() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.refused)
}

// Revision is etcd's revision that the table has seen.
func (t *Table[T]) Revision() int64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.revision
}

// WaitRevision waits until the table holds what etcd held at a revision. It
// must be one at which one of its records was written or deleted.
func (t *Table[T]) WaitRevision(ctx context.Context, revision int64) error {
	for {
		t.mu.RLock()
		seen, advanced := t.revision, t.advanced
		t.mu.RUnlock()
		if seen >= revision {
			return nil
		}
		select {
		case <-advanced:
		case <-ctx.Done():
			return fmt.Errorf("wait for revision %d, at %d: %w", revision, seen, context.Cause(ctx))
		}
	}
}

// CatchUp waits until the table holds every record that is stored by now.
func (t *Table[T]) CatchUp(ctx context.Context) error {
	resp, err := t.cfg.Client.Get(ctx, t.cfg.Prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(),
		clientv3.WithSort(clientv3.SortByModRevision, clientv3.SortDescend), clientv3.WithLimit(1))
	if err != nil {
		return fmt.Errorf("catch up with %s: %w", t.cfg.Prefix, err)
	}
	if len(resp.Kvs) == 0 {
		return nil
	}
	return t.WaitRevision(ctx, resp.Kvs[0].ModRevision)
}

// Subscribe has fn called for every change: before is nil for a new record,
// after is nil for a deleted one. The present records are reported first, as
// new, before Subscribe returns. Calls come one after another, in order; fn
// must be quick and must not call Subscribe or cancel. After cancel returned
// fn is not called any more.
func (t *Table[T]) Subscribe(fn func(k Key, before, after *T)) (cancel func()) {
	t.notify.Lock()
	defer t.notify.Unlock()
	s := &subscriber[T]{fn}
	for _, r := range t.rows() {
		fn(r.key, nil, r.record)
	}
	t.subscribers = append(t.subscribers, s)
	return func() {
		t.notify.Lock()
		defer t.notify.Unlock()
		t.subscribers = slices.DeleteFunc(t.subscribers, func(o *subscriber[T]) bool { return o == s })
	}
}

// change replaces or, with no record in after, removes one record. The caller
// holds notify.
func (t *Table[T]) change(k Key, after entry[T]) {
	before := t.shards.lookup(k)
	if before.record == nil && after.record == nil {
		return
	}
	t.shards.set(k, after)

	t.mu.Lock()
	i, found := t.search(k)
	switch {
	case after.record == nil:
		t.sorted = slices.Delete(t.sorted, i, i+1)
	case found:
		t.sorted[i].record = after.record
	default:
		t.sorted = slices.Insert(t.sorted, i, row[T]{k, after.record})
	}
	t.mu.Unlock()

	for _, s := range t.subscribers {
		s.fn(k, before.record, after.record)
	}
}

func (t *Table[T]) advance(revision int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if revision <= t.revision {
		return
	}
	t.revision = revision
	close(t.advanced)
	t.advanced = make(chan struct{})
}

// row is a record in its table's order.
type row[T any] struct {
	key    Key
	record *T
}
