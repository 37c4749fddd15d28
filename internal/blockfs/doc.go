// Package blockfs shows volumes as block devices. It is a process of its own
// that outlives a crash of Hearth: each volume is a file of one FUSE mount,
// read lazily from its source, with at most one read-only loop device that all
// environments of the host share.
//
// A Server owns one directory: its socket, its lock, its log and its mount. A
// Client talks to the server of a directory, starts one if there is none, and
// notices at once when it is gone.
//
// Invariants:
//
//  1. At most one Server serves a directory; the lock dies with it.
//  2. Volumes of the same id are one file, one device and one source, for as
//     long as anybody holds a lease on it or has it open.
//  3. A read ends within Config.ReadTimeout, whatever its source does; what
//     cannot be read is EIO, never other bytes.
//  4. A client mounts a device only while that device is what the server has
//     attached; one that has been given to somebody else is ErrLost.
//  5. What is in a spec is in no command line, log line, error or file.
//  6. No process maps a file of the mount, and the server never opens one but
//     to attach it: the kernel would wait for the server, and it for the kernel.
//  7. After Stop, or after the next server's start, nothing is left of a
//     server: no mount, loop device, socket or process.
//
// Failure modes: ErrNoLoop when the kernel has no device left; EIO on mounts
// whose server has died (Config.Lost tells which volumes those are), or whose
// source fails or stalls; ErrBusy when a server in use is asked to end.
//
// Design: docs/blockfs.md. Protocol: docs/formats/blockfs.md.
package blockfs
