// Package counting is the counting service: it admits invokes against the
// account's concurrency, what functions reserve and have provisioned of it, and
// the request rate that goes with it. It owns the number of invokes in flight,
// in memory only.
//
// Invariants:
//
//  1. A unit of concurrency is held from admission until the worker says that
//     the invoke has ended, not merely until its caller has an answer.
//  2. The units held of a pool never exceed its limit: that of a function
//     with reserved concurrency, or what its account has left for the others.
//  3. Admission takes no lock that is held across I/O, and touches no disk.
//
// Failure modes: the counts die with the process, and so do the invokes that
// they count; a cluster re-learns them from its workers.
//
// Design: docs/invoke-path.md.
package counting
