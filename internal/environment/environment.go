// Package environment holds what the services say to each other about
// execution environments: their identity, what starts one, and how an invoke
// in one ended. It is a leaf: plain data, no I/O.
package environment

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"hearth/internal/function"
)

// ID names an environment, ever. It is 16 lower-case hexadecimal digits: a
// fixed length, because sandbox runtimes match identifiers by prefix.
type ID string

// NewID returns a random ID.
func NewID() ID {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return ID(hex.EncodeToString(b[:]))
}

// WorkerID names a worker.
type WorkerID string

// Start is what assignment sends a worker to start an environment.
type Start struct {
	ID ID
	// Partition of assignment owns the environment. Epoch is its leader's; a
	// worker refuses a lower one than it has seen of the partition.
	Partition int
	Epoch     uint64
	Record    *function.Record // Serving is what runs
	// Provisioned says that it is initialised ahead of any invoke.
	Provisioned bool
	// LeaseEnd is when the environment's life ends; fixed at its creation.
	LeaseEnd time.Time
	// Secrets are added on the way to the worker, which could not open them.
	Secrets Secrets
}

// Secrets are what the function gets to know in confidence. They hide from logs.
type Secrets struct {
	// Variables are the function's own.
	Variables map[string]string
	// Keys are those of the function's role; zero if it gets none.
	Keys Keys
}

// Keys are what a function signs its requests with.
type Keys struct{ AccessKeyID, SecretAccessKey, SessionToken string }

// String and GoString implement fmt.Stringer and fmt.GoStringer.
func (Secrets) String() string { return "[secrets]" }

// GoString is what %#v shows.
func (Secrets) GoString() string { return "[secrets]" }

// String and GoString implement fmt.Stringer and fmt.GoStringer.
func (Keys) String() string { return "[keys]" }

// GoString is what %#v shows.
func (Keys) GoString() string { return "[keys]" }

// Outlive is how much longer than its environment a function's keys live: an
// invoke that begins at the lease's end can use them to its own.
const Outlive = 15 * time.Minute

// PlaceRequest asks placement for a worker.
type PlaceRequest struct {
	ID ID
	Promise
}

// Promise is what a worker keeps for an environment.
type Promise struct {
	// Function is its UID.
	Function string
	MemoryMB int
}

// Place is a granted place for an environment, with its lease.
type Place struct {
	Worker   WorkerID
	LeaseEnd time.Time
}

// ErrNoCapacity says that no healthy worker has room for an environment.
var ErrNoCapacity = errors.New("no worker has room for the environment")

// ErrNotLeading says that whoever was asked does not lead the function's
// partition: another does, or nobody yet.
var ErrNotLeading = errors.New("assignment: another leads the partition, or nobody does yet")

// Why a counting leader gives a frontend no units, though some may be free.
var (
	// ErrUnregistered says that the frontend has to tell what it holds first.
	ErrUnregistered = errors.New("counting: the frontend is not registered with this leader")
	// ErrFenced says that this life of the frontend was ended: it begins another.
	ErrFenced = errors.New("counting: this life of the frontend was ended")
)

// ErrNotAccepted is what a worker answers when it has not taken an invoke: the
// environment is gone or busy, or the lease's epoch is stale. Only then may
// the invoke be tried elsewhere.
var ErrNotAccepted = errors.New("the worker did not accept the invoke")

// Why a worker has not accepted an invoke; each is an ErrNotAccepted. ErrStale
// is also the answer to anything else that an old leader wants.
var (
	ErrBusy  = fmt.Errorf("%w: another is in the environment", ErrNotAccepted)
	ErrGone  = fmt.Errorf("%w: the environment is gone", ErrNotAccepted)
	ErrStale = fmt.Errorf("%w: assignment has a newer leader", ErrNotAccepted)
	// ErrUnit says that the unit of concurrency is not the frontend's any more.
	ErrUnit = fmt.Errorf("%w: its unit of concurrency was given up", ErrNotAccepted)
	// ErrAway says that the worker has not even been asked.
	ErrAway = fmt.Errorf("%w: the worker cannot be reached", ErrNotAccepted)
)

// BackoffError says that a function's init has failed several times in a row
// and that no new environment is started yet. Payload is the last failure, in
// the words that the function's caller was given.
type BackoffError struct {
	Payload []byte
	Until   time.Time
}

func (e *BackoffError) Error() string {
	return "init keeps failing; the next start is tried at " + e.Until.Format(time.RFC3339Nano)
}

// Started tells how an environment came to be; durations are a waterfall.
type Started struct {
	// Pooled says that a sandbox booted ahead of time was used.
	Pooled bool
	// Boot is the time to get a booted, function-less sandbox.
	Boot time.Duration
	// Assign is the time to mount the code, set the limits and hand over.
	Assign time.Duration
	// Init is the time the runtime and the function took to initialise.
	Init time.Duration
	// InitFailed says that the init phase failed or ran out of time: init
	// runs again inside the first invoke, under the function's timeout.
	InitFailed bool
}

// Lease is an environment handed to a frontend for one invoke.
type Lease struct {
	ID        ID
	Worker    WorkerID
	Partition int
	// Epoch is the leader's, and Seq counts its leases: together they name this
	// one.
	Epoch uint64
	Seq   uint64
	Key   function.Key
	// Cold is set when the environment was started for this invoke.
	Cold *Started
}

// Report is what a worker says of an environment to the leader of its
// partition.
type Report struct {
	ID  ID
	Key function.Key
	// Starting says that it is not ready yet. Busy says that an invoke is in it,
	// which came by the lease of Epoch and Seq.
	Starting, Busy bool
	Epoch, Seq     uint64
}

// Outcome is the class of an invoke's end: it decides what becomes of the
// environment.
type Outcome uint8

// The outcomes.
const (
	// OutcomeOK: the handler returned, or raised an error that the runtime
	// handled. The environment goes on.
	OutcomeOK Outcome = iota
	// OutcomeTimeout: the function's time ran out. The environment is retired.
	OutcomeTimeout
	// OutcomeCrash: the runtime ended or broke the protocol. Retired.
	OutcomeCrash
	// OutcomeOutOfMemory: the sandbox hit its memory limit. Retired.
	OutcomeOutOfMemory
	// OutcomeInitError: init failed inside the invoke. Retired, and new
	// starts of this generation back off.
	OutcomeInitError
	// OutcomeFault: Hearth's own failure. Retired.
	OutcomeFault
)

// Reusable says whether the environment may serve another invoke.
func (o Outcome) Reusable() bool { return o == OutcomeOK }

func (o Outcome) String() string {
	switch o {
	case OutcomeOK:
		return "ok"
	case OutcomeTimeout:
		return "timeout"
	case OutcomeCrash:
		return "crash"
	case OutcomeOutOfMemory:
		return "out-of-memory"
	case OutcomeInitError:
		return "init-error"
	case OutcomeFault:
		return "fault"
	}
	return "unknown"
}
