// Package wire is what the processes of a cluster say to each other: the methods
// of each role, and clients that are, for the services of another process, what
// those services themselves would be in the same process. So services do not know
// whether they share a process.
//
//	frontend ──Acquire, Refused──▶ assignment ──Start, Stop, List──▶ worker
//	frontend ──Invoke──▶ worker ──Done, Lost, Heartbeat──▶ assignment
//	worker ──OpenVolume, Image──▶ frontend
//	everyone ──Watch──▶ assignment: who leads what, and where everyone is
//
// Invariants:
//
//  1. An invoke is tried elsewhere only if it is certain that no worker has
//     accepted it.
//  2. A process believes of two that claim to lead a partition the one with the
//     higher epoch.
//  3. What a message says of its sender is not believed: the certificate is.
//
// Failure modes: while nobody is known to lead a partition, acquiring waits; a
// report that does not reach its leader is made up for by what the leader asks
// workers from time to time.
//
// Design: docs/cluster.md.
package wire
