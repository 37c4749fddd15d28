package journal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Etcd keeps a log in etcd, below a prefix of its own. Format:
// docs/formats/journal.md.
type Etcd struct {
	client *clientv3.Client
	prefix string // ends in "/"
	// Timeout bounds one request; 5 s if zero.
	Timeout time.Duration
}

// NewEtcd returns the log of a name. The client stays the caller's.
func NewEtcd(client *clientv3.Client, name string) *Etcd {
	return &Etcd{client: client, prefix: "hearth/journal/" + url.PathEscape(name) + "/"}
}

const (
	// entryVersion begins an entry, before the term.
	entryVersion = 1
	entryHeader  = 1 + 8
	// pageEntries are read at a time.
	pageEntries = 16
	// maxPart is the most bytes of a checkpoint in one key.
	maxPart = 512 << 10
)

func (l *Etcd) leaderKey() string             { return l.prefix + "leader" }
func (l *Etcd) entryKey(i Index) string       { return fmt.Sprintf("%sentry/%016x", l.prefix, uint64(i)) }
func (l *Etcd) checkpointKey() string         { return l.prefix + "checkpoint" }
func (l *Etcd) partsKey(i Index) string       { return fmt.Sprintf("%spart/%016x/", l.prefix, uint64(i)) }
func (l *Etcd) partKey(i Index, n int) string { return fmt.Sprintf("%s%04d", l.partsKey(i), n) }

func (l *Etcd) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	timeout := l.Timeout
	if timeout == 0 {
		timeout = 5 * time.Second
	}
	return context.WithTimeout(ctx, timeout)
}

// etcdTerm is the lease of a leader's key.
type etcdTerm struct {
	log   *Etcd
	term  Term
	lease clientv3.LeaseID
	stop  context.CancelFunc // of keeping the lease
	lost  chan struct{}
	wg    sync.WaitGroup
}

func (t *etcdTerm) Term() Term            { return t.term }
func (t *etcdTerm) Lost() <-chan struct{} { return t.lost }

// Resign implements Leadership.
func (t *etcdTerm) Resign(ctx context.Context) error {
	t.stop()
	t.wg.Wait()
	return t.log.revoke(ctx, t.lease)
}

// revoke ends a lease, and the term that hangs on it.
func (l *Etcd) revoke(ctx context.Context, lease clientv3.LeaseID) error {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	if _, err := l.client.Revoke(ctx, lease); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return fmt.Errorf("journal: end the term: %w", err)
	}
	return nil
}

// Lead implements Log. The time to live is in whole seconds, and etcd has a
// least one of its own.
func (l *Etcd) Lead(ctx context.Context, value []byte, ttl time.Duration) (_ Leadership, err error) {
	if len(value) > MaxLeader {
		return nil, fmt.Errorf("%w: %d bytes about a leader", ErrTooLarge, len(value))
	}
	lease, err := l.grant(ctx, ttl)
	if err != nil {
		return nil, err
	}
	keep, stop := context.WithCancel(context.WithoutCancel(ctx))
	t := &etcdTerm{log: l, lease: lease, stop: stop, lost: make(chan struct{})}
	alive, err := l.client.KeepAlive(keep, lease)
	if err != nil {
		stop()
		return nil, errors.Join(fmt.Errorf("journal: keep the term: %w", err), l.revoke(context.WithoutCancel(ctx), lease))
	}
	t.wg.Go(func() {
		defer close(t.lost)
		defer stop()
		for range alive { // until the lease is over or given back
		}
	})
	if t.term, err = l.campaign(ctx, lease, value); err != nil {
		// What nobody knows may have succeeded: with the lease it goes.
		return nil, errors.Join(err, t.Resign(context.WithoutCancel(ctx)))
	}
	t.wg.Go(func() { t.watch(keep) })
	return t, nil
}

