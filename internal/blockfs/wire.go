package blockfs

import (
	"encoding/json"
	"errors"
	"fmt"

	"hearth/internal/mount"
)

// protocolVersion is the version of docs/formats/blockfs.md.
const protocolVersion = 1

// hello is the first frame in each direction.
type hello struct {
	Version int    `json:"version"`
	Build   string `json:"build"`
	// What follows is said by servers only. Instance differs for each life.
	Instance string `json:"instance,omitempty"`
	PID      int    `json:"pid,omitempty"`
}

// Operations. Retire and drop keep their form in all versions of the protocol.
const (
	opOpen     = "open"
	opRelease  = "release"
	opDrop     = "drop"
	opList     = "list"
	opStats    = "stats"
	opCounters = "counters"
	opPrefetch = "prefetch"
	opRetire   = "retire"
	opShutdown = "shutdown"
)

type request struct {
	ID   uint64          `json:"id"`
	Op   string          `json:"op"`
	Args json.RawMessage `json:"args,omitempty"`
}

type response struct {
	ID     uint64          `json:"id"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *wireError      `json:"error,omitempty"`
}

type openArgs struct {
	Volume string          `json:"volume"`
	Owner  string          `json:"owner"`
	Spec   json.RawMessage `json:"spec"`
}

type opened struct {
	Lease  uint64 `json:"lease"`
	Device string `json:"device"`
	// File is the name that the device is attached under.
	File string `json:"file"`
	Size int64  `json:"size"`
}

type releaseArgs struct {
	Lease uint64 `json:"lease"`
}

type dropArgs struct {
	Owner string `json:"owner"`
	// Except are leases that stay.
	Except []uint64 `json:"except,omitempty"`
}

type dropped struct {
	Released int `json:"released"`
}

type volumeArgs struct {
	Volume string `json:"volume"`
}

type prefetchArgs struct {
	Volume string `json:"volume"`
	Chunks []int  `json:"chunks"`
}

type queued struct {
	Queued int `json:"queued"`
}

type shutdownArgs struct {
	Force bool `json:"force"`
}

// Listing is all that a server has.
type Listing struct {
	Volumes []Entry `json:"volumes"`
	// Retiring says that the server ends when its last volume is closed.
	Retiring bool `json:"retiring"`
}

// Entry is one volume of a Listing.
type Entry struct {
	Volume string `json:"volume"`
	// Device is empty when nobody holds a lease, but somebody has the volume
	// still mounted.
	Device string `json:"device,omitempty"`
	Size   int64  `json:"size"`
	// Owners are those of the leases, one a lease.
	Owners []string `json:"owners"`
}

// Stats is what has happened to a volume since it was opened.
type Stats struct {
	Volume    string `json:"volume"`
	Size      int64  `json:"size"`
	ChunkSize int64  `json:"chunkSize"`
	// Reads is how many reads the kernel has asked for, and BytesRead how many
	// bytes it was given.
	Reads     int64 `json:"reads"`
	BytesRead int64 `json:"bytesRead"`
	// Errors counts reads that ended in EIO; Stalls those of them that the
	// source had not answered in time.
	Errors int64 `json:"errors"`
	Stalls int64 `json:"stalls"`
	// LastError is why the last of them failed.
	LastError string `json:"lastError,omitempty"`
	// Touched are the chunks that were read, in order of their first read:
	// the volume's access profile.
	Touched []int `json:"touched"`
	// Prefetched counts chunks that were fetched ahead, PrefetchErrors those
	// that could not be.
	Prefetched     int64 `json:"prefetched"`
	PrefetchErrors int64 `json:"prefetchErrors"`
}

// Errors that a server answers with; a Client returns errors that wrap them.
var (
	// ErrNoLoop says that the kernel has no loop device left; its text says how
	// to get more.
	ErrNoLoop = mount.ErrNoLoop
	// ErrBusy says that the server has volumes that are in use.
	ErrBusy = errors.New("blockfs: volumes are in use")
	// ErrUnknown says that there is no such volume or lease.
	ErrUnknown = errors.New("blockfs: no such volume")
	// ErrInvalid says that a request makes no sense.
	ErrInvalid = errors.New("blockfs: invalid request")
	// ErrLost says that the server that had the volume is gone, and with it
	// everything that is mounted from it.
	ErrLost = errors.New("blockfs: the volume was lost with its server")
)

// codes are the errors that both sides know.
var codes = map[string]error{"no-loop": ErrNoLoop, "busy": ErrBusy, "unknown": ErrUnknown, "invalid": ErrInvalid}

// codeFailed is that of all other errors.
const codeFailed = "failed"

type wireError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

func toWire(err error) *wireError {
	for code, known := range codes {
		if errors.Is(err, known) {
			return &wireError{Code: code, Message: err.Error()}
		}
	}
	return &wireError{Code: codeFailed, Message: err.Error()}
}

// remoteError is an error of the server, in its words.
type remoteError struct {
	known   error
	message string
}

func (e *remoteError) Error() string { return e.message }
func (e *remoteError) Unwrap() error { return e.known }

func (e *wireError) err() error { return &remoteError{known: codes[e.Code], message: e.Message} }

func encode(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("blockfs: encode %T: %v", v, err)) // own types of strings and numbers
	}
	return b
}
