package journal

import (
	"context"
	"errors"
	"time"
)

// Index numbers the entries of a log, from 1.
type Index uint64

// Term numbers the leaders of a log: a later one has a greater term.
type Term int64

// Entry is what was appended at once.
type Entry struct {
	Index Index
	Term  Term
	Data  []byte
}

// Checkpoint is the state that all entries up to an index have led to, in the
// words of whoever appends.
type Checkpoint struct {
	Index Index
	Data  []byte
}

// Bounds of what a log takes.
const (
	// MaxEntry is the most bytes of an entry.
	MaxEntry = 512 << 10
	// MaxLeader is the most bytes that a leader says of itself.
	MaxLeader = 4 << 10
)

var (
	// ErrDeposed says that another leads, or that nobody does: the term is over.
	ErrDeposed = errors.New("journal: the term is over")
	// ErrUnknown says that nobody knows whether an entry was appended. It is
	// settled by appending the same again, at the same index.
	ErrUnknown = errors.New("journal: it is not known whether the entry was appended")
	// ErrGap says that an index is not the one after the last.
	ErrGap = errors.New("journal: the entry before is missing")
	// ErrTrimmed says that entries are not there any more: begin with the
	// checkpoint.
	ErrTrimmed = errors.New("journal: the entries were trimmed")
	// ErrTooLarge says that something is longer than a log takes.
	ErrTooLarge = errors.New("journal: too long")
)

// Leader is who leads a log.
type Leader struct {
	Term Term
	// Value is what it says of itself: its name.
	Value []byte
}

// Leadership is a term of the caller's.
type Leadership interface {
	Term() Term
	// Lost is closed when the term may be over as far as this process can see;
	// it may be over earlier. The log decides.
	Lost() <-chan struct{}
	// Resign ends the term now, so that another need not wait for it to lapse.
	Resign(ctx context.Context) error
}

// EvictHolder ends the term of a process that is dead, if it leads, so that nobody
// need wait for the term to lapse.
func EvictHolder(ctx context.Context, log Log, name string) error {
	leader, err := log.Leader(ctx)
	if err != nil || leader == nil || string(leader.Value) != name {
		return err
	}
	return log.Evict(ctx, leader.Term)
}

// Log is the log of one partition.
type Log interface {
	// Lead waits until nobody leads, and does. The term lapses when the process
	// has not been heard of for ttl.
	Lead(ctx context.Context, value []byte, ttl time.Duration) (Leadership, error)
	// Leader returns who leads; nil if nobody does.
	Leader(ctx context.Context) (*Leader, error)
	// Evict ends a term, of whoever it is. The caller knows that the leader is no
	// more, and that it need not lapse. A term that is over is no error.
	Evict(ctx context.Context, term Term) error
	// Append writes an entry behind the last one. Doing it again with the same
	// term, index and data is the same as doing it once.
	Append(ctx context.Context, e Entry) error
	// Follow calls do with the entries from an index on: those that are there,
	// and then each as it is appended. It returns when the context ends, do
	// fails, or with ErrTrimmed.
	Follow(ctx context.Context, from Index, do func(Entry) error) error
	// Read returns the entries from an index on that are there now, at least
	// those appended before it was called.
	Read(ctx context.Context, from Index) ([]Entry, error)
	// Save makes a checkpoint, and trims what it covers. An older one than there
	// is changes nothing.
	Save(ctx context.Context, term Term, c Checkpoint) error
	// Checkpoint returns the latest; nil if there is none.
	Checkpoint(ctx context.Context) (*Checkpoint, error)
}
