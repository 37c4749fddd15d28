package origin

import (
	"errors"
	"slices"
	"testing"

	"hearth/internal/chunk"
	"hearth/internal/chunkstore/disk/disktest"
)

// wantAlarms compares the roots with an alarm.
func wantAlarms(t *testing.T, d Origin, want ...chunk.Root) {
	t.Helper()
	if got, err := d.Alarms(t.Context()); err != nil || !slices.Equal(got, want) {
		t.Errorf("alarms: %v, %v; want %v", got, err, want)
	}
}

func TestExpire(t *testing.T) {
	on := disktest.New()
	testExpire(t, mustNew(t, on), newDir(on))
}

// noticed returns when reads have raised what alarms they raise.
func noticed(o Origin) {
	if s, ok := o.(*S3); ok {
		s.watch.running.Wait()
	}
}

// testExpire has a root expire, be read, and be deleted. other is the same
// origin in another process.
func testExpire(t *testing.T, d, other Origin) {
	t.Helper()
	ref, b := sealed(7, "x")
	batch := d.NewBatch()
	defer batch.Close()
	put(t, batch, ref, b, true)
	if err := batch.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
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
	if got := state(t, other, ref, b); got != "whole" {
		t.Errorf("read of an expired root: %s", got)
	}
	noticed(other)
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
	noticed(d)
	if err := d.Calm(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	wantAlarms(t, d)
	// What a cache has is in use all the same.
	other.Touch(7)
	noticed(other)
	wantAlarms(t, d, 7)
	if err := d.Calm(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	if roots, err := d.Roots(t.Context()); err != nil || len(roots) != 0 {
		t.Errorf("roots %v, %v", roots, err)
	}
	if roots, err := d.Expired(t.Context()); err != nil || !slices.Equal(roots, []chunk.Root{7}) {
		t.Errorf("expired %v, %v", roots, err)
	}
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
	noticed(d)
	if roots, err := d.Expired(t.Context()); err != nil || len(roots) != 0 {
		t.Errorf("expired %v, %v", roots, err)
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