// watch ends the term here when it has been ended in etcd.
func (t *etcdTerm) watch(ctx context.Context) {
	defer t.stop()
	for from := int64(t.term) + 1; ctx.Err() == nil; {
		for answer := range t.log.client.Watch(ctx, t.log.leaderKey(), clientv3.WithRev(from)) {
			if len(answer.Events) > 0 {
				return
			}
		}
		// Etcd has compacted what was to come, or is on its way down.
		answer, err := t.log.client.Get(ctx, t.log.leaderKey())
		if err == nil {
			if len(answer.Kvs) == 0 || Term(answer.Kvs[0].ModRevision) != t.term {
				return
			}
			from = answer.Header.Revision + 1
		}
		timer := time.NewTimer(watchPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

func (l *Etcd) grant(ctx context.Context, ttl time.Duration) (clientv3.LeaseID, error) {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	lease, err := l.client.Grant(ctx, int64(max(time.Second, ttl)/time.Second))
	if err != nil {
		return 0, fmt.Errorf("journal: begin a term: %w", err)
	}
	return lease.ID, nil
}

// campaign makes the leader's key when there is none.
func (l *Etcd) campaign(ctx context.Context, lease clientv3.LeaseID, value []byte) (Term, error) {
	for {
		answer, err := l.claim(ctx, lease, value)
		if err != nil {
			return 0, fmt.Errorf("journal: claim to lead: %w", err)
		}
		if answer.Succeeded {
			return Term(answer.Header.Revision), nil
		}
		if err := l.awaitVacancy(ctx, answer.Header.Revision+1); err != nil {
			return 0, err
		}
	}
}

func (l *Etcd) claim(ctx context.Context, lease clientv3.LeaseID, value []byte) (*clientv3.TxnResponse, error) {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	return l.client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(l.leaderKey()), "=", 0)).
		Then(clientv3.OpPut(l.leaderKey(), string(value), clientv3.WithLease(lease))).Commit()
}

// awaitVacancy returns when the leader's key has been deleted, or may have been.
func (l *Etcd) awaitVacancy(ctx context.Context, from int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for answer := range l.client.Watch(clientv3.WithRequireLeader(ctx), l.leaderKey(), clientv3.WithRev(from), clientv3.WithFilterPut()) {
		if len(answer.Events) > 0 || answer.Err() != nil {
			break
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// Leader implements Log.
func (l *Etcd) Leader(ctx context.Context) (*Leader, error) {
	leader, _, err := l.leader(ctx)
	return leader, err
}

// leader returns who leads at a revision.
func (l *Etcd) leader(ctx context.Context) (_ *Leader, revision int64, err error) {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	answer, err := l.client.Get(ctx, l.leaderKey())
	if err != nil {
		return nil, 0, fmt.Errorf("journal: find the leader: %w", err)
	}
	if len(answer.Kvs) == 0 {
		return nil, answer.Header.Revision, nil
	}
	return leaderOf(answer.Kvs[0]), answer.Header.Revision, nil
}

// WatchLeader calls do with who leads, nil for nobody, now and whenever that
// changes, until the context ends. While etcd cannot be asked, it stays as it was.
func (l *Etcd) WatchLeader(ctx context.Context, do func(*Leader)) {
	for {
		l.watchLeader(ctx, do)
		if wait(ctx) != nil {
			return
		}
	}
}

// watchLeader is one watch. Another is begun, whyever it ended: there is no error.
func (l *Etcd) watchLeader(ctx context.Context, do func(*Leader)) {
	leader, revision, err := l.leader(ctx)
	if err != nil {
		return
	}
	do(leader)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for answer := range l.client.Watch(clientv3.WithRequireLeader(ctx), l.leaderKey(), clientv3.WithRev(revision+1)) {
		if answer.Err() != nil {
			return
		}
		for _, event := range answer.Events {
			if event.Type == clientv3.EventTypeDelete {
				do(nil)
			} else {
				do(leaderOf(event.Kv))
			}
		}
	}
}

func leaderOf(kv *mvccpb.KeyValue) *Leader { return &Leader{Term(kv.ModRevision), kv.Value} }

// Evict implements Log.
func (l *Etcd) Evict(ctx context.Context, term Term) error {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	if _, err := l.client.Txn(ctx).If(l.leads(term)).Then(clientv3.OpDelete(l.leaderKey())).Commit(); err != nil {
		return fmt.Errorf("journal: end another's term: %w", err)
	}
	return nil
}

// leads is the condition that fences.
func (l *Etcd) leads(term Term) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(l.leaderKey()), "=", int64(term))
}

// Append implements Log.
func (l *Etcd) Append(ctx context.Context, e Entry) error {
	if len(e.Data) > MaxEntry {
		return fmt.Errorf("%w: an entry of %d bytes", ErrTooLarge, len(e.Data))
	}
	key := l.entryKey(e.Index)
	conditions := []clientv3.Cmp{l.leads(e.Term), clientv3.Compare(clientv3.CreateRevision(key), "=", 0)}
	if e.Index > 1 {
		conditions = append(conditions, clientv3.Compare(clientv3.CreateRevision(l.entryKey(e.Index-1)), ">", 0))
	}
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	value := encodeEntry(e)
	answer, err := l.client.Txn(ctx).If(conditions...).Then(clientv3.OpPut(key, string(value))).
		Else(clientv3.OpGet(key), clientv3.OpGet(l.leaderKey(), clientv3.WithKeysOnly())).Commit()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	if answer.Succeeded {
		return nil
	}
	there, leader := answer.Responses[0].GetResponseRange().Kvs, answer.Responses[1].GetResponseRange().Kvs
	switch {
	case len(there) == 1 && bytes.Equal(there[0].Value, value):
		return nil // it was appended by an earlier attempt
	case len(there) == 1 || len(leader) == 0 || Term(leader[0].ModRevision) != e.Term:
		return ErrDeposed
	}
	return ErrGap
}

func encodeEntry(e Entry) []byte {
	b := make([]byte, 0, entryHeader+len(e.Data))
	b = append(b, entryVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Term)) //nolint:gosec // revisions are positive
	return append(b, e.Data...)
}

func (l *Etcd) decodeEntry(key string, value []byte) (Entry, error) {
	index, err := strconv.ParseUint(strings.TrimPrefix(key, l.prefix+"entry/"), 16, 64)
	if err != nil || len(value) < entryHeader || value[0] != entryVersion {
		return Entry{}, fmt.Errorf("journal: %s is not an entry that this version knows", key)
	}
	return Entry{Index(index), Term(binary.BigEndian.Uint64(value[1:])), value[entryHeader:]}, nil //nolint:gosec // as it was encoded
}

// Read implements Log.
func (l *Etcd) Read(ctx context.Context, from Index) (entries []Entry, err error) {
	_, err = l.read(ctx, from, func(e Entry) error {
		entries = append(entries, e)
		return nil
	})
	return entries, err
}

// read calls do with what is there now, and returns the revision that this was.
func (l *Etcd) read(ctx context.Context, from Index, do func(Entry) error) (revision int64, err error) {
	for {
		entries, at, err := l.page(ctx, from, revision)
		if errors.Is(err, rpctypes.ErrCompacted) {
			revision = 0 // go on from what is there now
			continue
		}
		if err != nil {
			return 0, err
		}
		revision = at
		for _, e := range entries {
			if e.Index != from {
				return 0, ErrTrimmed
			}
			if err := do(e); err != nil {
				return 0, err
			}
			from++
		}
		if len(entries) < pageEntries {
			return revision, nil
		}
	}
}

// page reads some entries, and at revision zero whether they are still covered.
func (l *Etcd) page(ctx context.Context, from Index, revision int64) ([]Entry, int64, error) {
	ctx, cancel := l.bounded(ctx)
	defer cancel()
	entries := clientv3.OpGet(l.entryKey(from), clientv3.WithRange(l.entryKey(1<<64-1)), clientv3.WithLimit(pageEntries), clientv3.WithRev(revision))
	answer, err := l.client.Txn(ctx).Then(entries, clientv3.OpGet(l.checkpointKey())).Commit()
	if err != nil {
		return nil, 0, fmt.Errorf("journal: read: %w", err)
	}
	if kvs := answer.Responses[1].GetResponseRange().Kvs; revision == 0 && len(kvs) == 1 {
		saved, err := decodePointer(kvs[0].Value)
		if err != nil {
			return nil, 0, err
		}
		if saved.index >= from {
			return nil, 0, ErrTrimmed
		}
	}
	var found []Entry
	for _, kv := range answer.Responses[0].GetResponseRange().Kvs {
		e, err := l.decodeEntry(string(kv.Key), kv.Value)
		if err != nil {
			return nil, 0, err
		}
		found = append(found, e)
	}
	if revision == 0 {
		revision = answer.Header.Revision
	}
	return found, revision, nil
}

// Follow implements Log.
func (l *Etcd) Follow(ctx context.Context, from Index, do func(Entry) error) error {
	next := from
	each := func(e Entry) error {
		if err := do(e); err != nil {
			return err
		}
		next = e.Index + 1
		return nil
	}
	for {
		revision, err := l.read(ctx, next, each)
		if err != nil {
			return err
		}
		if err := l.watch(ctx, revision+1, &next, each); err != nil {
			return err
		}
	}
}

// watch calls do with what is appended from a revision on. It returns nil when
// the watch has ended and what follows is to be read.
func (l *Etcd) watch(ctx context.Context, from int64, next *Index, do func(Entry) error) error {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	events := l.client.Watch(clientv3.WithRequireLeader(watching), l.prefix+"entry/",
		clientv3.WithPrefix(), clientv3.WithRev(from), clientv3.WithFilterDelete())
	for answer := range events {
		if answer.Err() != nil {
			break
		}
		for _, event := range answer.Events {
			e, err := l.decodeEntry(string(event.Kv.Key), event.Kv.Value)
			if err != nil {
				return err
			}
			if e.Index != *next {
				return fmt.Errorf("journal: entry %d follows entry %d", e.Index, *next-1)
			}
			if err := do(e); err != nil {
				return err
			}
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	// Etcd has no leader, or has compacted what was to come: not in a loop.
	return wait(ctx)
}

// watchPause is between a watch that ended and the next.
const watchPause = 100 * time.Millisecond

func wait(ctx context.Context) error {
	timer := time.NewTimer(watchPause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
