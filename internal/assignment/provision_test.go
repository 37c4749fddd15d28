package assignment

import (
	"testing"
	"testing/synctest"
	"time"

	"hearth/internal/environment"
	"hearth/internal/function"
)

// provisioned is a function with a version, of which n environments are to be
// ready under an alias.
func provisioned(n int) (fn, version *function.Record) {
	version = record("v", 1)
	version.Name, version.Version, version.State = "f", "1", function.Active
	fn = record("f", 1)
	fn.Name = "f"
	fn.Aliases = map[string]*function.Alias{"live": {Name: "live", Version: "1"}}
	fn.Provisioned = map[string]*function.Provisioned{"live": {Requested: n}}
	return fn, version
}

func wantProvisioned(t *testing.T, r rig, v *function.Record, allocated, available int, failure string) {
	t.Helper()
	a, b, why := r.Provisioned(v)
	if a != allocated || b != available || why != failure {
		t.Errorf("provisioned: %d allocated, %d available, %q; want %d, %d, %q", a, b, why, allocated, available, failure)
	}
}

// TestProvisioned keeps three environments ready: no invoke of three at once
// is cold, the fourth is, and no idle time ends the three.
func TestProvisioned(t *testing.T) {
	fn, v := provisioned(3)
	run(t, Config{Functions: functions{"f": fn, "f:1": v}, Tuning: Tuning{IdleTimeout: time.Minute}}, 4096, func(r rig) {
		r.Changed(nil, fn)
		wantProvisioned(t, r, v, 0, 0, "")
		wait(2 * time.Second)
		wantProvisioned(t, r, v, 3, 3, "")

		var leases []environment.Lease
		for range 3 {
			l := r.acquire(v)
			if l.Cold != nil {
				t.Error("a cold start within what is provisioned")
			}
			leases = append(leases, l)
		}
		wantProvisioned(t, r, v, 3, 0, "")
		spill := r.acquire(v)
		if spill.Cold == nil {
			t.Error("no cold start beyond what is provisioned")
		}
		if r.worker.provisioned != 3 {
			t.Errorf("%d starts were for provisioned concurrency, want 3", r.worker.provisioned)
		}
		for _, l := range append(leases, spill) {
			r.InvokeDone(l, 0, nil)
		}
		wait(5 * time.Minute)
		synctest.Wait()
		if n := r.worker.count(); n != 3 {
			t.Errorf("%d environments after the idle time, want 3", n)
		}

		less := fn.Clone()
		less.Provisioned = nil
		r.cfg.Functions.(functions)["f"] = less
		r.Changed(fn, less)
		wait(5 * time.Minute)
		if n := r.worker.count(); n != 0 {
			t.Errorf("%d environments when none is provisioned any more", n)
		}
	})
}

// TestProvisionedAreReplaced looks at them all day: some end, others are ready
// before that.
func TestProvisionedAreReplaced(t *testing.T) {
	fn, v := provisioned(2)
	run(t, Config{Functions: functions{"f": fn, "f:1": v}}, 4096, func(r rig) {
		r.Changed(nil, fn)
		wait(2 * time.Second)
		for range 24 * 60 {
			if _, available, _ := r.Provisioned(v); available != 2 {
				t.Fatalf("%d environments are available", available)
			}
			wait(time.Minute)
		}
		synctest.Wait()
		if r.worker.starts < 40 {
			t.Errorf("%d starts in a day with leases of an hour", r.worker.starts)
		}
	})
}

// TestProvisionedFollows has the alias move and the version be published late.
func TestProvisionedFollows(t *testing.T) {
	fn, one := provisioned(1)
	two := record("v2", 0)
	two.Name, two.Version, two.State, two.Serving = "f", "2", function.Pending, nil
	all := functions{"f": fn, "f:1": one, "f:2": two}
	run(t, Config{Functions: all, Tuning: Tuning{IdleTimeout: time.Minute}}, 4096, func(r rig) {
		r.Changed(nil, fn)
		wait(2 * time.Second)
		moved := fn.Clone()
		moved.Aliases["live"].Version = "2"
		all["f"] = moved
		r.Changed(fn, moved)
		wait(2 * time.Second)
		wantProvisioned(t, r, one, 0, 0, "")
		wantProvisioned(t, r, two, 0, 0, "")
		ready := two.Clone()
		ready.State, ready.Serving, ready.Generation = function.Active, &function.Config{MemorySize: 128}, 1
		all["f:2"] = ready
		r.Changed(two, ready)
		wait(2 * time.Second)
		wantProvisioned(t, r, ready, 1, 1, "")
		delete(all, "f:2")
		r.Changed(ready, nil)
		wait(2 * time.Minute)
		if n := r.worker.count(); n != 0 {
			t.Errorf("%d environments are left", n)
		}
	})
}

func TestProvisionedFails(t *testing.T) {
	fn, v := provisioned(1)
	run(t, Config{Functions: functions{"f": fn, "f:1": v}}, 4096, func(r rig) {
		r.worker.initFails = true
		r.Changed(nil, fn)
		wait(2 * time.Second)
		wantProvisioned(t, r, v, 0, 0, initFailed)
		if starts := r.worker.starts; starts > 2 {
			t.Errorf("%d starts of a function that does not initialise", starts)
		}
		r.worker.mu.Lock()
		r.worker.initFails = false
		r.worker.mu.Unlock()
		wait(20 * time.Second)
		wantProvisioned(t, r, v, 1, 1, "")
	})
	run(t, Config{Functions: functions{"f": fn, "f:1": v}}, 64, func(r rig) {
		r.Changed(nil, fn)
		wait(2 * time.Second)
		wantProvisioned(t, r, v, 0, 0, "No worker has room for more environments. Give Hearth more memory, or provision less.")
	})
}
