// Package frontend is the synchronous invoke service: it resolves a function,
// has the invoke admitted by counting, gets an environment from assignment,
// sends the payload to the worker and returns the answer.
//
// Invariants:
//
//  1. Nothing on the warm path reads the store, touches a disk or holds a
//     lock across I/O: functions come from the catalog's memory.
//  2. An invoke that a worker has accepted is never sent anywhere else.
//  3. A caller that goes away does not cancel the function.
//  4. A unit of concurrency is released by the end of the invoke, not by the
//     answer to the caller.
//
// Failure modes: a worker that refuses (the environment died while idle, or
// its epoch is stale) costs a retry with another environment.
//
// Design: docs/invoke-path.md.
package frontend
