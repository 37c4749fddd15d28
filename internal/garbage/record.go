package garbage

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"hearth/internal/chunk"
)

// State is how far a root is. One that is deleted is in no record any more.
type State string

// The states of roots, in their order.
const (
	Active  State = "active"
	Retired State = "retired"
	Expired State = "expired"
)

// Root is a root and since when it is in its state.
type Root struct {
	ID    chunk.Root `json:"id"`
	State State      `json:"state"`
	Since time.Time  `json:"since"`
}

// firstRoot is the root of a Hearth that has not collected anything yet, also
// of those that could not.
const firstRoot chunk.Root = 1

// record is what is known of roots.
type record struct {
	// Next is the number of the next root.
	Next  chunk.Root `json:"next"`
	Roots []Root     `json:"roots"`
}

const recordVersion = 1

type envelope struct {
	Version int     `json:"version"`
	Record  *record `json:"record"`
}

func (r *record) encode() ([]byte, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	return json.Marshal(envelope{recordVersion, r})
}

func decode(b []byte) (*record, error) {
	var e envelope
	if err := json.Unmarshal(b, &e); err != nil {
		return nil, fmt.Errorf("garbage: record of roots: %w", err)
	}
	if e.Version != recordVersion || e.Record == nil {
		return nil, fmt.Errorf("garbage: record of roots: version %d is not known here, only %d", e.Version, recordVersion)
	}
	return e.Record, e.Record.check()
}

func (r *record) check() error {
	active := 0
	seen := make(map[chunk.Root]bool)
	for _, root := range r.Roots {
		switch root.State {
		case Active:
			active++
		case Retired, Expired:
		default:
			return fmt.Errorf("garbage: record of roots: state %q is not known here", root.State)
		}
		if seen[root.ID] || root.ID == 0 || root.ID >= r.Next {
			return fmt.Errorf("garbage: record of roots: root %s is there twice, or is not below the next, %s", root.ID, r.Next)
		}
		seen[root.ID] = true
	}
	if active != 1 {
		return fmt.Errorf("garbage: record of roots: %d roots are active, want one", active)
	}
	return nil
}

func (r *record) clone() *record { return &record{r.Next, slices.Clone(r.Roots)} }

// active returns the root that builds write to.
func (r *record) active() Root {
	return r.Roots[slices.IndexFunc(r.Roots, func(root Root) bool { return root.State == Active })]
}

// in lists the roots in a state.
func (r *record) in(state State) []Root {
	return slices.DeleteFunc(slices.Clone(r.Roots), func(root Root) bool { return root.State != state })
}

// errUnknownRoot is of a change of a root that the record does not have.
var errUnknownRoot = errors.New("garbage: the root is in no record")

// set puts a root in a state.
func (r *record) set(id chunk.Root, state State, now time.Time) error {
	for i := range r.Roots {
		if r.Roots[i].ID == id {
			r.Roots[i].State, r.Roots[i].Since = state, now
			return nil
		}
	}
	return fmt.Errorf("%w: %s", errUnknownRoot, id)
}

// rotate retires the active root and makes a new one.
func (r *record) rotate(now time.Time) error {
	if err := r.set(r.active().ID, Retired, now); err != nil {
		return err
	}
	r.Roots = append(r.Roots, Root{r.Next, Active, now})
	r.Next++
	return nil
}

// adopt takes up a root that is in the store of chunks and in no record, as
// after a restore of an older record.
func (r *record) adopt(id chunk.Root, state State, now time.Time) {
	if slices.ContainsFunc(r.Roots, func(root Root) bool { return root.ID == id }) {
		return
	}
	r.Roots = append(r.Roots, Root{id, state, now})
	r.Next = max(r.Next, id+1)
}

// remove forgets a root that is deleted.
func (r *record) remove(id chunk.Root) {
	r.Roots = slices.DeleteFunc(r.Roots, func(root Root) bool { return root.ID == id })
}
