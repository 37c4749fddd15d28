package assignment

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"hearth/internal/environment"
	"hearth/internal/function"
	"hearth/internal/journal"
)

// op is what a record says of an environment.
type op string

const (
	// opIntent comes before the environment is started: nothing runs that the
	// journal does not know.
	opIntent op = "intent"
	// opReady says that it has been started.
	opReady op = "ready"
	// opRemoved says that nothing of it is left.
	opRemoved op = "removed"
)

// Record is what a partition's journal is made of. Format:
// docs/formats/assignment.md.
type Record struct {
	Op     op             `json:"op"`
	ID     environment.ID `json:"id"`
	Intent *Intent        `json:"intent,omitempty"`
}

// Intent is what never changes of an environment.
type Intent struct {
	Key      function.Key         `json:"key"`
	Worker   environment.WorkerID `json:"worker"`
	LeaseEnd time.Time            `json:"leaseEnd"`
	MemoryMB int                  `json:"memoryMB"`
}

// errRecord says that a journal has what this version does not know: an older
// one must not lead.
var errRecord = errors.New("assignment: the journal has a record that this version does not know")

// Encode is what is journaled.
func (r Record) Encode() []byte {
	b, err := json.Marshal(r)
	if err != nil {
		panic(err) // plain data
	}
	return b
}

// IsIntent says that the record is that of an intent.
func (r Record) IsIntent() bool { return r.Op == opIntent }

// DecodeRecord reads what Encode wrote.
func DecodeRecord(b []byte) (r Record, err error) {
	if err := strict(b, &r); err != nil {
		return r, err
	}
	known := r.Op == opReady || r.Op == opRemoved
	if r.ID == "" || (r.Op == opIntent) != (r.Intent != nil) || !known && r.Op != opIntent {
		return r, errRecord
	}
	return r, nil
}

func strict(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%w: %w", errRecord, err)
	}
	if d.More() {
		return errRecord
	}
	return nil
}

// Known is an environment as the journal knows it.
type Known struct {
	ID environment.ID `json:"id"`
	Intent
	Ready bool `json:"ready"`
}

// Replica is what the entries of a partition's journal have led to: its leader
// has it, and so has everybody who could take over.
type Replica struct {
	next journal.Index
	term journal.Term // of the last entry
	envs map[environment.ID]*Known
}

// NewReplica is of an empty journal.
func NewReplica() *Replica {
	return &Replica{next: 1, envs: make(map[environment.ID]*Known)}
}

// Next is the index of the entry that comes next.
func (r *Replica) Next() journal.Index { return r.next }

// Apply takes the next entry.
func (r *Replica) Apply(e journal.Entry) error {
	if e.Index != r.next {
		return fmt.Errorf("assignment: entry %d of the journal where %d comes next", e.Index, r.next)
	}
	for raw, err := range journal.Records(e.Data) {
		if err != nil {
			return err
		}
		record, err := DecodeRecord(raw)
		if err != nil {
			return err
		}
		r.apply(record)
	}
	r.next, r.term = e.Index+1, e.Term
	return nil
}

func (r *Replica) apply(record Record) {
	switch record.Op {
	case opIntent:
		r.envs[record.ID] = &Known{ID: record.ID, Intent: *record.Intent}
	case opReady:
		if e := r.envs[record.ID]; e != nil { // else it was removed meanwhile
			e.Ready = true
		}
	case opRemoved:
		delete(r.envs, record.ID)
	}
}

// Known lists the environments by id.
func (r *Replica) Known() []Known {
	all := make([]Known, 0, len(r.envs))
	for _, e := range r.envs {
		all = append(all, *e)
	}
	slices.SortFunc(all, func(a, b Known) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// Checkpoint is the state after the last entry.
func (r *Replica) Checkpoint() journal.Checkpoint {
	b, err := json.Marshal(r.Known())
	if err != nil {
		panic(err) // plain data
	}
	return journal.Checkpoint{Index: r.next - 1, Data: b}
}

// Restore begins with a checkpoint, unless the replica is beyond it.
func (r *Replica) Restore(c *journal.Checkpoint) error {
	if c == nil || c.Index < r.next {
		return nil
	}
	var all []Known
	if err := strict(c.Data, &all); err != nil {
		return err
	}
	r.envs = make(map[environment.ID]*Known, len(all))
	for _, e := range all {
		r.envs[e.ID] = &e
	}
	r.next = c.Index + 1
	return nil
}
