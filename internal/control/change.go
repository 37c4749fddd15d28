package control

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"hearth/internal/catalog"
	"hearth/internal/function"
)

// errUnknown marks a change of which nobody can say whether it was made.
var errUnknown = errors.New("outcome unknown")

// edit computes a function's next record from the present one, which is nil if
// there is no such function and must not be changed. A nil result deletes it.
// An edit is called again when another change was faster.
type edit func(now *function.Record) (*function.Record, error)

// change applies an edit to a function's record and waits until the catalog
// has seen it. It is not cut short when ctx ends, for a client that hangs up
// must not leave a change half-acknowledged; WriteTimeout bounds it.
func (s *Service) change(ctx context.Context, account, name string, f edit) (*function.Record, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.WriteTimeout)
	defer cancel()
	now, _ := s.cfg.Catalog.Lookup(account, name)
	for {
		next, err := f(now)
		if err != nil {
			return nil, err
		}
		if next != nil {
			next.RevisionID = newRevisionID()
		}
		revision, other, err := s.swap(ctx, catalog.Key(account, name), now, next)
		if err != nil {
			return nil, storeError(err)
		}
		if revision == 0 {
			now = other
			continue
		}
		if next != nil {
			next.ModRevision = revision
		}
		if err := s.cfg.Catalog.WaitRevision(ctx, revision); err != nil {
			return nil, fmt.Errorf("%w: stored, but not seen by the catalog: %w", errUnknown, err)
		}
		return next, nil
	}
}

// swap replaces a record on the condition that it is still now, and returns
// the store's revision; or revision 0 and the record that was there instead.
func (s *Service) swap(ctx context.Context, key string, now, next *function.Record) (int64, *function.Record, error) {
	condition := clientv3.Compare(clientv3.CreateRevision(key), "=", 0)
	if now != nil {
		condition = clientv3.Compare(clientv3.ModRevision(key), "=", now.ModRevision)
	}
	op := clientv3.OpDelete(key)
	if next != nil {
		value, err := catalog.Encode(next)
		if err != nil {
			return 0, nil, err
		}
		op = clientv3.OpPut(key, string(value))
	}
	resp, err := s.cfg.Client.Txn(ctx).If(condition).Then(op).Else(clientv3.OpGet(key)).Commit()
	if err != nil {
		if neverMade(err) {
			return 0, nil, err
		}
		return 0, nil, fmt.Errorf("%w: %w", errUnknown, err)
	}
	if resp.Succeeded {
		return resp.Header.GetRevision(), nil, nil
	}
	kvs := resp.Responses[0].GetResponseRange().GetKvs()
	if len(kvs) == 0 {
		return 0, nil, nil
	}
	other, err := catalog.Decode(key, kvs[0].Value, kvs[0].ModRevision)
	return 0, other, err
}

// neverMade says whether a failed transaction is certain not to be in the log.
func neverMade(err error) bool {
	return errors.Is(err, rpctypes.ErrNoSpace) || errors.Is(err, rpctypes.ErrRequestTooLarge) ||
		errors.Is(err, rpctypes.ErrTooManyRequests)
}

// newRevisionID returns a random UUID, the form AWS gives revision ids.
func newRevisionID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: it ends the program instead
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// newUID returns what tells a function from all others of its name.
func newUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: it ends the program instead
	return fmt.Sprintf("%x", b)
}
