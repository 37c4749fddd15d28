package sim

import (
	"flag"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

var (
	seed  = flag.Uint64("seed", 0, "run this seed only")
	seeds = flag.Uint64("seeds", 12, "run so many seeds")
	chaos = flag.Duration("chaos", 10*time.Minute, "simulated time of bad luck for each seed")
)

func (o *Outcome) add(more Outcome) {
	o.Simulated += more.Simulated
	o.OK += more.OK
	o.Throttled += more.Throttled
	o.Unknown += more.Unknown
	o.Failed += more.Failed
	o.Starts += more.Starts
}

// clusterOf is the cluster of a seed: small and large, with and without room.
func clusterOf(seed uint64) Config {
	dice := rand.New(rand.NewPCG(seed, 2))
	return Config{
		Seed: seed, Chaos: *chaos,
		Workers: 1 + dice.IntN(3), Partitions: 1 + dice.IntN(4), Functions: 1 + dice.IntN(8), Frontends: 1 + dice.IntN(2),
		CapacityMB: 512 << dice.IntN(4), Lease: time.Duration(3+dice.IntN(30)) * time.Minute,
		Every: time.Duration(200+dice.IntN(4000)) * time.Millisecond, Term: time.Duration(1+dice.IntN(5)) * time.Second,
	}
}

// TestSeeds runs seed after seed. A seed that fails is run again by
// -seed N.
func TestSeeds(t *testing.T) {
	first, last := uint64(1), *seeds
	if *seed != 0 {
		first, last = *seed, *seed
	}
	var mu sync.Mutex
	var sum Outcome
	var runs errgroup.Group
	runs.SetLimit(runtime.GOMAXPROCS(0))
	for s := first; s <= last; s++ {
		runs.Go(func() error {
			out, err := Run(clusterOf(s))
			mu.Lock()
			defer mu.Unlock()
			sum.add(out)
			if out.Simulated > time.Hour {
				t.Logf("seed %d: %+v", s, sum)
			}
			return err
		})
	}
	if err := runs.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", sum)
	if sum.OK == 0 || sum.Starts == 0 {
		t.Error("nothing has happened")
	}
}

// TestPlanted: each bug that is planted is found.
func TestPlanted(t *testing.T) {
	for name, bug := range map[string]Bug{"stale appends": BugStaleAppends, "orphans": BugOrphans, "early start": BugEarlyStart, "two invokes": BugTwoInvokes} {
		found := uint64(0)
		for s := uint64(1); s <= 50 && found == 0; s++ {
			if _, err := Run(Config{Seed: s, Bug: bug}); err != nil {
				found = s
			}
		}
		if found == 0 {
			t.Errorf("%s: 50 seeds have not found it", name)
			continue
		}
		_, err := Run(Config{Seed: found, Bug: bug})
		_, again := Run(Config{Seed: found, Bug: bug})
		if err == nil || again == nil || err.Error() != again.Error() {
			t.Errorf("%s: seed %d found it in two ways:\n%v\n\n%v", name, found, err, again)
		}
		t.Logf("%s: found by seed %d: %s", name, found, strings.SplitN(err.Error(), "\n", 2)[0])
	}
}

// TestZoneLoss: of what ran in the two zones that are left, everything is used
// again. With owners that nobody takes over from it is not: those of the lost
// zone had as much in the others.
func TestZoneLoss(t *testing.T) {
	var sum, managers Loss
	for s := uint64(1); s <= 4; s++ {
		for _, c := range []struct {
			cfg  Config
			into *Loss
		}{{Config{Seed: s}, &sum}, {Config{Seed: s, Managers: true}, &managers}} {
			c.cfg.Functions, c.cfg.Workers, c.cfg.CapacityMB = 20, 4, 16<<10
			c.cfg.Every, c.cfg.Lease = 100*time.Millisecond, time.Hour
			loss, err := LoseZone(c.cfg)
			if err != nil {
				t.Fatal(err)
			}
			c.into.add(loss)
		}
	}
	t.Logf("assignment: %+v, worker managers: %+v", sum, managers)
	if sum.Orphans != 0 || sum.Lost != sum.Zone {
		t.Errorf("assignment lost %d environments, of which %d were in the zone and %d are orphans", sum.Lost, sum.Zone, sum.Orphans)
	}
	if share := float64(managers.Lost) / float64(managers.Before); share < 0.45 || share > 0.65 {
		t.Errorf("worker managers lost %.0f %% of environments, want about 5/9", 100*share)
	}
}

func (l *Loss) add(more Loss) {
	l.Before += more.Before
	l.Zone += more.Zone
	l.Lost += more.Lost
	l.Orphans += more.Orphans
	l.ColdBefore += more.ColdBefore
	l.ColdAfter += more.ColdAfter
	l.Silence = max(l.Silence, more.Silence)
}
