package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"hearth/internal/environment"
	"hearth/internal/function"
)

func TestObey(t *testing.T) {
	var known terms
	for i, step := range []struct {
		partition int
		epoch     uint64
		obeyed    bool
	}{{1, 5, true}, {1, 5, true}, {1, 4, false}, {2, 1, true}, {1, 9, true}, {1, 5, false}, {2, 1, true}} {
		if got := known.obey(step.partition, step.epoch); got != step.obeyed {
			t.Errorf("step %d: epoch %d of partition %d: obeyed is %v", i, step.epoch, step.partition, got)
		}
	}
}

// TestList: a new leader hears of what there is, and who led before is obeyed no
// more: neither a lease nor a start of theirs.
func TestList(t *testing.T) {
	w := &Worker{ctx: t.Context()}
	rec := &function.Record{UID: "f", Generation: 2, Serving: &function.Config{MemorySize: 128}}
	put := func(id environment.ID, partition int, s state) {
		w.envs.Store(id, &env{w: w, start: &environment.Start{ID: id, Partition: partition, Record: rec}, state: s, epoch: 3, seq: 7})
	}
	put("idle", 1, idle)
	put("busy", 1, busy)
	put("other", 2, idle)
	_, end, err := w.startings.begin(t.Context(), &environment.Start{ID: "starting", Partition: 1, Record: rec})
	if err != nil {
		t.Fatal(err)
	}
	defer end()
	got, err := w.List(t.Context(), 1, 4)
	said := make(map[environment.ID]environment.Report)
	for _, r := range got {
		said[r.ID] = r
	}
	key := rec.Key()
	want := map[environment.ID]environment.Report{
		"idle":     {ID: "idle", Key: key, Epoch: 3, Seq: 7},
		"busy":     {ID: "busy", Key: key, Busy: true, Epoch: 3, Seq: 7},
		"starting": {ID: "starting", Key: key, Starting: true},
	}
	for id, r := range want {
		if said[id] != r {
			t.Errorf("%s: got %+v, want %+v", id, said[id], r)
		}
	}
	if err != nil || len(got) != len(want) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := w.List(t.Context(), 1, 3); !errors.Is(err, environment.ErrStale) {
		t.Errorf("an older leader's list: %v", err)
	}
	if _, err := w.Start(t.Context(), &environment.Start{ID: "new", Partition: 1, Epoch: 3, Record: rec}); !errors.Is(err, environment.ErrStale) {
		t.Errorf("an older leader's start: %v", err)
	}
	for _, step := range []struct {
		lease environment.Lease
		err   error
	}{
		{environment.Lease{ID: "idle", Partition: 1, Epoch: 3}, environment.ErrStale},
		{environment.Lease{ID: "busy", Partition: 1, Epoch: 4}, environment.ErrBusy},
		{environment.Lease{ID: "none", Partition: 1, Epoch: 4}, environment.ErrGone},
		{environment.Lease{ID: "other", Partition: 2, Epoch: 1}, nil},
		{environment.Lease{ID: "other", Partition: 2, Epoch: 1}, environment.ErrBusy},
	} {
		if _, err := w.accept(t.Context(), step.lease); !errors.Is(err, step.err) || (err == nil) != (step.err == nil) {
			t.Errorf("%+v: got %v, want %v", step.lease, err, step.err)
		}
	}
	promised := w.Promised()
	if len(promised) != 4 || promised["starting"] != (environment.Promise{Function: "f", MemoryMB: 128}) {
		t.Errorf("promised: %+v", promised)
	}
}

// TestCallOff: stopping what is being started ends the start first.
func TestCallOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s startings
		st := &environment.Start{ID: "e", Record: new(function.Record)}
		ctx, end, err := s.begin(t.Context(), st)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.begin(t.Context(), st); !errors.Is(err, errTwice) {
			t.Errorf("twice: %v", err)
		}
		var ended time.Time
		go func() {
			<-ctx.Done()
			<-time.After(time.Minute) // it takes its time
			ended = time.Now()
			end()
		}()
		s.callOff("e")
		if ended.IsZero() || !errors.Is(context.Cause(ctx), errCalled) {
			t.Errorf("the start has not ended: %v", context.Cause(ctx))
		}
		s.callOff("e") // it is gone
	})
}

// lostOnes are the environments that were reported as lost.
type lostOnes struct {
	outcomes
	ids chan environment.ID
}

func (l lostOnes) Lost(_ string, id environment.ID) { l.ids <- id }

// TestOverstay: an idle environment that nobody ends ends by itself.
func TestOverstay(t *testing.T) {
	lost := lostOnes{ids: make(chan environment.ID, 9)}
	w := &Worker{ctx: t.Context(), cfg: Config{Reporter: lost}}
	now := time.Now()
	rec := &function.Record{Serving: &function.Config{}}
	put := func(id environment.ID, end time.Time, s state) {
		w.envs.Store(id, &env{w: w, start: &environment.Start{ID: id, Record: rec, LeaseEnd: end}, state: s, ended: make(chan struct{})})
	}
	put("over", now.Add(-2*time.Minute), idle)
	put("busy", now.Add(-2*time.Minute), busy)
	put("leaders", now.Add(-time.Second), idle)
	put("young", now.Add(time.Hour), idle)
	w.expire(now)
	w.wg.Wait()
	if id := <-lost.ids; id != "over" || len(lost.ids) > 0 || w.Environments() != 3 {
		t.Errorf("%s was lost, and %d more; %d are left", id, len(lost.ids), w.Environments())
	}
}
