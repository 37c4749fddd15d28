package rpc

import (
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"

	"hearth/internal/awserr"
	"hearth/internal/environment"
)

// maxMessage is the largest message: the largest payload of an invoke, and room
// for what goes with it.
const maxMessage = 8 << 20

// codec implements gRPC's encoding.Codec by CBOR (RFC 8949).
type codec struct {
	enc cbor.EncMode
	dec cbor.DecMode
}

func newCodec() codec {
	enc, err := cbor.EncOptions{Time: cbor.TimeRFC3339NanoUTC}.EncMode()
	if err != nil {
		panic(err) // the options are constant
	}
	// Peers are believed to be who they are, and not to be free of faults.
	dec, err := cbor.DecOptions{MaxNestedLevels: 16, MaxArrayElements: 1 << 17, MaxMapPairs: 1 << 17}.DecMode()
	if err != nil {
		panic(err)
	}
	return codec{enc, dec}
}

var wire = newCodec()

func (c codec) Marshal(v any) ([]byte, error)   { return c.enc.Marshal(v) }
func (c codec) Unmarshal(b []byte, v any) error { return c.dec.Unmarshal(b, v) }
func (codec) Name() string                      { return "cbor" }

// answer is what a handler sends back.
type answer[Res any] struct {
	Res *Res   `cbor:"1,keyasint,omitempty"`
	Err *fault `cbor:"2,keyasint,omitempty"`
}

// fault is an error on the wire.
type fault struct {
	// Kind is of the table below; empty for others.
	Kind string `cbor:"1,keyasint,omitempty"`
	Text string `cbor:"2,keyasint"`

	AWS     *awserr.Error `cbor:"3,keyasint,omitempty"`
	Payload []byte        `cbor:"4,keyasint,omitempty"` // of a BackoffError
	Until   time.Time     `cbor:"5,keyasint,omitzero"`
}

// kinds are the errors that cross the wire as themselves, the narrower first.
var kinds = []struct {
	name string
	err  error
}{
	{"busy", environment.ErrBusy},
	{"gone", environment.ErrGone},
	{"stale", environment.ErrStale},
	{"away", environment.ErrAway},
	{"unit", environment.ErrUnit},
	{"not accepted", environment.ErrNotAccepted},
	{"no capacity", environment.ErrNoCapacity},
	{"not leading", environment.ErrNotLeading},
	{"unregistered", environment.ErrUnregistered},
	{"fenced", environment.ErrFenced},
}

// faultOf puts an error on the wire.
func faultOf(err error) *fault {
	f := &fault{Text: err.Error()}
	if e, ok := awserr.As(err); ok {
		f.AWS = e
	}
	if e, ok := errors.AsType[*environment.BackoffError](err); ok {
		f.Payload, f.Until = e.Payload, e.Until
	}
	f.Kind = KindOf(err)
	return f
}

// KindOf names the error that crosses the wire as itself which an error is; empty
// if it is none.
func KindOf(err error) string {
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.name
		}
	}
	return ""
}

// OfKind is the error of a name; nil if there is none.
func OfKind(name string) error {
	for _, k := range kinds {
		if name == k.name {
			return k.err
		}
	}
	return nil
}

// RemoteError is an error that another process has answered.
type RemoteError struct {
	Text  string
	cause error
}

func (e *RemoteError) Error() string { return e.Text }

// Unwrap is what the error is, if it is one that crosses the wire as itself.
func (e *RemoteError) Unwrap() error { return e.cause }

// err is the error that a fault was.
func (f *fault) err() error {
	e := &RemoteError{Text: f.Text}
	switch {
	case f.AWS != nil:
		e.cause = f.AWS
	case !f.Until.IsZero():
		e.cause = &environment.BackoffError{Payload: f.Payload, Until: f.Until}
	}
	if err := OfKind(f.Kind); err != nil {
		e.cause = errors.Join(e.cause, err)
	}
	return e
}

// UnreachableError says that a peer could not be asked, or has not answered.
type UnreachableError struct {
	Peer string
	// Sent says that the peer may have got the call.
	Sent bool
	Err  error
}

func (e *UnreachableError) Error() string {
	if e.Sent {
		return fmt.Sprintf("rpc: no answer from %s: %v", e.Peer, e.Err)
	}
	return fmt.Sprintf("rpc: %s cannot be reached: %v", e.Peer, e.Err)
}

func (e *UnreachableError) Unwrap() error { return e.Err }

// Unreachable says whether an error is an *UnreachableError, and whether the peer
// may have got the call.
func Unreachable(err error) (sent, is bool) {
	e, is := errors.AsType[*UnreachableError](err)
	return is && e.Sent, is
}
