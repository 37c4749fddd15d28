package counting

import (
	"maps"
	"sync"
)

// Shadow is what a process keeps of the ledgers of leaders: a leader has rows kept
// by a majority, and whoever leads next asks one. It is in memory: whoever has
// been restarted has nothing until a leader has told it everything.
type Shadow struct {
	mu         sync.Mutex
	partitions map[int]*shade
}

type shade struct {
	epoch uint64 // no lower one is heeded
	// whole says that the leader of an epoch has told everything.
	whole bool
	rows  map[rowKey]Row
}

type rowKey struct {
	pool  string
	front Front
}

// NewShadow makes an empty one.
func NewShadow() *Shadow { return &Shadow{partitions: make(map[int]*shade)} }

func (s *Shadow) shade(partition int) *shade {
	p := s.partitions[partition]
	if p == nil {
		p = &shade{rows: make(map[rowKey]Row)}
		s.partitions[partition] = p
	}
	return p
}

// Promise heeds no lower epoch from now on, and returns what is known; whole says
// that it was told everything in an earlier term. Not ok means that a higher one
// was promised.
func (s *Shadow) Promise(partition int, epoch uint64) (rows []Row, whole, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.shade(partition)
	if epoch < p.epoch {
		return nil, false, false
	}
	p.epoch = epoch
	for _, r := range p.rows {
		rows = append(rows, r)
	}
	return rows, p.whole, true
}

// Keep keeps rows of the leader of an epoch. With all, there are no others with
// numbers up to upto.
func (s *Shadow) Keep(partition int, epoch uint64, rows []Row, all bool, upto uint64) (ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.shade(partition)
	if epoch < p.epoch {
		return false
	}
	p.epoch = epoch
	if all {
		maps.DeleteFunc(p.rows, func(_ rowKey, r Row) bool { return !newer(r, Row{Epoch: epoch, Seq: upto}) })
		p.whole = true
	}
	for _, r := range rows {
		k := rowKey{r.Pool, r.Front}
		if old, there := p.rows[k]; there && !newer(r, old) {
			continue
		}
		p.rows[k] = r
	}
	return true
}

func newer(a, b Row) bool { return a.Epoch > b.Epoch || a.Epoch == b.Epoch && a.Seq > b.Seq }

// Merge takes the newest of rows that several have kept.
func Merge(lists ...[]Row) []Row {
	newest := make(map[rowKey]Row)
	for _, rows := range lists {
		for _, r := range rows {
			k := rowKey{r.Pool, r.Front}
			if old, there := newest[k]; !there || newer(r, old) {
				newest[k] = r
			}
		}
	}
	var all []Row
	for _, r := range newest {
		if r.Units > 0 {
			all = append(all, r)
		}
	}
	return all
}
