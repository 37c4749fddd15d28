package garbage

import (
	"context"
	"errors"
	"fmt"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrConflict says that somebody else has changed the record of roots.
var ErrConflict = errors.New("garbage: the record of roots was changed by another")

// Store keeps the record of roots.
type Store interface {
	// Load returns the record and its revision; 0 if there is none.
	Load(ctx context.Context) (value []byte, revision int64, err error)
	// Swap replaces the record of a revision durably, or makes it if that is 0,
	// and returns the new revision. ErrConflict says that it is of another
	// revision. After any other error nobody knows which one is there.
	Swap(ctx context.Context, value []byte, revision int64) (int64, error)
}

// RootsKey is where the record is in etcd.
const RootsKey = "hearth/chunk-roots"

// storeTimeout bounds one request to etcd.
const storeTimeout = 10 * time.Second

// Etcd is a Store in etcd.
type Etcd struct{ Client *clientv3.Client }

// Load implements Store.
func (e Etcd) Load(ctx context.Context) ([]byte, int64, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	answer, err := e.Client.Get(ctx, RootsKey)
	if err != nil {
		return nil, 0, fmt.Errorf("garbage: load the record of roots: %w", err)
	}
	if len(answer.Kvs) == 0 {
		return nil, 0, nil
	}
	return answer.Kvs[0].Value, answer.Kvs[0].ModRevision, nil
}

// Swap implements Store.
func (e Etcd) Swap(ctx context.Context, value []byte, revision int64) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	answer, err := e.Client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(RootsKey), "=", revision)).
		Then(clientv3.OpPut(RootsKey, string(value))).Commit()
	if err != nil {
		return 0, fmt.Errorf("garbage: store the record of roots: %w", err)
	}
	if !answer.Succeeded {
		return 0, ErrConflict
	}
	return answer.Header.GetRevision(), nil
}
