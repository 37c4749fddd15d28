package origin

import (
	"errors"
	"slices"
	"testing"

	"hearth/internal/chunk"
	"hearth/internal/chunkstore/disk/disktest"
)

// wantAlarms compares the roots with an alarm.
func wantAlarms(t *testing.T, d *Dir, want ...chunk.Root) {
	t.Helper()
	if got, err := d.Alarms(t.Context()); err != nil || !slices.Equal(got, want) {
		t.Errorf("alarms: %v, %v; want %v", got, err, want)
	}
}

func TestExpire(t *testing.T) {
	on := disktest.New()
	d := mustNew(t, on)
	ref, b := sealed(7, "x")
	put(t, d, ref, b, true)
	if _, err := d.DeleteExpired(t.Context(), 7); !errors.Is(err, ErrAlarm) {
		t.Errorf("deletion of a root that has not expired: %v", err)
	}
	for range 2 {
		if err := d.Expire(t.Context(), 7); err != nil {
			t.Fatal(err)
		}
	}
	wantAlarms(t, d)
	// Another process reads.
	if got := state(t, newDir(on), ref, b); got != "whole" {
		t.Errorf("read of an expired root: %s", got)
	}
	wantAlarms(t, d, 7)
	if got := state(t, d, ref, b); got != "whole" {
		t.Errorf("second read of an expired root: %s", got)
	}
	if freed, err := d.DeleteExpired(t.Context(), 7); !errors.Is(err, ErrAlarm) {
		t.Errorf("deletion of a root with an alarm: %v, %v", freed, err)
	}
	if got := state(t, d, ref, b); got != "whole" {
		t.Errorf("after a refused deletion: %s", got)
	}
	if err := d.Calm(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	wantAlarms(t, d)
	if err := d.Raise(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	wantAlarms(t, d, 7)
	if err := d.Calm(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	if freed, err := d.DeleteExpired(t.Context(), 7); err != nil || freed != (Freed{1, int64(len(b))}) {
		t.Errorf("deletion: %+v, %v", freed, err)
	}
	if freed, err := d.DeleteExpired(t.Context(), 7); err != nil || freed != (Freed{}) {
		t.Errorf("second deletion: %+v, %v", freed, err)
	}
	if got := state(t, d, ref, b); got != "none" {
		t.Errorf("after the deletion: %s", got)
	}
}

// TestExpirePowerCut interrupts each step: a root's chunks are all there or, if
// they were being deleted, none is.
func TestExpirePowerCut(t *testing.T) {
	refs, ciphertexts := some(3)
	steps := []func(d *Dir) error{
		func(d *Dir) error { return d.Expire(t.Context(), 7) },
		func(d *Dir) error { return d.Raise(t.Context(), 7) },
		func(d *Dir) error { return d.Calm(t.Context(), 7) },
		func(d *Dir) error { _, err := d.DeleteExpired(t.Context(), 7); return err },
	}
	for i, step := range steps {
		for at := 1; ; at++ {
			on := disktest.New()
			d := mustNew(t, on)
			if err := putAll(t, d, refs, ciphertexts); err != nil {
				t.Fatal(err)
			}
			for _, before := range steps[:i] {
				if err := before(d); err != nil {
					t.Fatal(err)
				}
			}
			on.FailAt(at, disktest.ErrPowerCut)
			err := step(d)
			struck := on.FailAt(0, nil)
			d = mustNew(t, on.PowerCut())
			there := 0
			for i, ref := range refs {
				if state(t, d, ref, ciphertexts[i]) == "whole" {
					there++
				}
			}
			deletes := i == len(steps)-1
			if there != len(refs) && (!deletes || there != 0) || deletes && err == nil && there != 0 {
				t.Errorf("step %d cut at operation %d (%v): %d chunks are there", i, at, err, there)
			}
			if !struck {
				break
			}
		}
	}
}
