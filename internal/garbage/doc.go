// Package garbage frees the chunks that no volume needs. Chunks have no counts
// of references: they are in roots, and a root is deleted as a whole once all
// live volumes have moved out of it.
//
//	active  ──►  retired  ──►  expired  ──►  deleted
//
// Builds write to the one active root. A retired root is only read, and its
// volumes are built anew in the active one. A root expires when nothing uses it
// any more; it can still be read, but that raises an alarm. It is deleted when
// it has been expired for long enough without one.
//
// Invariants:
//
//  1. There is one active root, and no number of a root is used twice.
//  2. A root expires only after, in this order: no build holds it (and no
//     further one can begin in it), no manifest names it, no volume of it is
//     open. The same is looked at again before it is deleted.
//  3. While there is an alarm, nothing is deleted. Only an operator takes it
//     back, and the root then begins its time anew.
//  4. A root's state is durable before anything is done by it that the state
//     before would not allow: a crash between any two steps loses nothing, and
//     the next cycle goes on where it was.
//  5. A manifest that was deleted does not come back because its volume moves.
//  6. One cycle runs at a time.
//
// It mends as well: volumes of which reads have failed, and whose chunks are gone,
// are made anew from their archives, in the active root.
//
// Failure modes: a volume that cannot be read, nor made anew, stays where it is,
// keeps its root from expiring, and is tried less and less often; a manifest that
// cannot be read keeps all roots, as nobody knows which it names. When the store is full, volumes do not move and nothing
// expires. When etcd is away, builds go on in the active root and cycles fail.
//
// Only the process that builds volumes collects: what it builds and has open is
// in its memory.
//
// Design: docs/garbage.md.
package garbage
