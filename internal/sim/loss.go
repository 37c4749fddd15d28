package sim

import (
	"time"

	"hearth/internal/environment"
)

// Loss is what the loss of a zone costs.
type Loss struct {
	// Before are the environments that there were, Zone those of them that ran
	// in the zone, Lost those that nobody can use any more, and Orphans those of
	// the lost ones that run on in another zone.
	Before, Zone, Lost, Orphans int
	// ColdBefore and ColdAfter are environments started in the minute before and
	// the minute after.
	ColdBefore, ColdAfter int
	// Silence is the longest time after the loss in which no invoke ended well.
	Silence time.Duration
}

// settling is how long a cluster is given after a loss until it is counted what
// is left: the leaders of the zone lapse, and others take over.
const settling = time.Minute

// LoseZone lets a cluster warm up, and ends one of its zones for good.
func LoseZone(cfg Config) (Loss, error) {
	cfg.fill()
	w := build(cfg)
	w.run(4 * time.Minute)
	cold := w.starts
	w.run(settling)
	loss := Loss{ColdBefore: w.starts - cold}
	const zone = 1
	zoneOf := make(map[environment.ID]int)
	for _, id := range w.workerIDs {
		for _, e := range w.workers[id].sorted() {
			if !e.starting {
				zoneOf[e.id] = w.workers[id].az
			}
		}
	}
	loss.Before = len(zoneOf)
	for _, p := range w.processes() {
		if p.az == zone {
			p.crash()
		}
	}
	cold, w.lastOK, w.silence = w.starts, w.now, 0
	w.run(settling)
	loss.ColdAfter, loss.Silence = w.starts-cold, w.silence
	owned := make(map[environment.ID]bool)
	for p := range w.cfg.Partitions {
		if h := w.leader(p); h != nil && h.up {
			for _, e := range h.members[p].partition.Environments(nil) {
				owned[e.ID] = true
			}
		}
	}
	for id, az := range zoneOf {
		switch {
		case az == zone:
			loss.Zone++
			loss.Lost++
		case !owned[id] && w.runs(id):
			loss.Orphans++
			loss.Lost++
		}
	}
	return loss, w.bad
}

// runs says whether an environment is at a worker.
func (w *World) runs(id environment.ID) bool {
	for _, worker := range w.workers {
		if worker.up && worker.envs[id] != nil {
			return true
		}
	}
	return false
}
