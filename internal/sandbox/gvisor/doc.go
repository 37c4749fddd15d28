// Package gvisor runs sandboxes under gVisor (runsc, platform systrap): a
// kernel in user space stands between the untrusted code and the host's.
// The design, with what was measured, is docs/sandbox.md.
//
// The driver owns everything below its directory, the cgroups
// hearth/<instance>/<id>, and (for sandboxes with egress) the network names
// that package netns derives from the instance. A sandbox is
//
//	sandboxes/<id>/config.json  the OCI bundle
//	sandboxes/<id>/root         the root: skeleton, image, mount points overlaid
//	sandboxes/<id>/ctl/s        control socket, and that of relayed connections
//	sandboxes/<id>/late         what is attached after boot; a shared mount
//	sandboxes/<id>/netns        its network namespace, with egress only
//	sandboxes/<id>/stderr       last words of runsc and hearth-init
//	run/                        runsc's own state
//
// Invariants:
//
//  1. Every process of a sandbox is in its cgroup from its first instruction
//     on. Killing is killing the cgroup: no runsc command is needed, none can
//     hang.
//  2. The control connection is the first one to the socket, and there is no
//     second. It is listening before the sandbox boots, in a directory that
//     only sandbox-root can enter.
//  3. Nothing is mounted below a directory when it is removed, so removal
//     never reaches into a volume.
//  4. The root is read-only, whatever its image holds; images cannot shadow
//     or redirect anything below /.hearth.
//  5. Create leaves nothing behind when it fails; Destroy may be repeated
//     until it succeeds; Sweep finds by name and place what a dead process
//     left, without any record of its own.
//  6. A sandbox is killed for memory only if the kernel has killed part of it,
//     or if it holds more than its function's limit and thrashes.
//
// Failure modes: runsc missing or failing to boot (Create returns its last
// words); hearth-init never dials (Control ends with its context or with the
// sandbox); the memory limit is hit (Exit.OutOfMemory); the sentry dies (Done
// closes, told by its pidfd).
package gvisor
