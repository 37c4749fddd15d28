package wire

import (
	"time"

	"hearth/internal/ca"
	"hearth/internal/counting"
	"hearth/internal/environment"
	"hearth/internal/function"
	"hearth/internal/invocation"
	"hearth/internal/placement"
	"hearth/internal/rpc"
	"hearth/internal/worker"
)

// Node is a process of the cluster.
type Node struct {
	Name  string
	Zone  string
	Roles []ca.Role
	// Address is where it is called, HOST:PORT; API where a frontend serves
	// clients.
	Address string
	API     string
	// Life tells a process from what had its name before: numbers that grow.
	Life uint64
}

// Has says whether the node has a role.
func (n *Node) Has(role ca.Role) bool {
	id := ca.Identity{Roles: n.Roles}
	return id.Has(role)
}

// none is an empty message.
type none struct{}

// Methods of assignment.
const (
	methodAcquire     rpc.Method[acquire, environment.Lease]     = "hearth.Assignment/Acquire"
	methodRefused     rpc.Method[refusal, none]                  = "hearth.Assignment/Refused"
	methodDone        rpc.Method[done, none]                     = "hearth.Assignment/Done"
	methodLost        rpc.Method[lost, none]                     = "hearth.Assignment/Lost"
	methodProvisioned rpc.Method[versionRef, provisioned]        = "hearth.Assignment/Provisioned"
	methodHeartbeat   rpc.Method[placement.Status, none]         = "hearth.Assignment/Heartbeat"
	methodJoin        rpc.Method[Node, none]                     = "hearth.Assignment/Join"
	methodWatch       rpc.Stream[none, news]                     = "hearth.Assignment/Watch"
	methodRegister    rpc.Method[register, registered]           = "hearth.Counting/Register"
	methodTake        rpc.Method[take, taken]                    = "hearth.Counting/Take"
	methodGive        rpc.Method[give, none]                     = "hearth.Counting/Give"
	methodPromise     rpc.Method[promise, promised]              = "hearth.Counting/Promise"
	methodKeep        rpc.Method[keep, answered]                 = "hearth.Counting/Keep"
	methodFence       rpc.Method[counting.Front, busyUnits]      = "hearth.Worker/Fence"
	methodRunning     rpc.Method[environment.Lease, answered]    = "hearth.Worker/Running"
	methodStart       rpc.Method[environment.Start, startResult] = "hearth.Worker/Start"
	methodStop        rpc.Method[environmentRef, none]           = "hearth.Worker/Stop"
	methodList        rpc.Method[list, reports]                  = "hearth.Worker/List"
	methodInvoke      rpc.Stream[invoke, invokeEvent]            = "hearth.Worker/Invoke"
	methodPrepare     rpc.Method[prepare, none]                  = "hearth.Worker/Prepare"
	methodForget      rpc.Method[objectRef, none]                = "hearth.Worker/Forget"
	methodRenew       rpc.Method[none, none]                     = "hearth.Worker/Renew"
	methodReading     rpc.Method[reading, answered]              = "hearth.Worker/Reading"
	methodUnreadable  rpc.Method[none, objects]                  = "hearth.Worker/Unreadable"
	methodOpenVolume  rpc.Method[worker.CodeRef, Volume]         = "hearth.Frontend/OpenVolume"
	methodStarted     rpc.Method[started, none]                  = "hearth.Frontend/VolumeStarted"
	methodImage       rpc.Method[runtimeRef, worker.Image]       = "hearth.Frontend/Image"
	methodLogs        rpc.Method[logLines, none]                 = "hearth.Frontend/Logs"
)

type acquire struct {
	Account, Name, Version string
	Key                    function.Key
}

type refusal struct {
	Lease environment.Lease
	// Kind is which of the errors it was.
	Kind string
}

type done struct {
	Lease   environment.Lease
	Outcome environment.Outcome
	Payload []byte `cbor:",omitempty"`
}

type lost struct {
	UID string
	ID  environment.ID
}

type versionRef struct{ Account, Name, Version string }

type provisioned struct {
	Allocated, Available int
	Failure              string
}

// news is what an assignment process knows of itself and of the cluster.
type news struct {
	// Led are the partitions that it leads, with their epochs.
	Led map[int]uint64
	// Nodes are all nodes; nil if nothing of them has changed.
	Nodes []Node `cbor:",omitempty"`
}

type startResult struct{ Started environment.Started }

type environmentRef struct{ ID environment.ID }

type list struct {
	Partition int
	Epoch     uint64
}

type reports struct{ Reports []environment.Report }

type invoke struct {
	Lease   environment.Lease
	Request invocation.Request
	// Stream asks for the answer as it comes.
	Stream bool
	// Pool is that of the invoke's unit of concurrency, which was granted in a
	// life of the frontend.
	Pool string
	Life uint64
}

// invokeEvent is one of: the head of a streamed answer, some of it, the answer or
// the end of a streamed one, and the end of the invoke, perhaps together with the
// answer.
type invokeEvent struct {
	Head   *invocation.StreamHead `cbor:"1,keyasint,omitempty"`
	Data   []byte                 `cbor:"2,keyasint,omitempty"`
	Answer *invocation.Response   `cbor:"3,keyasint,omitempty"`
	Ended  bool                   `cbor:"4,keyasint,omitempty"`
}

type prepare struct {
	Account string
	Config  *function.Config
}

type objectRef struct{ Object string }

type reading struct{ Root []byte }

type answered struct{ Yes bool }

type objects struct{ Objects []string }

type runtimeRef struct{ Runtime string }

// Volume is a volume as a worker gets it.
type Volume struct {
	Encoded []byte
	DataKey []byte
	Extra   []byte
	Image   *function.ImageConfig `cbor:",omitempty"`
	Profile []uint32              `cbor:",omitempty"`
}

type started struct {
	Ref     worker.CodeRef
	Touched []uint32
}

type logLines struct{ Lines []logLine }

type logLine struct {
	Account   string    `cbor:"1,keyasint"`
	Group     string    `cbor:"2,keyasint"`
	Stream    string    `cbor:"3,keyasint"`
	At        time.Time `cbor:"4,keyasint"`
	RequestID string    `cbor:"5,keyasint,omitempty"`
	Line      []byte    `cbor:"6,keyasint"`
}

// register begins a session of a frontend with the leader of a counting partition.
type register struct {
	Partition     int
	Life, Session uint64
	Held          map[string]counting.Holding
}

type registered struct{ Epoch uint64 }

type take struct {
	Partition     int
	Life, Session uint64
	Pool          string
	Limit, Want   int
	Longest       time.Duration
}

type taken struct {
	Granted int
	Single  bool
}

type give struct {
	Partition     int
	Life, Session uint64
	Pool          string
	Units         int
}

type promise struct {
	Partition int
	Epoch     uint64
}

type promised struct {
	Rows      []counting.Row
	Whole, OK bool
}

type keep struct {
	Partition int
	Epoch     uint64
	Rows      []counting.Row
	All       bool
	Upto      uint64
}

// busyUnits are the invokes under way of a frontend's lives that are over, by pool.
type busyUnits struct{ Units map[string]int }
