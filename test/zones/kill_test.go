package zones

import (
	"flag"
	"testing"
	"time"

	"hearth/internal/ca"
)

// await waits until so many invokes in a row of a function have succeeded.
func await(t *testing.T, name string, n int) {
	t.Helper()
	c := client()
	deadline := time.Now().Add(2 * time.Minute)
	for good := 0; good < n; {
		if s := invoke(t.Context(), c, name, 0); s.err == nil {
			good++
		} else if good = 0; time.Now().After(deadline) {
			t.Fatal("the cluster does not recover: ", s.err)
		}
	}
}

// during loads a function while something happens, and for some time after.
func during(t *testing.T, name string, clients int, before, after time.Duration, happen func()) (all []seen, at time.Time) {
	t.Helper()
	stop := load(t, name, clients, 50*time.Millisecond)
	timer := time.NewTimer(before)
	<-timer.C
	at = time.Now()
	happen()
	timer.Reset(after)
	<-timer.C
	return stop(), at
}

func report(t *testing.T, all []seen, at time.Time, known map[string]bool) (after map[string]bool, failed int) {
	t.Helper()
	exclusive(t, all)
	after = make(map[string]bool)
	var lastBad, slowest time.Duration
	fresh := 0
	for _, s := range all {
		if s.at.Before(at) {
			continue
		}
		slowest = max(slowest, s.took)
		if s.err != nil {
			lastBad = max(lastBad, s.at.Sub(at)+s.took)
			continue
		}
		if s.at.Sub(at) > 0 && !after[s.Env] {
			after[s.Env] = true
			if !known[s.Env] {
				fresh++
			}
		}
	}
	failed, by := failures(all)
	t.Logf("%d invokes, %d failed; the last failure ended %v after; the slowest took %v; environments after: %d, of which %d new", len(all), failed, lastBad, slowest, len(after), fresh)
	for text, n := range by {
		t.Logf("%d times: %s", n, text)
	}
	return after, failed
}

// plotTo is a file for a picture of what callers see.
var plotTo = flag.String("plot", "", "file for a plot of TestKillZone, as SVG")

func TestKillZone(t *testing.T) {
	create(t, "killed")
	known := warm(t, "killed", 12)
	if len(known) != 12 {
		t.Fatalf("%d environments, want 12", len(known))
	}
	all, at := during(t, "killed", 6, 3*time.Second, 10*time.Second, func() { order(t, "kill", "az1", "") })
	after, failed := report(t, all, at, known)
	if failed > len(all)/5 || *strict && failed > len(all)/50 {
		t.Errorf("%d of %d invokes failed", failed, len(all))
	}
	// Those that were not needed are there, too.
	for env := range warm(t, "killed", 8) {
		after[env] = true
	}
	survivors, fresh := 0, 0
	for env := range after {
		if known[env] {
			survivors++
		} else {
			fresh++
		}
	}
	if survivors > 8 || !within(8-survivors, 8, 30) {
		t.Errorf("%d environments are left, want the 8 of the other zones", survivors)
	}
	if !within(fresh, 8, 40) {
		t.Errorf("%d environments were started, though others were idle", fresh)
	}
	if *plotTo != "" {
		if err := plot(*plotTo, all, at, known, after); err != nil {
			t.Error(err)
		}
	}
	order(t, "heal", "az1", "")
	await(t, "killed", 20)
}

func TestKillLeader(t *testing.T) {
	create(t, "led")
	known := warm(t, "led", 6)
	for _, zone := range []string{"az1", "az2", "az3"} {
		all, at := during(t, "led", 3, 2*time.Second, 5*time.Second, func() { order(t, "kill", zone, ca.Assignment) })
		unharmed(t, all, at, known)
		order(t, "heal", zone, "")
		await(t, "led", 20)
	}
}
