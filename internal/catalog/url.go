package catalog

import (
	"sync"

	"hearth/internal/function"
	"hearth/internal/table"
)

// urls finds functions by the ids of their URLs. It follows the table of
// functions.
type urls struct {
	mu sync.RWMutex
	of map[string]urlOwner
}

type urlOwner struct {
	key       table.Key
	qualifier string
}

func (u *urls) changed(k table.Key, before, after *function.Record) {
	if (before == nil || len(before.URLs) == 0) && (after == nil || len(after.URLs) == 0) {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if before != nil {
		for _, url := range before.URLs {
			delete(u.of, url.ID)
		}
	}
	if after != nil {
		for qualifier, url := range after.URLs {
			u.of[url.ID] = urlOwner{k, qualifier}
		}
	}
}

// URL returns the function that has a URL, and the qualifier that the URL is
// of: $LATEST or an alias.
func (c *Catalog) URL(id string) (r *function.Record, qualifier string, ok bool) {
	c.urls.mu.RLock()
	owner, ok := c.urls.of[id]
	c.urls.mu.RUnlock()
	if !ok {
		return nil, "", false
	}
	// The record may be newer than what the index has heard of.
	r, ok = c.Functions.Lookup(owner.key)
	if !ok || r.URLs[owner.qualifier] == nil || r.URLs[owner.qualifier].ID != id {
		return nil, "", false
	}
	return r, owner.qualifier, true
}
