package cache

import (
	"cmp"
	"encoding/binary"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"hearth/internal/chunk"
)

func ref(i int) chunk.Ref {
	r := chunk.Ref{Root: 1}
	binary.BigEndian.PutUint64(r.Name[:], uint64(i))
	return r
}

// model says the same as policy in the plainest way: lists that are searched.
type model struct {
	capacity, window, correlated int64
	ghosts                       int
	fresh, main                  []modelEntry
	evicted                      []modelEntry
	order                        int
}

type modelEntry struct {
	ref                    chunk.Ref
	size                   int64
	last, recent, previous int64
	order                  int
}

func (m *model) touch(e *modelEntry, now int64) {
	if now-e.last > m.correlated {
		e.previous = e.last
		e.recent = now
	}
	e.last = now
}

func (m *model) find(r chunk.Ref) *modelEntry {
	for _, list := range [][]modelEntry{m.fresh, m.main} {
		for i := range list {
			if list[i].ref == r {
				return &list[i]
			}
		}
	}
	return nil
}

func bytesOf(list []modelEntry) (sum int64) {
	for _, e := range list {
		sum += e.size
	}
	return sum
}

func (m *model) reference(r chunk.Ref, size, now int64) {
	if e := m.find(r); e != nil {
		m.touch(e, now)
		return
	}
	if size > m.capacity {
		return
	}
	e := modelEntry{ref: r, size: size, last: now, recent: now, order: m.order}
	m.order++
	if i := slices.IndexFunc(m.evicted, func(g modelEntry) bool { return g.ref == r }); i >= 0 {
		g := m.evicted[i]
		m.evicted = slices.Delete(m.evicted, i, i+1)
		e.last, e.recent, e.previous = g.last, g.recent, g.previous
		m.touch(&e, now)
	}
	m.fresh = append(m.fresh, e)
	for bytesOf(m.fresh) > m.window {
		m.main = append(m.main, m.fresh[0])
		m.fresh = m.fresh[1:]
	}
	for bytesOf(m.fresh)+bytesOf(m.main) > m.capacity {
		if len(m.main) == 0 {
			m.main = append(m.main, m.fresh[0])
			m.fresh = m.fresh[1:]
		}
		slices.SortFunc(m.main, func(a, b modelEntry) int {
			return cmp.Or(cmp.Compare(a.previous, b.previous), cmp.Compare(a.recent, b.recent), cmp.Compare(a.order, b.order))
		})
		m.forget(m.main[0])
		m.main = m.main[1:]
	}
}

func (m *model) forget(e modelEntry) {
	m.evicted = slices.DeleteFunc(m.evicted, func(g modelEntry) bool { return g.ref == e.ref })
	m.evicted = append(m.evicted, e)
	if len(m.evicted) > m.ghosts {
		m.evicted = m.evicted[1:]
	}
}

func (m *model) remove(r chunk.Ref) {
	gone := func(e modelEntry) bool { return e.ref == r }
	if e := m.find(r); e != nil {
		m.forget(*e)
	}
	m.fresh, m.main = slices.DeleteFunc(m.fresh, gone), slices.DeleteFunc(m.main, gone)
}

func (m *model) resident() []chunk.Ref {
	var refs []chunk.Ref
	for _, e := range slices.Concat(m.fresh, m.main) {
		refs = append(refs, e.ref)
	}
	slices.SortFunc(refs, byName)
	return refs
}

func byName(a, b chunk.Ref) int { return slices.Compare(a.Name[:], b.Name[:]) }

func resident(p *policy[int]) []chunk.Ref {
	var refs []chunk.Ref
	for r := range p.entries {
		refs = append(refs, r)
	}
	slices.SortFunc(refs, byName)
	return refs
}

// refer is what a cache does: it looks, and adds what is missing.
func refer(p *policy[int], r chunk.Ref, size, now int64) {
	if p.get(r, now) == nil {
		p.add(r, size, 0, now)
	}
}

func TestPolicyAgainstModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		capacity := rapid.Int64Range(0, 60).Draw(t, "capacity")
		p := newPolicy[int](capacity, 5)
		p.ghosts = rapid.IntRange(0, 8).Draw(t, "ghosts")
		m := &model{capacity: capacity, window: capacity / windowShare, correlated: 5, ghosts: p.ghosts}
		now := int64(1)
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			now += rapid.Int64Range(0, 8).Draw(t, "passed")
			i := rapid.IntRange(0, 20).Draw(t, "chunk")
			size := int64(i%5*3 + 1) // a chunk has always the same size
			if rapid.IntRange(0, 9).Draw(t, "what") == 0 {
				m.remove(ref(i))
				if e := p.entries[ref(i)]; e != nil {
					p.remove(e)
				}
			} else {
				m.reference(ref(i), size, now)
				refer(p, ref(i), size, now)
			}
			if got, want := resident(p), m.resident(); !slices.Equal(got, want) {
				t.Fatalf("resident: %v, want %v", got, want)
			}
			if sum := bytesOf(m.fresh) + bytesOf(m.main); p.bytes != sum || p.bytes > capacity || p.freshBytes != bytesOf(m.fresh) {
				t.Fatalf("%d bytes, want %d, at most %d", p.bytes, sum, capacity)
			}
			if len(p.evicted) != p.evictedList.Len() || len(p.evicted) > p.ghosts || len(p.main)+p.fresh.Len() != len(p.entries) {
				t.Fatal("the lists do not agree")
			}
		}
	})
}

// TestScan: what was referenced twice stays, however much is read once.
func TestScan(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const capacity = 1000
		p := newPolicy[int](capacity, 5)
		hot := rapid.IntRange(1, (capacity-capacity/windowShare)/10).Draw(t, "hot")
		now := int64(1)
		for range 2 {
			for i := range hot {
				refer(p, ref(i), 10, now)
			}
			now += 10
		}
		for i := range rapid.IntRange(0, 1000).Draw(t, "scan") {
			now += rapid.Int64Range(0, 20).Draw(t, "passed")
			for range rapid.IntRange(1, 3).Draw(t, "pieces") { // correlated
				refer(p, ref(1000+i), rapid.Int64Range(1, 15).Draw(t, "size"), now)
			}
		}
		for i := range hot {
			if p.entries[ref(i)] == nil {
				t.Fatalf("%d of %d was evicted", i, hot)
			}
		}
	})
}

// TestHourly: functions that run at the full hour, and together read three
// times what fits, do not push out what is read each minute. Their chunks are
// remembered, so each has been referenced twice from the second hour on.
func TestHourly(t *testing.T) {
	t.Parallel()
	const capacity, hot, hourly, minute = 1000, 80, 300, 60
	p := newPolicy[int](capacity, 30)
	p.ghosts = 1000
	misses := 0
	for now := int64(1); now < 6*60*minute; now += minute {
		for i := range hot {
			if p.entries[ref(i)] == nil {
				misses++
			}
			refer(p, ref(i), 10, now)
		}
		if now/minute%60 == 30 {
			for i := range hourly {
				refer(p, ref(1000+i), 10, now+1)
			}
		}
	}
	if misses != hot {
		t.Errorf("%d misses, want the first %d only", misses, hot)
	}
}

// TestPieces: a chunk is not evicted between two pieces of it although all
// others have been referenced twice.
func TestPieces(t *testing.T) {
	t.Parallel()
	p := newPolicy[int](1000, 5)
	for now := int64(10); now < 40; now += 10 {
		for i := range 100 {
			refer(p, ref(i), 10, now)
		}
	}
	for i := range 10 {
		refer(p, ref(1000+i), 10, 50)
	}
	for i := range 10 {
		if p.get(ref(1000+i), 51) == nil {
			t.Errorf("%d is gone", i)
		}
	}
}
