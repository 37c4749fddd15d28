package garbage

import (
	"context"
	"log/slog"
	"time"

	"hearth/internal/artifact"
)

// mend has the volumes made anew of which reads have failed, if it is their
// chunks that are gone. What cannot be mended is logged: nothing else depends
// on it.
func (s *Service) mend(ctx context.Context, r *Report) error {
	objects, err := s.readers.Unreadable(ctx)
	if err != nil && ctx.Err() == nil {
		s.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "garbage: nobody knows which volumes cannot be read", slog.Any("error", err))
	}
	for _, object := range objects {
		damaged, err := s.volumes.Mend(ctx, object)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			s.cfg.Log.LogAttrs(ctx, slog.LevelError, "garbage: reads of a volume have failed, and it cannot be made anew; update the function's code",
				slog.String("object", object), slog.Any("error", err))
			continue
		}
		if damaged > 0 {
			r.Mended++
		}
	}
	return ctx.Err()
}

// patience says when volumes are tried again that could not be moved.
type patience struct {
	first, most time.Duration
	stuck       map[string]*stuck
}

// stuck is a volume that could not be moved.
type stuck struct {
	wait  time.Duration
	again time.Time
}

// spared says whether a volume is not to be tried yet.
func (p *patience) spared(object string, now time.Time) bool {
	s := p.stuck[object]
	return s != nil && now.Before(s.again)
}

// failed notes that a volume could not be moved: each time it is left alone for
// twice as long.
func (p *patience) failed(object string, now time.Time) {
	s := p.stuck[object]
	if s == nil {
		s = &stuck{wait: p.first / 2}
		p.stuck[object] = s
	}
	s.wait = min(2*s.wait, p.most)
	s.again = now.Add(s.wait)
}

// forget drops what is known of volumes that are not there any more.
func (p *patience) forget(placed []artifact.Placed) {
	there := make(map[string]bool, len(placed))
	for _, v := range placed {
		there[v.Object] = true
	}
	for object := range p.stuck {
		if !there[object] {
			delete(p.stuck, object)
		}
	}
}
