// Package rpc is how the processes of a cluster call each other: gRPC over
// mutual TLS, with messages that are Go structs in CBOR, and for each method
// the roles that may call it.
//
// Invariants:
//
//  1. A method runs only for a peer whose certificate has a role that the method
//     is for.
//  2. What a handler answers, and what went wrong between the two, are never
//     mistaken for each other: the latter is an *UnreachableError.
//  3. An *UnreachableError whose Sent is false says that no handler has seen the
//     call or ever will.
//  4. Errors that callers tell apart cross the wire as themselves; of all others
//     only the text does.
//
// Failure modes: a peer that has died is found at once; one that is cut off, when
// its keep-alives stay unanswered for some seconds.
//
// Design: docs/cluster.md.
package rpc
