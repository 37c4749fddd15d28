package catalog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"hearth/internal/function"
)

// loadPage is how many records are read at once: with records of a few KiB a
// page stays far below what etcd sends in one answer.
const loadPage = 500

// run follows etcd from a revision on, for ever.
func (c *Catalog) run(ctx context.Context, revision int64) {
	defer close(c.done)
	for ctx.Err() == nil {
		err := c.watch(ctx, revision+1)
		if ctx.Err() != nil {
			return
		}
		c.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "catalog: lost the watch, reading again",
			slog.Int64("revision", c.Revision()), slog.Any("error", err))
		for {
			revision, err = c.load(ctx)
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(c.cfg.RetryDelay):
			}
		}
	}
}

// watch applies changes from a revision on until the watch breaks. The client
// resumes a watch by itself after a lost connection; it gives up when the
// history it needs is compacted.
func (c *Catalog) watch(ctx context.Context, from int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ch := c.cfg.Client.Watch(ctx, Prefix, clientv3.WithPrefix(), clientv3.WithRev(from))
	for resp := range ch {
		if err := resp.Err(); err != nil {
			return fmt.Errorf("watch: %w", err)
		}
		if len(resp.Events) == 0 {
			continue
		}
		c.notify.Lock()
		for _, e := range resp.Events {
			c.apply(e)
		}
		c.notify.Unlock()
		c.advance(resp.Events[len(resp.Events)-1].Kv.ModRevision)
	}
	return errors.New("watch ended")
}

func (c *Catalog) apply(e *clientv3.Event) {
	if e.Type == mvccpb.DELETE {
		key := string(e.Kv.Key)
		c.forgetRefused(key)
		if k, ok := parseKey(key); ok {
			c.change(k, nil)
		}
		return
	}
	if r := c.decode(e.Kv); r != nil {
		c.change(id{r.Account, r.Name}, r)
	}
}

// load reads every record at one revision, makes the catalog equal to that and
// returns the revision.
func (c *Catalog) load(ctx context.Context) (int64, error) {
	found := make(map[id]*function.Record)
	present := make(map[id]struct{})
	refused := make(map[string]struct{})
	revision, from := int64(0), Prefix
	for {
		opts := []clientv3.OpOption{
			clientv3.WithRange(clientv3.GetPrefixRangeEnd(Prefix)), clientv3.WithLimit(loadPage),
		}
		if revision != 0 {
			opts = append(opts, clientv3.WithRev(revision))
		}
		resp, err := c.cfg.Client.Get(ctx, from, opts...)
		if err != nil {
			return 0, fmt.Errorf("read records: %w", err)
		}
		if revision == 0 {
			revision = resp.Header.GetRevision()
		}
		for _, kv := range resp.Kvs {
			if k, ok := parseKey(string(kv.Key)); ok {
				present[k] = struct{}{}
			}
			if r := c.decode(kv); r != nil {
				found[id{r.Account, r.Name}] = r
			} else {
				refused[string(kv.Key)] = struct{}{}
			}
		}
		if !resp.More || len(resp.Kvs) == 0 {
			break
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
	c.replaceAll(found, present, refused)
	c.advance(revision)
	return revision, nil
}

// replaceAll makes the records equal to found. A record whose stored form is
// present but unreadable stays as it was.
func (c *Catalog) replaceAll(found map[id]*function.Record, present map[id]struct{}, refused map[string]struct{}) {
	c.notify.Lock()
	defer c.notify.Unlock()
	for _, r := range c.All() {
		k := id{r.Account, r.Name}
		if _, ok := present[k]; !ok {
			c.change(k, nil)
		}
	}
	for k, r := range found {
		if was, ok := c.shards.lookup(k); !ok || was.ModRevision != r.ModRevision {
			c.change(k, r)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refused = refused
}

// decode returns nil for a record that is refused.
func (c *Catalog) decode(kv *mvccpb.KeyValue) *function.Record {
	key := string(kv.Key)
	r, err := Decode(key, kv.Value, kv.ModRevision)
	if err == nil {
		c.forgetRefused(key)
		return r
	}
	c.mu.Lock()
	c.refused[key] = struct{}{}
	c.mu.Unlock()
	c.cfg.Log.LogAttrs(context.Background(), slog.LevelError, "catalog: refused a record", slog.Any("error", err))
	if c.cfg.OnRefused != nil {
		c.cfg.OnRefused(key, err)
	}
	return nil
}

func (c *Catalog) forgetRefused(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.refused, key)
}

// parseKey is the reverse of Key.
func parseKey(key string) (id, bool) {
	rest, ok := strings.CutPrefix(key, Prefix)
	if !ok {
		return id{}, false
	}
	account, name, ok := strings.Cut(rest, "/")
	return id{account, name}, ok && account != "" && name != ""
}
