package cache

import (
	"cmp"
	"container/heap"
	"container/list"

	"hearth/internal/chunk"
)

// policy decides what is evicted: LRU-2 with an admission window. It does no
// I/O, takes no lock and reads no clock.
//
// LRU-2 (O'Neil, O'Neil and Weikum, "The LRU-K Page Replacement Algorithm For
// Database Disk Buffering", SIGMOD 1993) evicts what has the oldest reference
// but one; what was referenced once has none, and goes first. References within
// the correlated period count as one. The references of what was evicted are
// remembered for a while.
//
// A new entry passes through a window, oldest first, before it takes part: a
// chunk that is read piece by piece must not be gone between two pieces only
// because everything else here has been referenced twice.
type policy[V any] struct {
	capacity   int64 // bytes
	window     int64 // bytes
	correlated int64 // nanoseconds
	ghosts     int   // how many evicted are remembered

	entries     map[chunk.Ref]*entry[V]
	main        byDistance[V]
	fresh       list.List // the window, of *entry[V]
	bytes       int64
	freshBytes  int64
	order       uint64
	evicted     map[chunk.Ref]*list.Element
	evictedList list.List // of ghost
}

// entry is one that is resident.
type entry[V any] struct {
	ref     chunk.Ref
	size    int64
	history history
	order   uint64
	index   int           // in the heap
	fresh   *list.Element // in the window; nil in the heap
	value   V
}

// history is when a chunk was referenced, in nanoseconds since 1970.
type history struct {
	last     int64 // by anybody
	recent   int64 // beginning of the latest period of correlated references
	previous int64 // end of the one before; 0: there was none
}

type ghost struct {
	ref     chunk.Ref
	history history
}

// windowShare is the part of the capacity that is the window.
const windowShare = 10

func newPolicy[V any](capacity, correlated int64) *policy[V] {
	return &policy[V]{
		capacity: capacity, window: capacity / windowShare, correlated: correlated,
		ghosts:  int(2*capacity/chunk.Size) + 64,
		entries: make(map[chunk.Ref]*entry[V]), evicted: make(map[chunk.Ref]*list.Element),
	}
}

// reference notes a reference.
func (h *history) reference(now, correlated int64) {
	if now-h.last > correlated {
		h.previous, h.recent = h.last, now
	}
	h.last = max(h.last, now)
}

// get returns an entry and notes a reference to it.
func (p *policy[V]) get(ref chunk.Ref, now int64) *entry[V] {
	e := p.entries[ref]
	if e == nil {
		return nil
	}
	before := e.history
	e.history.reference(now, p.correlated)
	if e.fresh == nil && (before.recent != e.history.recent || before.previous != e.history.previous) {
		heap.Fix(&p.main, e.index)
	}
	return e
}

// add makes a chunk resident and returns what has to go, which may be the
// chunk itself. One that is resident already, or larger than everything, is
// not added.
func (p *policy[V]) add(ref chunk.Ref, size int64, value V, now int64) (added *entry[V], out []*entry[V]) {
	if p.entries[ref] != nil || size > p.capacity {
		return nil, nil
	}
	e := &entry[V]{ref: ref, size: size, value: value, history: history{last: now, recent: now}, order: p.order}
	p.order++
	if g := p.evicted[ref]; g != nil {
		e.history = g.Value.(ghost).history
		e.history.reference(now, p.correlated)
		p.forget(g)
	}
	p.entries[ref] = e
	p.bytes += size
	e.fresh = p.fresh.PushBack(e)
	p.freshBytes += size
	for p.freshBytes > p.window {
		p.graduate()
	}
	return e, p.shrink()
}

// restore makes a chunk resident with the history it had.
func (p *policy[V]) restore(ref chunk.Ref, size int64, value V, h history) {
	if p.entries[ref] != nil {
		return
	}
	e := &entry[V]{ref: ref, size: size, value: value, history: h, order: p.order}
	p.order++
	p.entries[ref] = e
	p.bytes += size
	heap.Push(&p.main, e)
}

// graduate moves the oldest of the window into the heap.
func (p *policy[V]) graduate() {
	e := p.fresh.Remove(p.fresh.Front()).(*entry[V])
	e.fresh = nil
	p.freshBytes -= e.size
	heap.Push(&p.main, e)
}

// shrink evicts until what is left fits.
func (p *policy[V]) shrink() (out []*entry[V]) {
	for p.bytes > p.capacity {
		if len(p.main) == 0 {
			p.graduate()
		}
		e := p.main[0]
		p.remove(e)
		out = append(out, e)
	}
	return out
}

// remove takes an entry out, and remembers its references.
func (p *policy[V]) remove(e *entry[V]) {
	delete(p.entries, e.ref)
	p.bytes -= e.size
	if e.fresh != nil {
		p.fresh.Remove(e.fresh)
		p.freshBytes -= e.size
	} else {
		heap.Remove(&p.main, e.index)
	}
	p.remember(e.ref, e.history)
}

// remember keeps the history of a chunk that is not resident.
func (p *policy[V]) remember(ref chunk.Ref, h history) {
	if g := p.evicted[ref]; g != nil {
		p.forget(g)
	}
	p.evicted[ref] = p.evictedList.PushBack(ghost{ref, h})
	if p.evictedList.Len() > p.ghosts {
		p.forget(p.evictedList.Front())
	}
}

func (p *policy[V]) forget(g *list.Element) {
	delete(p.evicted, p.evictedList.Remove(g).(ghost).ref)
}

// byDistance is a heap.Interface; first is what is evicted first.
type byDistance[V any] []*entry[V]

func (h byDistance[V]) Len() int { return len(h) }

func (h byDistance[V]) Less(i, j int) bool {
	a, b := h[i], h[j]
	return cmp.Or(cmp.Compare(a.history.previous, b.history.previous),
		cmp.Compare(a.history.recent, b.history.recent), cmp.Compare(a.order, b.order)) < 0
}

func (h byDistance[V]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *byDistance[V]) Push(x any) {
	e := x.(*entry[V])
	e.index = len(*h)
	*h = append(*h, e)
}

func (h *byDistance[V]) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return e
}
