package sim

import (
	"flag"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

var (
	seed  = flag.Uint64("seed", 0, "run this seed only")
	seeds = flag.Uint64("seeds", 40, "run so many seeds")
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
			out, err := Run(Config{Seed: s, Chaos: *chaos})
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
