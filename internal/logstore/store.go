package logstore

import (
	"bytes"
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// flushInterval is the default of Config.FlushInterval.
const flushInterval = 100 * time.Millisecond

// Lag is how long another process that reads should wait for lines that were
// appended just now.
const Lag = 2 * flushInterval

// Config says where logs are kept and how much of them.
type Config struct {
	Dir string
	Log *slog.Logger
	// SegmentBytes and Segments bound a group on disk; 16 MiB and 4 if zero.
	SegmentBytes int64
	Segments     int
	// BufferBytes bounds what waits in memory, for all groups; 4 MiB if zero.
	BufferBytes int
	// FlushInterval is how long a line may wait in memory; 100 ms if zero.
	FlushInterval time.Duration
	// IdleClose is when a file that gets no lines is closed; 30 s if zero.
	IdleClose time.Duration
	// Account owns the logs that were written before logs had accounts.
	Account string
	// Sweep is how often expired lines are deleted; 1 h if zero.
	Sweep time.Duration
	// Now is the clock by which lines expire; time.Now if nil.
	Now func() time.Time
}

// fill sets defaults.
func (c *Config) fill() {
	c.Log = cmp.Or(c.Log, slog.New(slog.DiscardHandler))
	c.SegmentBytes = cmp.Or(c.SegmentBytes, 16<<20)
	c.Segments = cmp.Or(c.Segments, 4)
	c.BufferBytes = cmp.Or(c.BufferBytes, 4<<20)
	c.FlushInterval = cmp.Or(c.FlushInterval, flushInterval)
	c.IdleClose = cmp.Or(c.IdleClose, 30*time.Second)
	c.Sweep = cmp.Or(c.Sweep, time.Hour)
	if c.Now == nil {
		c.Now = time.Now
	}
}

// Store takes lines in and writes them. It reads as a Reader does.
type Store struct {
	Reader
	cfg      Config
	registry *registry
	writer   *writer

	mu      sync.Mutex
	pending map[Group]*batch
	bytes   int
	stopped bool

	wake  chan struct{}      // there is something to write
	flush chan chan struct{} // write now, and close when done
	admin chan func()        // write now, then run this
	stop  chan struct{}
	done  chan struct{}
}

// batch is the records of one group that wait to be written.
type batch struct {
	records []byte
	count   int
	// dropped counts the lines that did not fit; stream is one of theirs.
	dropped int
	stream  string
}

// batches are used again: a line costs no allocation.
var batches = sync.Pool{New: func() any { return new(batch) }}

// keepBytes is the biggest buffer that is worth keeping for the next batch.
const keepBytes = 64 << 10

func newBatch() *batch {
	b, ok := batches.Get().(*batch)
	if !ok {
		b = new(batch)
	}
	return b
}

func (b *batch) release() {
	if cap(b.records) > keepBytes {
		return
	}
	*b = batch{records: b.records[:0]}
	batches.Put(b)
}

// Open makes a store of the logs in a directory, which is made if need be.
func Open(cfg Config) (*Store, error) {
	cfg.fill()
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open log store: %w", err)
	}
	if err := adopt(cfg.Dir, cfg.Account); err != nil {
		return nil, err
	}
	groups, err := openRegistry(cfg.Dir, cfg.Now(), cfg.Log)
	if err != nil {
		return nil, err
	}
	s := &Store{
		cfg:      cfg,
		registry: groups,
		writer:   newWriter(cfg, groups, osFiles{}),
		pending:  make(map[Group]*batch),
		admin:    make(chan func()),
		wake:     make(chan struct{}, 1),
		flush:    make(chan chan struct{}),
		stop:     make(chan struct{}),
		done:     make(chan struct{}),
	}
	s.Reader = Reader{dir: cfg.Dir, flush: s.Flush, written: newSignal(), now: cfg.Now, state: func(g Group) (*state, error) {
		if st := groups.get(g); st != nil {
			return st, nil
		}
		return nil, ErrNoGroup
	}}
	go s.run()
	return s, nil
}

// Append takes a line of a log in, and makes the group if there is none. It does not wait for the disk and keeps
// nothing of line. Newlines at the end of line are not kept; a line of more
// than 256 KiB becomes several events.
func (s *Store) Append(account, group, stream string, t time.Time, requestID string, line []byte) {
	line = bytes.TrimRight(line, "\r\n")
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped || len(group) == 0 || len(group) > maxName {
		return
	}
	stream, requestID = stream[:min(len(stream), maxName)], requestID[:min(len(requestID), maxName)]
	g := Group{account, group}
	b := s.pending[g]
	if b == nil {
		b = newBatch()
		s.pending[g] = b
	}
	for first := true; first || len(line) > 0; first = false {
		part := line[:min(len(line), maxMessage)]
		line = line[len(part):]
		size := recordHeader + bodyFixed + len(stream) + len(requestID) + len(part)
		// Lines after a dropped one are dropped too until the next flush, so
		// that the note about them stands in the right place.
		if b.dropped > 0 || s.bytes+size > s.cfg.BufferBytes {
			b.dropped++
			b.stream = stream
			continue
		}
		b.records = appendRecord(b.records, t, stream, requestID, part)
		b.count++
		s.bytes += size
	}
	select {
	case s.wake <- struct{}{}:
	default: // it is awake
	}
}

// Flush returns when everything appended before has been written or dropped.
func (s *Store) Flush() {
	ack := make(chan struct{})
	select {
	case s.flush <- ack:
		<-ack
	case <-s.done:
	}
}

// Stop writes what is left, syncs it and ends the store. Lines appended after
// that are dropped. It can still be read.
func (s *Store) Stop() {
	s.mu.Lock()
	already := s.stopped
	s.stopped = true
	s.mu.Unlock()
	if !already {
		close(s.stop)
	}
	<-s.done
}

// run writes batches: at most one flush an interval, and none when idle.
func (s *Store) run() {
	defer close(s.done)
	idle := time.NewTimer(s.cfg.IdleClose)
	defer idle.Stop()
	sweep := time.NewTicker(s.cfg.Sweep)
	defer sweep.Stop()
	for {
		var ack chan struct{}
		var admin func()
		select {
		case <-s.stop:
			s.write()
			s.writer.closeAll()
			return
		case <-idle.C:
			s.writer.closeIdle(time.Now())
			if s.writer.open() > 0 {
				idle.Reset(s.cfg.IdleClose)
			}
			continue
		case <-sweep.C:
			s.sweep()
			continue
		case ack = <-s.flush:
		case admin = <-s.admin:
		case <-s.wake:
			ack, admin = s.gather()
		}
		s.write()
		if admin != nil {
			admin()
		}
		idle.Reset(s.cfg.IdleClose)
		if ack != nil {
			close(ack)
		}
	}
}

// gather lets lines come together for one interval, unless someone waits.
func (s *Store) gather() (ack chan struct{}, admin func()) {
	timer := time.NewTimer(s.cfg.FlushInterval)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.stop:
	case ack = <-s.flush:
	case admin = <-s.admin:
	}
	return ack, admin
}

func (s *Store) write() {
	s.mu.Lock()
	pending := s.pending
	s.pending = make(map[Group]*batch)
	s.bytes = 0
	s.mu.Unlock()
	if len(pending) == 0 {
		return
	}
	now := time.Now()
	for group, b := range pending {
		s.writer.write(group, b, now)
		b.release()
	}
	s.writer.closeIdle(now)
	s.written.raise()
}
