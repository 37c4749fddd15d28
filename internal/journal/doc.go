// Package journal is a log that one leader at a time appends to and others
// follow: what a partition of a service must not forget. Etcd keeps it in etcd;
// Memory is one for tests and simulations, with faults to inject.
//
// Invariants:
//
//  1. Entries are numbered from 1 without a gap, and an index is written once.
//  2. An entry of a term is written only while that term leads: whoever was
//     deposed cannot append, however late its request arrives.
//  3. An append that has returned nil lasts. One that has returned ErrUnknown may
//     or may not be there; until that is settled by reading, nothing else can be
//     put in its place by the same leader.
//  4. A follower sees entries in order and none twice; if what it wants was
//     trimmed it is told so, and begins with the checkpoint.
//  5. What is trimmed is covered by a checkpoint that was complete before.
//
// Failure modes: without a majority of etcd nobody can append or be elected,
// and who leads goes on leading; see docs/formats/journal.md for the bounds.
package journal
