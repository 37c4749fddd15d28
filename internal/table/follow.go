package table

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// loadPage is how many records are read at once: with records of a few KiB a
// page stays far below what etcd sends in one answer.
const loadPage = 500

// run follows etcd from a revision on, for ever.
func (t *Table[T]) run(ctx context.Context, revision int64) {
	defer close(t.done)
	for ctx.Err() == nil {
		err := t.watch(ctx, revision+1)
		if ctx.Err() != nil {
			return
		}
		t.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "table: lost the watch, reading again", slog.String("prefix", t.cfg.Prefix),
			slog.Int64("revision", t.Revision()), slog.Any("error", err))
		for {
			revision, err = t.load(ctx)
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(t.cfg.RetryDelay):
			}
		}
	}
}

// watch applies changes from a revision on until the watch breaks. The client
// resumes a watch by itself after a lost connection; it gives up when the
// history it needs is compacted.
func (t *Table[T]) watch(ctx context.Context, from int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ch := t.cfg.Client.Watch(ctx, t.cfg.Prefix, clientv3.WithPrefix(), clientv3.WithRev(from))
	for resp := range ch {
		if err := resp.Err(); err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		if len(resp.Events) == 0 {
			continue
		}
		t.notify.Lock()
		for _, e := range resp.Events {
			t.apply(e)
		}
		t.notify.Unlock()
		t.advance(resp.Events[len(resp.Events)-1].Kv.ModRevision)
	}
	return errors.New("watch ended")
}

func (t *Table[T]) apply(e *clientv3.Event) {
	if e.Type == mvccpb.DELETE {
		key := string(e.Kv.Key)
		t.forgetRefused(key)
		if k, ok := t.parsePath(key); ok {
			t.change(k, entry[T]{})
		}
		return
	}
	if k, r := t.read(e.Kv); r != nil {
		t.change(k, entry[T]{r, e.Kv.ModRevision})
	}
}

// load reads every record at one revision, makes the table equal to that and
// returns the revision.
func (t *Table[T]) load(ctx context.Context) (int64, error) {
	found := make(map[Key]entry[T])
	present := make(map[Key]struct{})
	refused := make(map[string]struct{})
	revision, from := int64(0), t.cfg.Prefix
	for {
		opts := []clientv3.OpOption{
			clientv3.WithRange(clientv3.GetPrefixRangeEnd(t.cfg.Prefix)), clientv3.WithLimit(loadPage),
		}
		if revision != 0 {
			opts = append(opts, clientv3.WithRev(revision))
		}
		resp, err := t.cfg.Client.Get(ctx, from, opts...)
		if err != nil {
			return 0, fmt.Errorf("read records: %w", err)
		}
		if revision == 0 {
			revision = resp.Header.GetRevision()
		}
		for _, kv := range resp.Kvs {
			if k, ok := t.parsePath(string(kv.Key)); ok {
				present[k] = struct{}{}
			}
			if k, r := t.read(kv); r != nil {
				found[k] = entry[T]{r, kv.ModRevision}
			} else {
				refused[string(kv.Key)] = struct{}{}
			}
		}
		if !resp.More || len(resp.Kvs) == 0 {
			break
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
	t.replaceAll(found, present, refused)
	t.advance(revision)
	return revision, nil
}

// replaceAll makes the records equal to found. A record whose stored form is
// present but unreadable stays as it was.
func (t *Table[T]) replaceAll(found map[Key]entry[T], present map[Key]struct{}, refused map[string]struct{}) {
	t.notify.Lock()
	defer t.notify.Unlock()
	for _, r := range t.rows() {
		if _, ok := present[r.key]; !ok {
			t.change(r.key, entry[T]{})
		}
	}
	for k, e := range found {
		if t.shards.lookup(k).revision != e.revision {
			t.change(k, e)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refused = refused
}

// read returns nil for a record that is refused.
func (t *Table[T]) read(kv *mvccpb.KeyValue) (Key, *T) {
	path := string(kv.Key)
	k, r, err := t.Decode(path, kv.Value)
	if err == nil {
		t.forgetRefused(path)
		return k, r
	}
	t.mu.Lock()
	t.refused[path] = struct{}{}
	t.mu.Unlock()
	t.cfg.Log.LogAttrs(context.Background(), slog.LevelError, "table: refused a record", slog.Any("error", err))
	if t.cfg.OnRefused != nil {
		t.cfg.OnRefused(path, err)
	}
	return k, nil
}

func (t *Table[T]) forgetRefused(key string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.refused, key)
}
