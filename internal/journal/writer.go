package journal

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"
)

// Writer appends records for the leader of a term. One entry is on its way at a
// time, and all records that come meanwhile go into the next: a slow log gets
// larger entries, not more of them.
type Writer struct {
	log   Log
	term  Term
	retry time.Duration

	ctx    context.Context //nolint:containedctx // the life of the writer
	cancel context.CancelCauseFunc
	done   chan struct{}
	wake   chan struct{}

	mu      sync.Mutex
	next    Index
	waiting []*queued
	err     error // why there are no more appends
}

// queued is a record that somebody waits for.
type queued struct {
	record []byte
	index  Index
	done   chan struct{}
	err    error
}

// MaxRecord is the most bytes of a record.
const MaxRecord = MaxEntry - binary.MaxVarintLen64

// writerRetry is the pause before an entry of unknown fate is appended again.
const writerRetry = 50 * time.Millisecond

// errClosed says that the writer was closed.
var errClosed = errors.New("journal: the writer is closed")

// NewWriter appends behind the entry before next.
func NewWriter(log Log, term Term, next Index) *Writer {
	w := &Writer{log: log, term: term, retry: writerRetry, next: next, done: make(chan struct{}), wake: make(chan struct{}, 1)}
	w.ctx, w.cancel = context.WithCancelCause(context.Background())
	go w.run()
	return w
}

// Close ends the writer. What is on its way then is of unknown fate.
func (w *Writer) Close() {
	w.cancel(errClosed)
	<-w.done
}

// Failed is closed when the writer takes no more records: its term is over, or
// it was closed.
func (w *Writer) Failed() <-chan struct{} { return w.done }

// Append returns when a record lasts, and in which entry. With any error nobody
// knows: it may be there, if not by this leader's doing any more.
func (w *Writer) Append(ctx context.Context, record []byte) (Index, error) {
	if len(record) > MaxRecord {
		return 0, fmt.Errorf("%w: a record of %d bytes", ErrTooLarge, len(record))
	}
	q := &queued{record: record, done: make(chan struct{})}
	w.mu.Lock()
	if w.err != nil {
		w.mu.Unlock()
		return 0, w.err
	}
	w.waiting = append(w.waiting, q)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default: // it will look anyway
	}
	select {
	case <-q.done:
		return q.index, q.err
	case <-ctx.Done():
		return 0, fmt.Errorf("%w: %w", ErrUnknown, context.Cause(ctx))
	}
}

func (w *Writer) run() {
	defer close(w.done)
	for {
		batch, data := w.take()
		if len(batch) == 0 {
			select {
			case <-w.wake:
				continue
			case <-w.ctx.Done():
				w.fail(nil, context.Cause(w.ctx))
				return
			}
		}
		index := w.next
		if err := w.append(Entry{index, w.term, data}); err != nil {
			w.fail(batch, err)
			return
		}
		w.next++
		for _, q := range batch {
			q.index = index
			close(q.done)
		}
	}
}

// take returns what fits into an entry of those that wait.
func (w *Writer) take() (batch []*queued, data []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, q := range w.waiting {
		if len(data)+binary.MaxVarintLen64+len(q.record) > MaxEntry {
			break
		}
		data = AppendRecord(data, q.record)
		batch = append(batch, q)
	}
	w.waiting = append([]*queued(nil), w.waiting[len(batch):]...)
	return batch, data
}

// append settles an entry: it is there, or it never will be.
func (w *Writer) append(e Entry) error {
	for {
		err := w.log.Append(w.ctx, e)
		if !errors.Is(err, ErrUnknown) {
			return err
		}
		timer := time.NewTimer(w.retry)
		select {
		case <-timer.C:
		case <-w.ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w: %w", err, context.Cause(w.ctx))
		}
	}
}

// fail tells all who wait, and those who come.
func (w *Writer) fail(batch []*queued, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
	for _, q := range append(batch, w.waiting...) {
		q.err = err
		close(q.done)
	}
	w.waiting = nil
}

// AppendRecord adds a record to an entry's data, as a Writer does.
func AppendRecord(data, record []byte) []byte {
	data = binary.AppendUvarint(data, uint64(len(record)))
	return append(data, record...)
}

// errRecords says that an entry's data are not records.
var errRecords = errors.New("journal: an entry is not made of records")

// Records yields the records of a Writer's entry.
func Records(data []byte) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for len(data) > 0 {
			length, n := binary.Uvarint(data)
			if n <= 0 || length > uint64(len(data)-n) { //nolint:gosec // n is at most its length
				yield(nil, errRecords)
				return
			}
			record := data[n : n+int(length)] //nolint:gosec // it is not longer than data
			if !yield(record, nil) {
				return
			}
			data = data[n+int(length):] //nolint:gosec // as above
		}
	}
}
