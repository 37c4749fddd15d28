package garbage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"hearth/internal/chunk"
	"hearth/internal/chunkstore/origin"
)

// Options are of one cycle.
type Options struct {
	// Rotate begins a new root though that is not due.
	Rotate bool `json:"Rotate,omitempty"`
	// GoOn takes back all alarms first. The roots that they are of have to be
	// expired as long again before they are deleted.
	GoOn bool `json:"GoOn,omitempty"`

	// patient is of cycles that nobody has asked for: no root is begun for next to
	// no garbage, and volumes that could not be moved are left alone for a while.
	patient bool
}

// Report says what a cycle has done.
type Report struct {
	// Roots are those that are there now.
	Roots []Root
	// Alarms are of roots that were read after they had expired: nothing is
	// deleted before an operator goes on.
	Alarms []chunk.Root
	Done
	// Unmoved are the volumes that could not be moved, or are left alone since
	// they could not.
	Unmoved int
}

// Done counts what was done.
type Done struct {
	// Moved is how many volumes were built anew in the active root, and
	// MovedBytes what that has stored.
	Moved      int
	MovedBytes int64
	// Mended is how many volumes were made anew because their chunks were gone.
	Mended int
	// Deleted is how many roots were deleted, Chunks and Bytes what was freed.
	Deleted int
	Chunks  int
	Bytes   int64
}

// Totals count since the service was opened.
type Totals struct {
	Done
	// Cycles is how many cycles ran, Failed how many of them to no end, and
	// Alarmed how many found an alarm.
	Cycles, Failed, Alarmed int
}

// Totals returns the counters.
func (s *Service) Totals() Totals {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.totals
}

// errNotStarted is of a cycle before Start.
var errNotStarted = errors.New("garbage: nothing is collected before the start is over")

// Collect runs a cycle now, or after the one that runs. Who leaves does not end
// it: half of a root would stay to be deleted at the next start. The report is
// of what was done also if there is an error.
func (s *Service) Collect(ctx context.Context, o Options) (*Report, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-s.ctx.Done():
	}
	if s.ctx.Err() != nil {
		return nil, context.Cause(s.ctx)
	}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(errStopped) })()
	if s.volumes == nil {
		return nil, errNotStarted
	}
	r := &Report{}
	err := s.cycle(ctx, o, r)
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Roots = slices.Clone(s.record.Roots)
	s.totals.add(r, err)
	return r, err
}

func (t *Totals) add(r *Report, err error) {
	t.Cycles++
	if err != nil {
		t.Failed++
	}
	if len(r.Alarms) > 0 {
		t.Alarmed++
	}
	t.Moved += r.Moved
	t.Mended += r.Mended
	t.MovedBytes += r.MovedBytes
	t.Deleted += r.Deleted
	t.Chunks += r.Chunks
	t.Bytes += r.Bytes
}

// cycle does what is due of every step. A failed step ends it, but for moves.
func (s *Service) cycle(ctx context.Context, o Options, r *Report) error {
	// A change whose outcome was not known may have been made.
	if err := s.load(ctx); err != nil {
		return err
	}
	if !s.adopted {
		if err := s.adopt(ctx); err != nil {
			return err
		}
	}
	if o.GoOn {
		if err := s.goOn(ctx); err != nil {
			return err
		}
	}
	if err := s.mend(ctx, r); err != nil {
		return err
	}
	if err := s.rotateIfDue(ctx, o); err != nil {
		return err
	}
	if len(s.now().Roots) == 1 {
		return nil // all volumes are where they belong
	}
	if err := s.migrate(ctx, o, r); err != nil {
		return err
	}
	if err := s.expire(ctx); err != nil {
		return err
	}
	return s.delete(ctx, r)
}

// now returns the record, which must not be changed.
func (s *Service) now() *record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.record
}

// goOn takes back the alarms.
func (s *Service) goOn(ctx context.Context) error {
	alarms, err := s.cfg.Chunks.Alarms(ctx)
	if err != nil || len(alarms) == 0 {
		return err
	}
	// First their time begins anew: they could be deleted at once otherwise, by
	// whoever goes on after a crash.
	err = s.change(ctx, func(r *record) error {
		for _, root := range alarms {
			r.adopt(root, Expired, s.cfg.Now())
			if err := r.set(root, Expired, s.cfg.Now()); err != nil {
				return err
			}
		}
		return nil
	})
	for _, root := range alarms {
		if err == nil {
			err = s.cfg.Chunks.Calm(ctx, root)
		}
	}
	return err
}

