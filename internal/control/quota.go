package control

import (
	"sync"

	"hearth/internal/awserr"
	"hearth/internal/catalog"
)

// usage is what an account takes of its quotas.
type usage struct {
	functions int
	codeBytes int64
}

// quota holds what changes under way will take, so that many at once cannot
// pass a limit together.
type quota struct {
	limits Limits

	mu       sync.Mutex
	reserved map[string]usage // by account
}

// reserve sets quota aside for a change, until release.
func (s *Service) reserve(account string, want usage) (release func(), err error) {
	q := &s.quota
	q.mu.Lock()
	defer q.mu.Unlock()
	// Measured under the lock: a change that was released is in the catalog.
	used := measure(s.cfg.Catalog, account)
	held := q.reserved[account]
	if q.limits.Functions > 0 && want.functions > 0 && used.functions+held.functions+want.functions > q.limits.Functions {
		return nil, awserr.New("ServiceQuotaExceededException",
			"The account's limit of %d functions is reached. Delete a function first.", q.limits.Functions)
	}
	if used.codeBytes+held.codeBytes+want.codeBytes > q.limits.CodeBytes {
		return nil, awserr.New("CodeStorageExceededException", "Code storage limit exceeded.")
	}
	q.reserved[account] = usage{held.functions + want.functions, held.codeBytes + want.codeBytes}
	return func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		held := q.reserved[account]
		left := usage{held.functions - want.functions, held.codeBytes - want.codeBytes}
		if left == (usage{}) {
			delete(q.reserved, account)
			return
		}
		q.reserved[account] = left
	}, nil
}

// measure adds up what an account's functions, versions and layers take. An
// archive that several of them name is stored once, and counted once. A layer
// is counted while it has its version: functions that use it add nothing.
func measure(c *catalog.Catalog, account string) usage {
	var u usage
	counted := make(map[string]bool)
	for _, r := range c.All() {
		if r.Account != account {
			continue
		}
		if r.Version == "" {
			u.functions++
		}
		for _, cfg := range configs(r) {
			if !counted[cfg.Code.Object] {
				counted[cfg.Code.Object] = true
				u.codeBytes += cfg.Code.Size
			}
		}
	}
	for _, v := range c.LayerVersions.All() {
		if v.Account == account {
			u.codeBytes += v.Code.Size
		}
	}
	return u
}
