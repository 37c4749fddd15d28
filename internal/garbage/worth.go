package garbage

import (
	"context"
	"log/slog"
)

// rotateIfDue begins a new root if the active one has been written to for long
// enough and, unless somebody asks for it, a rotation is worth its while, which
// is to copy all that is live.
func (s *Service) rotateIfDue(ctx context.Context, o Options) error {
	now, active := s.cfg.Now(), s.now().active()
	if !o.Rotate && now.Sub(active.Since) < s.cfg.Rotation {
		return nil
	}
	if o.patient {
		if now.Sub(s.looked) < s.cfg.Rotation/looksPerRotation {
			return nil
		}
		worth, err := s.worth(ctx, active)
		if err != nil {
			return err
		}
		if !worth {
			s.looked = now
			return nil
		}
	}
	return s.change(ctx, func(r *record) error { return r.rotate(s.cfg.Now()) })
}

// looksPerRotation is how often in the time of a root is looked, once it is
// over, whether there is garbage in it: with seven days, daily.
const looksPerRotation = 7

// worthwhile is which part of a root must be garbage.
const worthwhile = 0.1

// worth says whether enough of a root is garbage. It is an estimate: the chunks
// of builds that have not ended count as garbage.
func (s *Service) worth(ctx context.Context, root Root) (bool, error) {
	named, err := s.volumes.Names(ctx, root.ID)
	if err != nil {
		return false, err
	}
	var all, live int64
	for info, err := range s.cfg.Chunks.Chunks(ctx, root.ID) {
		if err != nil {
			return false, err
		}
		all += info.Size
		if _, ok := named[info.Name]; ok {
			live += info.Size
		}
	}
	worth := float64(all-live) >= worthwhile*float64(all) && all > live
	s.cfg.Log.LogAttrs(ctx, slog.LevelDebug, "garbage: looked for garbage in the active root",
		slog.Int64("bytes", all), slog.Int64("garbage", all-live), slog.Bool("rotating", worth))
	return worth, nil
}
