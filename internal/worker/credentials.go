package worker

import (
	"context"
	"fmt"
	"time"

	"hearth/internal/function"
)

// outlive is how much longer than its environment a function's keys live: an
// invoke that begins at the lease's end can use them to its own.
const outlive = 15 * time.Minute

// Keys are what a function signs its requests with. They hide from logs.
type Keys struct{ AccessKeyID, SecretAccessKey, SessionToken string }

// String and GoString implement fmt.Stringer and fmt.GoStringer.
func (Keys) String() string { return "[keys]" }

// GoString is what %#v shows.
func (Keys) GoString() string { return "[keys]" }

// Credentials makes keys of functions' roles.
type Credentials interface {
	// For returns keys that stand for the function's role and live that long.
	// An error that the caller of the function is to see is an *awserr.Error:
	// that the role is gone is one.
	For(ctx context.Context, rec *function.Record, life time.Duration) (Keys, error)
}

// credentials are the keys of an environment about to start.
func (e *env) credentials(ctx context.Context) (Keys, error) {
	if e.w.cfg.Credentials == nil {
		return Keys{}, nil
	}
	keys, err := e.w.cfg.Credentials.For(ctx, e.start.Record, time.Until(e.start.LeaseEnd)+outlive)
	if err != nil {
		return Keys{}, fmt.Errorf("worker: credentials of the function's role: %w", err)
	}
	return keys, nil
}
