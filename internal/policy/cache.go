package policy

import (
	"encoding/binary"
	"hash/maphash"
	"slices"
	"sync"
)

// Cache remembers decisions. Two requests share one only if they agree in all
// that the decision can depend on: the principal, the set and the resource's
// policy (documents and sets are numbered and never change), the action, the
// resource and its account, and the values of every key that a statement of
// these policies looks at. Policies that look at the time are not remembered.
//
// A change of a policy is a new document, and so a new set: nothing is ever
// invalidated, what is no longer asked for is forgotten.
type Cache struct {
	seed   maphash.Seed
	limit  int // of decisions in one generation of a shard
	shards [cacheShards]cacheShard
}

const (
	cacheShards = 16
	// longestCacheKey keeps a client from filling memory with long values.
	longestCacheKey = 4096
)

// cacheShard forgets by generations: when the young one is full it becomes
// the old one, whose decisions are gone unless they are asked for before the
// next time.
type cacheShard struct {
	mu         sync.Mutex
	young, old map[string]Decision
}

// NewCache makes a cache of at most so many decisions, about 1 KB each.
func NewCache(decisions int) *Cache {
	c := &Cache{seed: maphash.MakeSeed(), limit: max(1, decisions/cacheShards/2)}
	for i := range c.shards {
		c.shards[i].young = map[string]Decision{}
	}
	return c
}

// Evaluate is the package's Evaluate.
func (c *Cache) Evaluate(r *Request, set *Set, resource *Document) Decision {
	if set != nil && set.volatile || resource != nil && resource.volatile {
		return Evaluate(r, set, resource)
	}
	var room [1024]byte
	name := appendCacheKey(room[:0], r, set, resource)
	if len(name) > longestCacheKey {
		return Evaluate(r, set, resource)
	}
	shard := &c.shards[maphash.Bytes(c.seed, name)%cacheShards]
	if d, ok := shard.get(name, c.limit); ok {
		return d
	}
	d := Evaluate(r, set, resource)
	shard.mu.Lock()
	shard.put(string(name), d, c.limit)
	shard.mu.Unlock()
	return d
}

func (s *cacheShard) get(name []byte, limit int) (Decision, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d, ok := s.young[string(name)]; ok {
		return d, true
	}
	d, ok := s.old[string(name)]
	if ok {
		s.put(string(name), d, limit)
	}
	return d, ok
}

func (s *cacheShard) put(name string, d Decision, limit int) {
	if len(s.young) >= limit {
		s.old, s.young = s.young, make(map[string]Decision, limit)
	}
	s.young[name] = d
}

// appendCacheKey writes everything that the decision depends on, each part
// with its length, so that no two requests that differ are written alike.
func appendCacheKey(b []byte, r *Request, set *Set, resource *Document) []byte {
	var serial uint64
	if set != nil {
		serial = set.serial
	}
	b = binary.AppendUvarint(b, serial)
	serial = 0
	if resource != nil {
		serial = resource.serial
	}
	b = binary.AppendUvarint(b, serial)
	must := byte(0)
	if r.MustGrant {
		must = 1
	}
	b = append(b, byte(r.Principal.Kind), must)
	for _, part := range [...]string{
		r.Principal.Account, r.Principal.ARN, r.Principal.Issuer, r.Principal.ID,
		r.Action, r.Resource, r.ResourceAccount,
	} {
		b = appendText(b, part)
	}
	if set != nil {
		b = appendValues(b, r, set.keys)
	}
	if resource != nil {
		b = appendValues(b, r, resource.keys)
	}
	return b
}

func appendValues(b []byte, r *Request, keys []key) []byte {
	for i := range keys {
		value := r.lookup(&keys[i])
		count := value.len()
		b = binary.AppendUvarint(b, uint64(count)) //nolint:gosec // a length is not negative
		for j := range count {
			if value.addr.IsValid() {
				text := value.addr.AppendTo(make([]byte, 0, len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")))
				b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
				continue
			}
			b = appendText(b, value.at(j))
		}
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// isVolatile reports whether keys are among these whose values do not repeat.
func isVolatile(keys []key) bool {
	return slices.ContainsFunc(keys, func(k key) bool {
		return k.builtin == builtinCurrentTime || k.builtin == builtinEpochTime
	})
}
