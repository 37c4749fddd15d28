// Package catalog keeps every function's record in memory, fed by a watch on
// etcd, so that the invoke path never asks etcd for anything.
//
// Invariants:
//
//  1. The catalog's content is that of etcd at one revision, which only grows.
//  2. Lookup takes no lock and allocates nothing.
//  3. Subscribers hear of every change of a record once, in etcd's order, and
//     before WaitRevision returns for it.
//  4. Records that have been handed out are never changed.
//
// Failure modes: when etcd is away the catalog serves on what it knows and
// catches up later; when it was away for longer than etcd keeps history, it
// reads everything again and tells subscribers the difference. A record that
// cannot be read is refused and reported, and the last good one stays.
//
// The design is in docs/control.md.
package catalog

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"hearth/internal/function"
)

// Config is what a catalog needs.
type Config struct {
	Client *clientv3.Client
	Log    *slog.Logger
	// OnRefused, if not nil, is told of records that cannot be read. It is
	// called by the goroutine that follows etcd and must not block.
	OnRefused func(key string, err error)
	// RetryDelay is the pause after a failed read of etcd; 200 ms if zero.
	RetryDelay time.Duration
}

// Catalog is the cache of records.
type Catalog struct {
	cfg Config

	shards shards

	// mu orders changes and guards what follows. Lookup does without it.
	mu       sync.RWMutex
	sorted   []*function.Record // by account and name
	revision int64
	advanced chan struct{} // closed and replaced when revision grows
	refused  map[string]struct{}

	// notify is held while subscribers are told, so that each hears changes in
	// order, also those made while it subscribes.
	notify      sync.Mutex
	subscribers []*subscriber

	cancel context.CancelFunc
	done   chan struct{}
}

type subscriber struct {
	fn func(before, after *function.Record)
}

// New makes a catalog; Start fills it.
func New(cfg Config) *Catalog {
	if cfg.RetryDelay == 0 {
		cfg.RetryDelay = 200 * time.Millisecond
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	c := &Catalog{
		cfg:      cfg,
		advanced: make(chan struct{}),
		refused:  make(map[string]struct{}),
		done:     make(chan struct{}),
	}
	c.shards.init()
	return c
}

// Start reads every record and then follows etcd until Stop. It returns when
// the catalog is complete, or with an error if etcd could not be read.
func (c *Catalog) Start(ctx context.Context) error {
	revision, err := c.load(ctx)
	if err != nil {
		return fmt.Errorf("start catalog: %w", err)
	}
	runCtx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	go c.run(runCtx, revision)
	return nil
}

// Stop stops following etcd. The catalog can still be read.
func (c *Catalog) Stop() {
	if c.cancel == nil {
		return
	}
	c.cancel()
	<-c.done
}

// Lookup returns a function's record. The record must not be changed.
func (c *Catalog) Lookup(account, name string) (*function.Record, bool) {
	return c.shards.lookup(id{account, name})
}

// List returns up to limit records of an account in the order of their names,
// beginning after the name after.
func (c *Catalog) List(account, after string, limit int) []*function.Record {
	c.mu.RLock()
	defer c.mu.RUnlock()
	i, found := slices.BinarySearchFunc(c.sorted, id{account, after}, compareRecord)
	if found {
		i++
	}
	j := i
	for j < len(c.sorted) && j-i < limit && c.sorted[j].Account == account {
		j++
	}
	return slices.Clone(c.sorted[i:j])
}

// All returns every record, by account and name.
func (c *Catalog) All() []*function.Record {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return slices.Clone(c.sorted)
}

// Refused returns how many stored records cannot be read.
func (c *Catalog) Refused() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.refused)
}

// Revision is etcd's revision that the catalog has seen.
func (c *Catalog) Revision() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.revision
}

// WaitRevision waits until the catalog holds what etcd held at a revision. It
// must be one at which a function record was written.
func (c *Catalog) WaitRevision(ctx context.Context, revision int64) error {
	for {
		c.mu.RLock()
		seen, advanced := c.revision, c.advanced
		c.mu.RUnlock()
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

// Subscribe has fn called for every change: before is nil for a new function,
// after is nil for a deleted one. The present records are reported first, as
// new, before Subscribe returns. Calls come one after another, in order; fn
// must be quick and must not call Subscribe or cancel. After cancel returned
// fn is not called any more.
func (c *Catalog) Subscribe(fn func(before, after *function.Record)) (cancel func()) {
	c.notify.Lock()
	defer c.notify.Unlock()
	s := &subscriber{fn}
	for _, r := range c.All() {
		fn(nil, r)
	}
	c.subscribers = append(c.subscribers, s)
	return func() {
		c.notify.Lock()
		defer c.notify.Unlock()
		c.subscribers = slices.DeleteFunc(c.subscribers, func(o *subscriber) bool { return o == s })
	}
}

// change replaces or, with after nil, removes one record. The caller holds
// notify.
func (c *Catalog) change(key id, after *function.Record) {
	before, _ := c.shards.lookup(key)
	if before == nil && after == nil {
		return
	}
	c.shards.set(key, after)
	c.mu.Lock()
	i, found := slices.BinarySearchFunc(c.sorted, key, compareRecord)
	switch {
	case after == nil:
		c.sorted = slices.Delete(c.sorted, i, i+1)
	case found:
		c.sorted[i] = after
	default:
		c.sorted = slices.Insert(c.sorted, i, after)
	}
	c.mu.Unlock()
	for _, s := range c.subscribers {
		s.fn(before, after)
	}
}

func (c *Catalog) advance(revision int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if revision <= c.revision {
		return
	}
	c.revision = revision
	close(c.advanced)
	c.advanced = make(chan struct{})
}

// id names a function.
type id struct{ account, name string }

func compareRecord(r *function.Record, key id) int {
	return cmp.Or(cmp.Compare(r.Account, key.account), cmp.Compare(r.Name, key.name))
}
