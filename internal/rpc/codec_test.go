package rpc

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"hearth/internal/environment"
	"hearth/internal/invocation"
)

// FuzzDecode: whatever a peer sends, decoding it ends, and in an error or a value.
func FuzzDecode(f *testing.F) {
	for _, v := range []any{
		&answer[environment.Lease]{Res: &environment.Lease{ID: "0123456789abcdef", Worker: "w"}},
		&answer[invocation.Response]{Err: faultOf(environment.ErrBusy)},
		&invocation.Request{ID: "r", Payload: []byte("x")},
	} {
		b, err := wire.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte{0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) // an array of 2⁶⁴-1
	f.Fuzz(func(t *testing.T, b []byte) {
		var lease answer[environment.Lease]
		if err := wire.Unmarshal(b, &lease); err == nil && lease.Err != nil && lease.Err.err() == nil {
			t.Error("a fault became no error")
		}
		var start environment.Start
		_ = wire.Unmarshal(b, &start)
		var req invocation.Request
		_ = wire.Unmarshal(b, &req)
	})
}

// TestKinds: each kind of error is itself behind the wire, and no other.
func TestKinds(t *testing.T) {
	for _, k := range kinds {
		err := faultOf(fmt.Errorf("somewhere: %w", k.err)).err()
		if !errors.Is(err, k.err) || KindOf(err) != k.name {
			t.Errorf("%s comes out as %q (%v)", k.name, KindOf(err), err)
		}
	}
	if OfKind("") != nil || KindOf(io.EOF) != "" {
		t.Error("what is none of the kinds is taken for one")
	}
}
