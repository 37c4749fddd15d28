package azcache

import (
	"slices"
	"time"
)

// hedger says when a second node is asked. It is guarded by Client.mu.
type hedger struct {
	share  float64 // of all requests
	budget float64
	delay  time.Duration
	took   [128]time.Duration // the latest answers
	count  int
}

const (
	// maxBudget is how many hedges may come at once.
	maxBudget = 10
	// quantile of the answers that come before a hedge.
	quantile = 0.95
	minDelay = 500 * time.Microsecond
	// every so many answers the delay is computed anew.
	every = 16
)

func newHedger(share float64, first time.Duration) hedger {
	h := hedger{share: share, delay: first}
	if share > 0 {
		h.budget = 1
	}
	return h
}

// request counts a request, which earns a part of a hedge.
func (h *hedger) request() { h.budget = min(maxBudget, h.budget+h.share) }

// spend says whether there may be a hedge now.
func (h *hedger) spend() bool {
	if h.budget < 1 {
		return false
	}
	h.budget--
	return true
}

// answered notes how long an answer took, or how long one had taken when it
// was given up.
func (h *hedger) answered(d time.Duration) {
	h.took[h.count%len(h.took)] = d
	h.count++
	if h.count%every != 0 {
		return
	}
	sorted := h.took // a copy
	n := min(h.count, len(sorted))
	slices.Sort(sorted[:n])
	late := sorted[int(quantile*float64(n))]
	// A quarter more: where all take about the same, nothing is late.
	h.delay = max(minDelay, late+late/4)
}
