package table

import (
	"hash/maphash"
	"maps"
	"sync/atomic"
)

// shardCount bounds what a change costs: the map of one shard is copied.
const shardCount = 128

// entry is a record and etcd's revision of it.
type entry[T any] struct {
	record   *T
	revision int64
}

// shards is a map that is read without locks: each shard is an immutable map
// that a change replaces.
type shards[T any] struct {
	seed maphash.Seed
	maps [shardCount]atomic.Pointer[map[Key]entry[T]]
}

func (s *shards[T]) init() { s.seed = maphash.MakeSeed() }

func (s *shards[T]) shard(key Key) *atomic.Pointer[map[Key]entry[T]] {
	return &s.maps[maphash.String(s.seed, key.Name)%shardCount]
}

// lookup returns the zero entry for a key that is not there.
func (s *shards[T]) lookup(key Key) entry[T] {
	m := s.shard(key).Load()
	if m == nil {
		return entry[T]{}
	}
	return (*m)[key]
}

// set stores e, or removes the key if e has no record. Only one goroutine may
// call it at a time.
func (s *shards[T]) set(key Key, e entry[T]) {
	p := s.shard(key)
	next := make(map[Key]entry[T])
	if m := p.Load(); m != nil {
		maps.Copy(next, *m)
	}
	if e.record == nil {
		delete(next, key)
	} else {
		next[key] = e
	}
	p.Store(&next)
}
