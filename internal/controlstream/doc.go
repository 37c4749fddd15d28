// Package controlstream is the protocol between a worker and the hearth-init
// inside one of its sandboxes: one connection, dialled by hearth-init,
// multiplexed with yamux into three long-lived streams (control, invoke,
// logs). The bytes are described in docs/formats/control-stream.md.
//
// Invariants:
//
//  1. The worker takes its peer as hostile: every length is checked against a
//     limit before memory is set aside for it, the number of streams is
//     fixed, and a peer that breaks the protocol loses the connection.
//  2. hearth-init is assigned once in its life.
//  3. One invoke at a time: the next Invoke may be sent only after the Done
//     of the one before.
//  4. Every log byte that the function wrote before it answered is delivered
//     to the worker before Done is.
//
// The package must stay small in its dependencies: it is linked into
// hearth-init.
package controlstream
