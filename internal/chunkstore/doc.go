// Package chunkstore reads the chunks of volumes through tiers: a cache in
// memory and on disk, the cache of the zone, and the origin, where chunks are
// for good. Everything here is ciphertext: no key ever comes by.
//
// Invariants:
//
//  1. What ReadChunk returns is the chunk that was asked for. Whatever a tier
//     answers is checked against the chunk's name; what is wrong is counted and
//     dropped, and the next tier is asked. Tiers of this machine need not be
//     (Config.Opened): then readers open what they get, which authenticates it,
//     and Refetch does what else a check would have done.
//  2. However many readers want a chunk at once, it is fetched once. A reader
//     that goes away takes the fetch along only if it was the last.
//  3. The origin is asked for no more than a fixed number of chunks at a time.
//  4. What is cached is read without the zone and the origin: neither can
//     delay it.
//
// Failure modes: a zone cache that fails is a miss. An origin that fails is
// asked again, later and later, with jitter; how long is up to the reader's
// context. A chunk that the origin does not have is chunk.ErrNotFound, one that
// is bad even there is chunk.ErrIntegrity.
//
// The tiers are in packages of their own: cache, azcache and origin. Design:
// docs/chunkstore.md.
package chunkstore
