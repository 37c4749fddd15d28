// Package azcache is the cache of chunks that the workers of an availability
// zone share: Server keeps ciphertexts, Client asks the nodes of a zone for
// them.
//
// Nodes know nothing of each other, and hold nothing that cannot be had from
// the origin: one may vanish at any time. Chunks are spread by consistent
// hashing with bounded load (Mirrokni, Thorup and Zadimoghaddam, SODA 2018). A
// request that takes longer than nearly all others is asked of a second node
// as well (Dean and Barroso, "The Tail at Scale", CACM 2013).
//
// Invariants:
//
//  1. A node serves and takes only what hashes to the name that was asked for,
//     and the client checks it again: neither trusts the other. Whoever has the
//     cluster's key can fill a node, but with nothing that is wrong.
//  2. A request without the key, or older than five minutes, learns nothing.
//  3. Hedges are at most a fixed share of all requests: a slow zone is not made
//     slower by them.
//  4. A node that fails is left alone for a while. The reader does not wait for
//     it, and learns of no error but that there is a miss.
//  5. Filling waits for nothing, and what waits to be filled is bounded.
//
// Protocol: docs/formats/az-cache.md. Design: docs/chunkstore.md.
package azcache
