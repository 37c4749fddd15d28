package table

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// ErrUnknown marks a change of which nobody can say whether it was made.
var ErrUnknown = errors.New("outcome unknown")

// ErrConflict says that an operation beside the changed record met something
// else than it was made for.
var ErrConflict = errors.New("conflict")

// defaultWriteTimeout bounds a change whose table says nothing else.
const defaultWriteTimeout = 10 * time.Second

// Op is a further part of a change's transaction, on this or another table.
type Op struct {
	condition *clientv3.Cmp
	do        *clientv3.Op
	seen      func(ctx context.Context, revision int64) error
	err       error
}

// Exists demands that a record is there, and changes nothing.
func (t *Table[T]) Exists(k Key) Op {
	present := clientv3.Compare(clientv3.CreateRevision(t.Path(k)), ">", 0)
	return Op{condition: &present}
}

// None demands that an account has no record whose name begins with prefix,
// and changes nothing.
func (t *Table[T]) None(account, prefix string) Op {
	absent := clientv3.Compare(clientv3.CreateRevision(t.Path(Key{account, prefix})), "=", 0).WithPrefix()
	return Op{condition: &absent}
}

// Create stores a record that is not there yet.
func (t *Table[T]) Create(k Key, r *T) Op {
	path := t.Path(k)
	value, err := t.Encode(k, r)
	absent := clientv3.Compare(clientv3.CreateRevision(path), "=", 0)
	put := clientv3.OpPut(path, string(value))
	return Op{condition: &absent, do: &put, seen: t.WaitRevision, err: err}
}

// Delete removes a record, if it is there.
func (t *Table[T]) Delete(k Key) Op {
	remove := clientv3.OpDelete(t.Path(k))
	return Op{do: &remove, seen: t.WaitRevision}
}

// DeleteAll removes the records of an account whose names begin with prefix.
func (t *Table[T]) DeleteAll(account, prefix string) Op {
	remove := clientv3.OpDelete(t.Path(Key{account, prefix}), clientv3.WithPrefix())
	return Op{do: &remove, seen: t.WaitRevision}
}

// Edit computes a record's next state from the present one, which is nil if
// there is no such record and must not be changed. A nil result deletes it,
// and now itself changes nothing. An edit is called again when another change
// was faster, so it must do nothing else.
type Edit[T any] func(now *T) (next *T, err error)

// Change applies an edit to a record and waits until the table has seen it. It
// is not cut short when ctx ends, for a client that hangs up must not leave a
// change half-acknowledged; the table's WriteTimeout bounds it.
func (t *Table[T]) Change(ctx context.Context, k Key, f Edit[T]) (*T, error) {
	return t.ChangeWith(ctx, k, func(now *T) (*T, []Op, error) {
		next, err := f(now)
		return next, nil, err
	})
}

// ChangeWith is Change for edits that change other records in the same
// transaction: all of it happens, or nothing.
func (t *Table[T]) ChangeWith(ctx context.Context, k Key, f func(now *T) (*T, []Op, error)) (*T, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), t.cfg.WriteTimeout)
	defer cancel()
	now := t.shards.lookup(k)
	for {
		next, also, err := f(now.record)
		if err != nil {
			return nil, err
		}
		if next == now.record && len(also) == 0 {
			// It may be another's change, which the table is yet to see.
			return next, t.WaitRevision(ctx, now.revision)
		}
		other, err := t.commit(ctx, k, now, next, also)
		if err != nil {
			return nil, err
		}
		if other == nil {
			return next, nil
		}
		now = *other
	}
}

// commit makes a change on the condition that the record is still now, and
// waits until it has been seen. If another change was faster it returns what
// is there instead.
func (t *Table[T]) commit(ctx context.Context, k Key, now entry[T], next *T, also []Op) (*entry[T], error) {
	path := t.Path(k)
	conditions := []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(path), "=", now.revision)}
	var ops []clientv3.Op
	var seen []func(context.Context, int64) error
	switch {
	case next != nil && next != now.record:
		value, err := t.Encode(k, next)
		if err != nil {
			return nil, err
		}
		ops, seen = append(ops, clientv3.OpPut(path, string(value))), append(seen, t.WaitRevision)
	case next == nil:
		ops, seen = append(ops, clientv3.OpDelete(path)), append(seen, t.WaitRevision)
	}
	for _, op := range also {
		if op.err != nil {
			return nil, op.err
		}
		if op.condition != nil {
			conditions = append(conditions, *op.condition)
		}
		if op.do != nil {
			ops, seen = append(ops, *op.do), append(seen, op.seen)
		}
	}
	resp, err := t.cfg.Client.Txn(ctx).If(conditions...).Then(ops...).Else(clientv3.OpGet(path)).Commit()
	switch {
	case err != nil && neverMade(err):
		return nil, err
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrUnknown, err)
	case !resp.Succeeded:
		return t.present(k, now, resp.Responses[0].GetResponseRange())
	}
	for i, wait := range seen {
		if d := resp.Responses[i].GetResponseDeleteRange(); d != nil && d.Deleted == 0 {
			continue // no event will tell of it
		}
		if err := wait(ctx, resp.Header.GetRevision()); err != nil {
			return nil, fmt.Errorf("%w: stored, but not seen by the table: %w", ErrUnknown, err)
		}
	}
	return nil, nil
}

// present reads what is there instead of the record that a change was computed
// from.
func (t *Table[T]) present(k Key, now entry[T], found *etcdserverpb.RangeResponse) (*entry[T], error) {
	kvs := found.GetKvs()
	if len(kvs) == 0 {
		if now.record == nil {
			return nil, fmt.Errorf("%w beside %s", ErrConflict, t.Path(k))
		}
		return &entry[T]{}, nil
	}
	if kvs[0].ModRevision == now.revision {
		return nil, fmt.Errorf("%w beside %s", ErrConflict, t.Path(k))
	}
	_, r, err := t.Decode(string(kvs[0].Key), kvs[0].Value)
	if err != nil {
		return nil, err
	}
	return &entry[T]{r, kvs[0].ModRevision}, nil
}

// neverMade says whether a failed transaction is certain not to be in the log.
func neverMade(err error) bool {
	return errors.Is(err, rpctypes.ErrNoSpace) || errors.Is(err, rpctypes.ErrRequestTooLarge) ||
		errors.Is(err, rpctypes.ErrTooManyRequests)
}
