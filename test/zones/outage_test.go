package zones

import (
	"flag"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"hearth/internal/ca"
	azs "hearth/internal/zones"
)

// outage is how long what is broken stays broken, and a third of how long the mutex
// is tried. `make soak` gives the minutes that are promised.
var outage = flag.Duration("outage", 8*time.Second, "how long outages take")

// zones are all of them.
var zones = azs.Zones

// strict has nothing at all go wrong where nothing should. Without it a hiccup is
// forgiven: this machine runs the whole cluster, its clients, and perhaps more, and
// an invoke that waits for a core may look like one that is lost. Two invokes in one
// environment are never forgiven.
var strict = flag.Bool("strict", false, "forgive nothing")

// within says whether so many of all that went wrong are to be forgiven.
func within(wrong, all, percent int) bool {
	return wrong == 0 || !*strict && wrong*100 <= max(all*percent, 100)
}

// unharmed checks that nothing failed and nothing new was started.
func unharmed(t *testing.T, all []seen, at time.Time, known map[string]bool) {
	t.Helper()
	after, failed := report(t, all, at, known)
	fresh := 0
	for env := range after {
		if !known[env] {
			fresh++
		}
	}
	if !within(failed, len(all), 5) {
		t.Errorf("%d of %d invokes failed", failed, len(all))
	}
	if !within(fresh, len(known), 35) {
		t.Errorf("%d environments were started, though others were idle", fresh)
	}
}

func TestEtcdDown(t *testing.T) {
	create(t, "stateless")
	known := warm(t, "stateless", 6)
	all, at := during(t, "stateless", 3, 2*time.Second, *outage, func() {
		for _, zone := range zones {
			order(t, "kill", zone, ca.State)
		}
	})
	unharmed(t, all, at, known)
	for _, zone := range zones {
		order(t, "heal", zone, "")
	}
	// Cold starts wait for it, and go on when it is back.
	for range 5 {
		if len(warm(t, "stateless", 8)) == 8 {
			return
		}
	}
	t.Error("nothing is started after the outage")
}

func TestPauseLeaders(t *testing.T) {
	create(t, "paused")
	known := warm(t, "paused", 6)
	for _, zone := range zones {
		all, at := during(t, "paused", 3, 2*time.Second, *outage, func() { order(t, "pause", zone, ca.Assignment) })
		unharmed(t, all, at, known)
		order(t, "heal", zone, "")
		await(t, "paused", 20)
	}
}

func TestCutZone(t *testing.T) {
	create(t, "cutoff")
	known := warm(t, "cutoff", 12)
	all, at := during(t, "cutoff", 4, 3*time.Second, *outage+10*time.Second, func() { order(t, "cut", "az2", "") })
	after, failed := report(t, all, at, known)
	if over := max(0, len(after)-8); !within(over, 8, 40) {
		t.Errorf("%d environments after the cut, want the 8 of the other zones", len(after))
	}
	if failed > len(all)/5 || *strict && failed > len(all)/50 {
		t.Errorf("%d of %d invokes failed", failed, len(all))
	}
	order(t, "heal", "az2", "")
	await(t, "cutoff", 20)
	// Those that were cut off are there again, soon after their worker is heard. If
	// it is heard later, because the machine is busy, others are started meanwhile:
	// only so many at once as there are then enter all.
	timer := time.NewTimer(5 * time.Second)
	<-timer.C
	var back, fresh int
	for range 3 {
		n := 12 + fresh
		back, fresh = 0, 0
		for env := range warm(t, "cutoff", n) {
			if known[env] {
				back++
			} else {
				fresh++
			}
		}
		if *strict || within(12-back, 12, 20) {
			break
		}
	}
	if !within(12-back, 12, 20) {
		t.Errorf("%d of 12 environments are back", back)
	}
}

func TestRollingRestart(t *testing.T) {
	create(t, "rolling")
	known := warm(t, "rolling", 9)
	// The clients are as AWS made them: they try again.
	stop := loadWith(t, "rolling", 3, 50*time.Millisecond, func() *lambda.Client { return shared.Client() })
	began := time.Now()
	for _, role := range []ca.Role{ca.State, ca.Assignment, ca.Frontend} {
		for _, zone := range zones {
			order(t, "restart", zone, role)
			timer := time.NewTimer(3 * time.Second)
			<-timer.C
		}
	}
	unharmed(t, stop(), began, known)
	// With a worker its environments go.
	stop = loadWith(t, "rolling", 3, 50*time.Millisecond, func() *lambda.Client { return shared.Client() })
	for _, zone := range zones {
		order(t, "restart", zone, ca.Worker)
		timer := time.NewTimer(7 * time.Second)
		<-timer.C
	}
	all := stop()
	if _, failed := report(t, all, began, known); !within(failed, len(all), 5) {
		t.Errorf("%d of %d invokes failed", failed, len(all))
	}
}

// TestLosses: a zone that hears and is not heard, and lines that lose packets.
func TestLosses(t *testing.T) {
	create(t, "losing")
	known := warm(t, "losing", 6)
	for _, o := range []azs.Order{{Out: 100}, {In: 100}, {Out: 3, In: 3}} {
		o.Do, o.Zone = "lose", "az3"
		all, at := during(t, "losing", 3, 2*time.Second, *outage, func() {
			if err := azs.Send(t.Context(), shared.Data, o); err != nil {
				t.Fatal(err)
			}
		})
		if _, failed := report(t, all, at, known); failed > len(all)/4 {
			t.Errorf("%d of %d invokes failed with losses of %d and %d", failed, len(all), o.Out, o.In)
		}
		order(t, "heal", "az3", "")
		await(t, "losing", 20)
	}
}
