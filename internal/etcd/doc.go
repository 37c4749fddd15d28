// Package etcd runs one etcd member inside the process and hands out a client
// for it. It owns the settings that make etcd durable and small, and turns
// etcd's ways of failing into errors that say what to do.
//
// Invariants:
//
//  1. A write that was acknowledged is on disk: fsync is never switched off.
//  2. The member listens nowhere. The client calls the server's functions in
//     memory, so no other user of the machine and no sandbox can reach it.
//  3. History older than five minutes is compacted away, so watchers that were
//     away for longer must read everything again.
//
// Failure modes: a directory in use, a damaged database or write-ahead log and
// a full disk refuse to start with a typed error. When the log cannot be
// written later, the member must not go on: Config.OnFatal is called and the
// process is expected to end.
//
// The design is in docs/control.md.
package etcd
