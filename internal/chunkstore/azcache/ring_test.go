package azcache

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"hearth/internal/chunk"
)

func nodesNamed(names ...string) []*node {
	var nodes []*node
	for _, n := range names {
		nodes = append(nodes, &node{url: n})
	}
	return nodes
}

func manyNodes(n int) []string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("http://10.0.0.%d:9400", i))
	}
	return names
}

func name(i int) chunk.Name {
	ref, _ := sealed(1, i)
	return ref.Name
}

func owner(r *ring, n chunk.Name) string { return r.owners(n, 1, time.Time{})[0].url }

// TestConsistent: a node that goes takes only its own chunks along.
func TestConsistent(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		names := manyNodes(rapid.IntRange(2, 12).Draw(t, "nodes"))
		gone := rapid.SampledFrom(names).Draw(t, "gone")
		before := newRing(nodesNamed(names...))
		after := newRing(nodesNamed(slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == gone })...))
		shuffled := rapid.Permutation(names).Draw(t, "order")
		same := newRing(nodesNamed(shuffled...))
		for i := range 50 {
			n := name(i)
			was, is := owner(before, n), owner(after, n)
			if was != gone && was != is || was == gone && is != before.owners(n, 2, time.Time{})[1].url {
				t.Fatalf("it moved from %s to %s when %s went", was, is, gone)
			}
			if got := owner(same, n); got != was {
				t.Fatalf("in another order, %s owns it, not %s", got, was)
			}
			if all := before.owners(n, 100, time.Time{}); len(all) != len(names) {
				t.Fatalf("%d of %d nodes", len(all), len(names))
			}
		}
	})
}

func TestBalance(t *testing.T) {
	t.Parallel()
	const nodes, chunks = 5, 5000
	r := newRing(nodesNamed(manyNodes(nodes)...))
	count := make(map[string]int)
	for i := range chunks {
		count[owner(r, name(i))]++
	}
	for n, got := range count {
		if got < chunks/nodes*3/4 || got > chunks/nodes*5/4 {
			t.Errorf("%s has %d of %d", n, got, chunks)
		}
	}
}

// TestBoundedLoad: however popular one chunk is, no node gets more than its
// share of requests and a quarter.
func TestBoundedLoad(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		nodes := nodesNamed(manyNodes(rapid.IntRange(1, 10).Draw(t, "nodes"))...)
		r := newRing(nodes)
		for i := range rapid.IntRange(1, 300).Draw(t, "requests") {
			n := r.choose(name(rapid.IntRange(0, 2).Draw(t, "chunk")), nil, time.Time{})
			if n == nil {
				t.Fatalf("request %d found no node", i)
			}
			n.inFlight++
			if limit := max(slack, int(loadFactor*float64(i+1)/float64(len(nodes)))+1); n.inFlight > limit {
				t.Fatalf("a node has %d of %d requests", n.inFlight, i+1)
			}
			if rapid.Bool().Draw(t, "first stays") && i < slack && n != r.owners(name(0), 1, time.Time{})[0] && len(nodes) == 1 {
				t.Fatal("it spilled without need")
			}
		}
	})
}

// TestOut: a node that fails is left alone for longer and longer, and gets one
// request when the time is over.
func TestOut(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	n := &node{}
	for range outAfter - 1 {
		n.failed(now)
	}
	if !n.usable(now) {
		t.Error("left alone too early")
	}
	for _, seconds := range []int{1, 2, 4, 8, 16, 30, 30} {
		wait := time.Duration(seconds) * time.Second
		n.failed(now)
		if n.usable(now) || n.usable(now.Add(wait-1)) {
			t.Errorf("asked within %v", wait)
		}
		now = now.Add(wait)
		if !n.usable(now) {
			t.Errorf("not asked after %v", wait)
		}
		n.inFlight = 1
		if n.usable(now) {
			t.Error("two requests at once to a node in doubt")
		}
		n.inFlight = 0
	}
}

func TestHedger(t *testing.T) {
	t.Parallel()
	h := newHedger(0.1, 5*time.Millisecond)
	if !h.spend() || h.spend() {
		t.Error("one hedge to begin with")
	}
	hedges := 0
	for range 1000 {
		h.request()
		if h.spend() {
			hedges++
		}
	}
	if hedges < 99 || hedges > 100 {
		t.Errorf("%d hedges of 1000", hedges)
	}
	for range 1000 {
		h.request()
	}
	for h.spend() {
		hedges++
	}
	if hedges > 100+maxBudget {
		t.Errorf("saved %d hedges", hedges-100)
	}
	for i := range 160 {
		d := time.Millisecond
		if i%10 == 0 {
			d = time.Second
		}
		h.answered(d)
	}
	if h.delay != 1250*time.Millisecond {
		t.Errorf("a tenth takes a second: hedge after %v", h.delay)
	}
	for range 160 {
		h.answered(time.Microsecond)
	}
	if h.delay != minDelay {
		t.Errorf("hedge after %v", h.delay)
	}
	if none := newHedger(0, 1); none.spend() {
		t.Error("a hedge although there should be none")
	}
}
