package control

import (
	"sync"

	"hearth/internal/awserr"
	"hearth/internal/catalog"
	"hearth/internal/function"
)

// quota holds what changes under way will take, so that many at once cannot
// pass a limit together.
type quota struct {
	limits Limits

	mu       sync.Mutex
	reserved map[string]function.Usage // by account
}

// reserve sets quota aside for a change, until release.
func (s *Service) reserve(account string, want function.Usage) (release func(), err error) {
	q := &s.quota
	q.mu.Lock()
	defer q.mu.Unlock()
	// Measured under the lock: a change that was released is in the catalog.
	used := measure(s.cfg.Catalog, account)
	held := q.reserved[account]
	if q.limits.Functions > 0 && want.Functions > 0 && used.Functions+held.Functions+want.Functions > q.limits.Functions {
		return nil, awserr.New("ServiceQuotaExceededException",
			"The account's limit of %d functions is reached. Delete a function first.", q.limits.Functions)
	}
	if used.CodeBytes+held.CodeBytes+want.CodeBytes > q.limits.CodeBytes {
		return nil, awserr.New("CodeStorageExceededException", "Code storage limit exceeded.")
	}
	q.reserved[account] = function.Usage{Functions: held.Functions + want.Functions, CodeBytes: held.CodeBytes + want.CodeBytes}
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		held := q.reserved[account]
		left := function.Usage{Functions: held.Functions - want.Functions, CodeBytes: held.CodeBytes - want.CodeBytes}
		if left == (function.Usage{}) {
			delete(q.reserved, account)
			return
		}
		q.reserved[account] = left
	}, nil
}

// measure adds up what an account's functions, versions and layers take. An
// archive that several of them name is stored once, and counted once. A layer
// is counted while it has its version: functions that use it add nothing.
func measure(c *catalog.Catalog, account string) function.Usage {
	var u function.Usage
	counted := make(map[string]bool)
	for _, r := range c.All() {
		if r.Account != account {
			continue
		}
		if r.Version == "" {
			u.Functions++
			u.SetAside += r.SetAside()
		}
		for _, cfg := range configs(r) {
			if !counted[cfg.Code.Object] {
				counted[cfg.Code.Object] = true
				u.CodeBytes += cfg.Code.Size
			}
		}
	}
	for _, v := range c.LayerVersions.All() {
		if v.Account == account {
			u.CodeBytes += v.Code.Size
		}
	}
	return u
}
