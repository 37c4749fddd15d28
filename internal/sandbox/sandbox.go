// Package sandbox is the seam between the worker and whatever isolates
// untrusted code. One interface, several drivers, one conformance suite that
// each driver passes (package sandboxtest).
//
// A sandbox boots knowing no function: process 1 is hearth-init, which dials
// the worker over the control connection and waits to be assigned. Function
// code, layers and /tmp are attached later (Attach), limits set later
// (Limit). A sandbox is assigned once, ever.
package sandbox

import (
	"context"
	"net"
	"time"
)

// LateDir is where, inside a sandbox, directories attached after boot appear:
// Attach("task", …) appears as LateDir/task. hearth-init binds them to their
// final places (/var/task, /opt, /tmp).
const LateDir = "/.hearth/late"

// Spec says what to boot.
type Spec struct {
	// ID is unique, ever, and 16 lower-case hexadecimal digits.
	ID string
	// Root is the host path of the mounted root file system; never written.
	Root string
	// Egress lets the sandbox reach the outside world, never the host, other
	// sandboxes, private control networks or link-local addresses. Without
	// it the sandbox has a loopback interface and nothing else.
	Egress bool
}

// Limits bound a sandbox. Zero leaves a limit as it is.
type Limits struct {
	// MemoryMB is the function's memory; the driver adds its own overhead.
	MemoryMB int
	// MilliCPU is the CPU quota in thousandths of a core. It sets the weight
	// against other sandboxes too.
	MilliCPU int
	// Weight sets that weight alone, in the same unit: what a sandbox without
	// a quota yet gets of cores that others want as well.
	Weight int
	// Pids bounds processes and threads on the host's side.
	Pids int
}

// Usage is what a sandbox has used so far.
type Usage struct {
	// MemoryBytes and MemoryPeakBytes count anonymous and shared memory, not
	// page cache: what the function's memory size is compared with.
	MemoryBytes     int64
	MemoryPeakBytes int64
	// OutOfMemory is set when the memory limit has killed some of it. The rest
	// ends soon, if it has not yet.
	OutOfMemory bool
	CPU         time.Duration
}

// Exit tells how a sandbox ended by itself.
type Exit struct {
	// OutOfMemory is set when the memory limit killed it.
	OutOfMemory bool
	// Detail is for operators: an exit status, a signal, the last words.
	Detail string
}

// Driver makes sandboxes of one kind.
type Driver interface {
	// Create boots a function-less sandbox and returns once its processes
	// run; Control then waits for hearth-init. On error nothing is left.
	Create(ctx context.Context, spec Spec) (Sandbox, error)
	// Sweep destroys everything that a former life of this driver left
	// behind: processes, mounts, loop devices, namespaces, cgroups, files.
	// It is called before the first Create, and after the last Destroy for
	// what the driver keeps for all of its sandboxes together.
	Sweep(ctx context.Context) error
}

// Sandbox is one isolated environment. Methods may be called from several
// goroutines; after Destroy all but Destroy return an error.
type Sandbox interface {
	// Control returns the connection that hearth-init has dialled. It is
	// called once; the peer must be taken as hostile.
	Control(ctx context.Context) (net.Conn, error)
	// Relayed is where the connections arrive that hearth-init dials after the
	// control connection, each for one that the function has made to its
	// endpoint. It is valid once Control has returned, and closed by Destroy.
	// Nothing is read from a connection that nobody accepts; the peer must be
	// taken as hostile.
	Relayed() net.Listener
	// Attach makes the host directory dir visible as LateDir/name.
	Attach(ctx context.Context, name, dir string, readOnly bool) error
	Limit(ctx context.Context, l Limits) error
	// Pause freezes every process of the sandbox and returns when they are.
	Pause(ctx context.Context) error
	Resume(ctx context.Context) error
	Stats(ctx context.Context) (Usage, error)
	// Done is closed when the sandbox has ended, by itself or by Destroy.
	Done() <-chan struct{}
	// Exit is valid once Done is closed.
	Exit() Exit
	// Destroy kills the sandbox and removes every trace. It is idempotent.
	Destroy(ctx context.Context) error
}