// migrate moves all volumes that are elsewhere than in the active root.
func (s *Service) migrate(ctx context.Context, o Options, r *Report) error {
	placed, err := s.volumes.Placed(ctx)
	if err != nil {
		return err
	}
	active := s.now().active().ID
	s.patience.forget(placed)
	for _, p := range placed {
		if p.Root == active {
			continue
		}
		if o.patient && s.patience.spared(p.Object, s.cfg.Now()) {
			r.Unmoved++
			continue
		}
		moved, stats, err := s.volumes.Migrate(ctx, p.Object)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		r.MovedBytes += stats.StoredBytes
		if moved {
			r.Moved++
			delete(s.patience.stuck, p.Object)
		}
		if errors.Is(err, origin.ErrFull) {
			return fmt.Errorf("garbage: volumes are copied before they are freed: %w", err)
		}
		if err != nil {
			r.Unmoved++
			s.patience.failed(p.Object, s.cfg.Now())
			s.cfg.Log.LogAttrs(ctx, slog.LevelError, "garbage: a volume cannot be moved and keeps its root from being deleted",
				slog.String("object", p.Object), slog.String("root", p.Root.String()), slog.Any("error", err))
		}
	}
	return nil
}

// expire has the retired roots expire that nothing uses.
func (s *Service) expire(ctx context.Context) error {
	if slices.ContainsFunc(s.now().in(Retired), func(root Root) bool { return s.readers.Reading(root.ID) }) {
		if err := s.readers.Leave(); err != nil {
			return err
		}
	}
	unused, err := s.unused(ctx, s.now().in(Retired))
	if err != nil {
		return err
	}
	for _, root := range unused {
		// Reads raise the alarm first, so that from the moment at which it
		// counts as expired none goes unnoticed.
		if err := s.cfg.Chunks.Expire(ctx, root.ID); err != nil {
			return err
		}
		if err := s.change(ctx, func(r *record) error { return r.set(root.ID, Expired, s.cfg.Now()) }); err != nil {
			return err
		}
	}
	return nil
}

// unused returns those of some roots, none of which is active, that no build
// writes to, no manifest names and no volume is open of. The order matters: a
// build makes a manifest, and of a manifest volumes are opened.
func (s *Service) unused(ctx context.Context, roots []Root) ([]Root, error) {
	roots = slices.DeleteFunc(roots, s.building)
	if len(roots) == 0 {
		return nil, nil
	}
	placed, err := s.volumes.Placed(ctx)
	if err != nil {
		return nil, err
	}
	named := make(map[chunk.Root]bool)
	for _, p := range placed {
		named[p.Root] = true
	}
	return slices.DeleteFunc(roots, func(root Root) bool { return named[root.ID] || s.readers.Reading(root.ID) }), nil
}

func (s *Service) building(root Root) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.builds[root.ID] > 0
}

// delete deletes the roots whose time is over, unless there is an alarm.
func (s *Service) delete(ctx context.Context, r *Report) error {
	due := slices.DeleteFunc(s.now().in(Expired), func(root Root) bool { return s.cfg.Now().Sub(root.Since) < s.cfg.Expiry })
	unused, err := s.unused(ctx, slices.Clone(due))
	if err != nil {
		return err
	}
	for _, root := range due {
		if slices.Contains(unused, root) {
			continue
		}
		if err := s.cfg.Chunks.Raise(ctx, root.ID); err != nil {
			return err
		}
	}
	for _, root := range unused {
		// Again for each: a deletion takes a while.
		if alarms, err := s.cfg.Chunks.Alarms(ctx); err != nil {
			return err
		} else if len(alarms) > 0 {
			break
		}
		if err := s.free(ctx, root, r); err != nil {
			return err
		}
	}
	return s.tell(ctx, r)
}

// free deletes a root.
func (s *Service) free(ctx context.Context, root Root, r *Report) error {
	freed, err := s.cfg.Chunks.DeleteExpired(ctx, root.ID)
	r.Chunks += freed.Chunks
	r.Bytes += freed.Bytes
	if errors.Is(err, origin.ErrAlarm) {
		return s.misplaced(ctx, root)
	}
	if err != nil {
		return err
	}
	r.Deleted++
	s.cfg.Log.LogAttrs(ctx, slog.LevelInfo, "garbage: root deleted", slog.String("root", root.ID.String()),
		slog.Int("chunks", freed.Chunks), slog.Int64("bytes", freed.Bytes), slog.Duration("expired", s.cfg.Now().Sub(root.Since).Round(time.Second)))
	return s.change(ctx, func(r *record) error { r.remove(root.ID); return nil })
}

// misplaced is told of a root that the store does not delete. Unless its alarm
// was raised just now, the store does not know that it has expired: it is older
// than the record, and the root has to expire again.
func (s *Service) misplaced(ctx context.Context, root Root) error {
	alarms, err := s.cfg.Chunks.Alarms(ctx)
	if err != nil || slices.Contains(alarms, root.ID) {
		return err
	}
	return s.change(ctx, func(r *record) error { return r.set(root.ID, Retired, s.cfg.Now()) })
}

// tell reports the alarms.
func (s *Service) tell(ctx context.Context, r *Report) (err error) {
	if r.Alarms, err = s.cfg.Chunks.Alarms(ctx); err != nil {
		return err
	}
	for _, root := range r.Alarms {
		s.cfg.Log.LogAttrs(ctx, slog.LevelError, "garbage: chunks were read that nothing should need any more; nothing is deleted until hearth gc --go-on",
			slog.String("root", root.String()))
	}
	return nil
}
