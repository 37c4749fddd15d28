package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// pointer is the value of the checkpoint's key: which parts make it up.
type pointer struct {
	index Index
	parts int
}

const pointerSize = 1 + 8 + 4

func (p pointer) encode() []byte {
	b := []byte{entryVersion}
	b = binary.BigEndian.AppendUint64(b, uint64(p.index))
	return binary.BigEndian.AppendUint32(b, uint32(p.parts)) //nolint:gosec // few
}

func decodePointer(b []byte) (pointer, error) {
	if len(b) != pointerSize || b[0] != entryVersion {
		return pointer{}, errors.New("journal: the checkpoint is not one that this version knows")
	}
	return pointer{Index(binary.BigEndian.Uint64(b[1:])), int(binary.BigEndian.Uint32(b[9:]))}, nil
}

// pointed reads the checkpoint's key; a pointer to nothing if there is none.
func (l *Etcd) pointed(ctx context.Context) (p pointer, revision int64, err error) {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	answer, err := l.client.Get(ctx, l.checkpointKey())
	if err != nil {
		return pointer{}, 0, fmt.Errorf("journal: find the checkpoint: %w", err)
	}
	if len(answer.Kvs) == 0 {
		return pointer{}, answer.Header.Revision, nil
	}
	p, err = decodePointer(answer.Kvs[0].Value)
	return p, answer.Header.Revision, err
}

// Checkpoint implements Log.
func (l *Etcd) Checkpoint(ctx context.Context) (*Checkpoint, error) {
	for {
		p, revision, err := l.pointed(ctx)
		if err != nil || p.index == 0 {
			return nil, err
		}
		c := &Checkpoint{Index: p.index}
		for n := range p.parts {
			part, err := l.part(ctx, p.index, n, revision)
			if errors.Is(err, rpctypes.ErrCompacted) {
				c = nil // there is a later one
				break
			}
			if err != nil {
				return nil, err
			}
			c.Data = append(c.Data, part...)
		}
		if c != nil {
			return c, nil
		}
	}
}

func (l *Etcd) part(ctx context.Context, index Index, n int, revision int64) ([]byte, error) {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	answer, err := l.client.Get(ctx, l.partKey(index, n), clientv3.WithRev(revision))
	if err != nil {
		return nil, fmt.Errorf("journal: read the checkpoint: %w", err)
	}
	if len(answer.Kvs) == 0 {
		return nil, fmt.Errorf("journal: part %d of checkpoint %d is missing", n, index)
	}
	return answer.Kvs[0].Value, nil
}

// Save implements Log. The parts are written first, then the pointer and the
// trimming are one transaction. The entry at the checkpoint's index stays: by it
// the next one is known not to leave a gap.
func (l *Etcd) Save(ctx context.Context, term Term, c Checkpoint) error {
	before, _, err := l.pointed(ctx)
	if err != nil {
		return err
	}
	if before.index >= c.Index {
		return nil
	}
	p := pointer{index: c.Index}
	for data := c.Data; len(data) > 0; p.parts++ {
		n := min(len(data), maxPart)
		if err := l.ifLeads(ctx, term, nil, clientv3.OpPut(l.partKey(c.Index, p.parts), string(data[:n]))); err != nil {
			return err
		}
		data = data[n:]
	}
	there := []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(l.entryKey(c.Index)), ">", 0)}
	err = l.ifLeads(ctx, term, there,
		clientv3.OpPut(l.checkpointKey(), string(p.encode())),
		clientv3.OpDelete(l.entryKey(0), clientv3.WithRange(l.entryKey(c.Index))),
		// Also those of checkpoints that were given up.
		clientv3.OpDelete(l.partsKey(0), clientv3.WithRange(l.partsKey(c.Index))))
	return err
}

// ifLeads does something in a transaction, if the term leads and more holds.
func (l *Etcd) ifLeads(ctx context.Context, term Term, also []clientv3.Cmp, do ...clientv3.Op) error {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	answer, err := l.client.Txn(ctx).If(append(also, l.leads(term))...).Then(do...).
		Else(clientv3.OpGet(l.leaderKey(), clientv3.WithKeysOnly())).Commit()
	if err != nil {
		return fmt.Errorf("journal: save a checkpoint: %w", err)
	}
	if answer.Succeeded {
		return nil
	}
	if leader := answer.Responses[0].GetResponseRange().Kvs; len(leader) == 1 && Term(leader[0].ModRevision) == term {
		return ErrGap
	}
	return ErrDeposed
}
