// Package controlstream is the protocol between a worker and the hearth-init
// inside one of its sandboxes: typed frames on one connection, which
// hearth-init dials. The bytes are described in
// docs/formats/control-stream.md.
//
// Invariants:
//
//  1. The worker takes its peer as hostile: every length is checked against a
//     limit before memory is set aside for it, every frame must be one that
//     is due, and a peer that breaks the protocol loses the connection.
//  2. hearth-init is assigned once in its life.
//  3. One invoke at a time: the next Invoke may be sent only after the Done
//     of the one before.
//  4. Both sides always read, so that neither can hold the other up for
//     longer than the other's frame takes. Nothing limits the flow but the
//     credit for an answer that comes in pieces: at most Window bytes of it
//     are in the worker's memory, and a slow taker holds up no other frame.
//  5. Frames arrive in the order in which they were sent. Log records that
//     were sent before a Done were given to Options.Logs before WaitDone
//     returns.
//
// The package must stay small in its dependencies: it is linked into
// hearth-init.
package controlstream
