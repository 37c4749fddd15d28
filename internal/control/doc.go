// Package control is the control plane: it creates, changes and deletes
// functions and layers. Records live in etcd, code archives in the object store, and the
// catalog shows both to every other service.
//
// Invariants:
//
//  1. Every change of a record is one etcd transaction on the condition that
//     the record is the one the change was computed from, and gives it a new
//     RevisionID. Two changes never mix.
//  2. What invokes run (Record.Serving) is replaced as a whole, and only by a
//     configuration whose preparation succeeded.
//  3. An archive is durable before a record names it, and is deleted only
//     after no record does. A crash leaves at most archives without a record,
//     which Start removes.
//  4. A change has been seen by the local catalog before its caller returns.
//  5. A function that is Pending or InProgress is being prepared, or will be
//     when a control plane starts.
//
// Failure modes: with etcd away, reads go on from the catalog and changes fail
// with ServiceException; one whose outcome is unknown leaves its archive for
// the sweep at Start. A full disk fails the change and leaves nothing behind.
//
// The design is in docs/control.md, that of layers in docs/layers.md.
package control
