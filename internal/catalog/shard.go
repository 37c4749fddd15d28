package catalog

import (
	"hash/maphash"
	"maps"
	"sync/atomic"

	"hearth/internal/function"
)

// shardCount bounds what a change costs: the map of one shard is copied.
const shardCount = 128

// shards is a map that is read without locks: each shard is an immutable map
// that a change replaces.
type shards struct {
	seed maphash.Seed
	maps [shardCount]atomic.Pointer[map[id]*function.Record]
}

func (s *shards) init() { s.seed = maphash.MakeSeed() }

func (s *shards) shard(key id) *atomic.Pointer[map[id]*function.Record] {
	return &s.maps[maphash.String(s.seed, key.name)%shardCount]
}

func (s *shards) lookup(key id) (*function.Record, bool) {
	m := s.shard(key).Load()
	if m == nil {
		return nil, false
	}
	r, ok := (*m)[key]
	return r, ok
}

// set stores r, or removes the key if r is nil. Only one goroutine may call it
// at a time.
func (s *shards) set(key id, r *function.Record) {
	p := s.shard(key)
	next := make(map[id]*function.Record)
	if m := p.Load(); m != nil {
		maps.Copy(next, *m)
	}
	if r == nil {
		delete(next, key)
	} else {
		next[key] = r
	}
	p.Store(&next)
}
