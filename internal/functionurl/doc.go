// Package functionurl is what lies between HTTP and a function that is called
// by its URL: the event that a request becomes, the HTTP answer that a
// function's payload or stream becomes, and the rules for other origins. The
// format is AWS's payload format 2.0. It does no I/O.
//
// Invariants:
//
//  1. What proves a caller's identity (its signature, a session's token) is in
//     no event.
//  2. Nothing that a function answers can change how the answer is framed: its
//     length, its connection, or headers that were not asked for.
//  3. Where a URL has a setting for other origins, the function cannot loosen
//     it.
//
// Failure modes: an answer that is none is ErrMalformed, which the client sees
// as 502.
//
// The design is in docs/function-urls.md.
package functionurl
