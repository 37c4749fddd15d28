// Package counting is the counting service: it admits invokes against the
// account's concurrency and against the request rate that goes with it. It
// owns the number of invokes in flight, in memory only.
//
// Invariants:
//
//  1. A unit of concurrency is held from admission until the worker says that
//     the invoke has ended, not merely until its caller has an answer.
//  2. The units held for an account never exceed its limit.
//  3. Admission takes no lock that is held across I/O, and touches no disk.
//
// Failure modes: the counts die with the process, and so do the invokes that
// they count; a cluster re-learns them from its workers.
//
// Design: docs/invoke-path.md.
package counting
