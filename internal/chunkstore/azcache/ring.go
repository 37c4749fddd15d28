package azcache

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"
	"sort"
	"time"

	"hearth/internal/chunk"
)

// ring is consistent hashing: a node that comes or goes moves only the chunks
// that are, or were, its own.
type ring struct {
	points []point
	nodes  []*node
}

type point struct {
	at   uint64
	node int
}

// pointsPerNode makes the largest share of three nodes about a tenth larger
// than a third.
const pointsPerNode = 256

func newRing(nodes []*node) *ring {
	r := &ring{nodes: nodes}
	for i, n := range nodes {
		for j := range pointsPerNode {
			sum := sha256.Sum256(fmt.Appendf(nil, "%s#%d", n.url, j))
			r.points = append(r.points, point{binary.BigEndian.Uint64(sum[:]), i})
		}
	}
	slices.SortFunc(r.points, func(a, b point) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.node, b.node)) })
	return r
}

// from yields all nodes in the order in which they are to be asked for a chunk.
// A chunk's name is a hash already.
func (r *ring) from(name chunk.Name) iter.Seq[*node] {
	return func(yield func(*node) bool) {
		at := binary.BigEndian.Uint64(name[:])
		start := sort.Search(len(r.points), func(i int) bool { return r.points[i].at >= at })
		seen := make([]bool, len(r.nodes))
		for i, left := 0, len(r.nodes); i < len(r.points) && left > 0; i++ {
			n := r.points[(start+i)%len(r.points)].node
			if seen[n] {
				continue
			}
			seen[n] = true
			left--
			if !yield(r.nodes[n]) {
				return
			}
		}
	}
}

// node is a cache node as a client sees it. Its fields are guarded by Client.mu.
type node struct {
	url      string
	inFlight int
	failures int // one after the other
	until    time.Time
}

const (
	// outAfter failures one after the other a node is left alone.
	outAfter = 3
	// A node is left alone for minOut, and twice as long each time it fails
	// again, up to maxOut.
	minOut = time.Second
	maxOut = 30 * time.Second
)

// usable says whether a node may be asked. One that was left alone for a while
// gets one request, on which it depends what comes next.
func (n *node) usable(now time.Time) bool {
	return n.failures < outAfter || !now.Before(n.until) && n.inFlight == 0
}

func (n *node) failed(now time.Time) {
	n.failures++
	if n.failures >= outAfter {
		n.until = now.Add(min(maxOut, minOut<<min(n.failures-outAfter, 10)))
	}
}

// Bounded load: no node gets more than a quarter more than its share of the
// requests in flight. Below slack requests nobody is overloaded: they would go
// to nodes that do not have the chunk.
const (
	loadFactor = 1.25
	slack      = 8
)

// choose returns the first usable node for a chunk that has room, except one.
func (r *ring) choose(name chunk.Name, except *node, now time.Time) *node {
	total, usable := 1, 0
	for _, n := range r.nodes {
		total += n.inFlight
		if n.usable(now) {
			usable++
		}
	}
	if usable == 0 {
		return nil
	}
	limit := max(slack, int(loadFactor*float64(total)/float64(usable))+1)
	for n := range r.from(name) {
		if n != except && n.usable(now) && n.inFlight < limit {
			return n
		}
	}
	return nil
}

// owners returns the first usable nodes for a chunk: where it is kept.
func (r *ring) owners(name chunk.Name, count int, now time.Time) []*node {
	var found []*node
	for n := range r.from(name) {
		if len(found) == count {
			break
		}
		if n.usable(now) {
			found = append(found, n)
		}
	}
	return found
}
