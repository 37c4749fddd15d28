// Package assignment is the assignment service: it owns the execution
// environments of functions, which of them are idle, and when they end. A
// frontend asks it for an environment for each invoke and sends the payload
// to the worker itself; payload bytes never pass through here.
//
// Functions are spread over partitions by their UID. A Partition is a state
// machine under one lock that is never held across I/O; who leads it journals
// what it starts, before it does, so that another can take over.
//
// Invariants:
//
//  1. An environment is leased to at most one invoke at a time.
//  2. An environment runs one generation of one function, ever. After a
//     change of the function no invoke is given an environment of an older
//     generation than the one it resolved.
//  3. Idle environments are picked most recently used first: load
//     concentrates and the tail idles out.
//  4. A waiting invoke takes whichever comes first: the environment started
//     for it, or another that turns idle. Starts never outnumber waiters.
//  5. An environment that timed out, crashed or ran out of memory is never
//     given out again, and neither is one near its lease's end.
//  6. A function whose init keeps failing is not started in a loop: starts
//     back off, and invokes in between get the last failure at once.
//  7. Nothing is started that is not in the journal, and no entry is appended by
//     who does not lead. Workers obey the newest leader.
//  8. Who takes over uses what is there: no environment is an orphan because a
//     leader has gone.
//
// Failure modes: while the journal is away nobody can be elected; who leads goes
// on with warm invokes, and cold ones wait.
//
// Design: docs/assignment.md.
package assignment
