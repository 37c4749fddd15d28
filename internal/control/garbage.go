package control

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"hearth/internal/function"
)

// objectPrefix begins the keys of code archives.
const objectPrefix = "code/"

// garbage deletes archives that no record names any more. What is waiting is
// kept in memory only: after a restart no environment is being started from an
// old archive, so Start deletes it at once.
type garbage struct {
	cfg Config

	mu    sync.Mutex
	items []discarded
	wake  chan struct{}
}

type discarded struct {
	object string
	due    time.Time
}

func newGarbage(cfg Config) *garbage {
	return &garbage{cfg: cfg, wake: make(chan struct{}, 1)}
}

// observe takes the archives that a change of a record let go. One that was
// serving stays for a while: environments that are being started may have been
// told to run it and not have read it yet. It cannot stay until the next
// update instead, as that may come at once, or never.
func (g *garbage) observe(before, after *function.Record) {
	if before == nil {
		return
	}
	kept := make(map[string]bool, 2)
	if after != nil {
		for _, c := range configs(after) {
			kept[c.Code.Object] = true
		}
	}
	for _, c := range configs(before) {
		if kept[c.Code.Object] {
			continue
		}
		kept[c.Code.Object] = true // once is enough
		due := time.Now()
		if after != nil && after.UID == before.UID && c == before.Serving {
			due = due.Add(g.cfg.ObjectGrace)
		}
		g.add(discarded{c.Code.Object, due})
	}
}

// configs returns the configurations that keep an archive; Serving is first,
// as it decides where both name the same.
func configs(r *function.Record) []*function.Config {
	if r.Serving == nil {
		return []*function.Config{r.Latest}
	}
	return []*function.Config{r.Serving, r.Latest}
}

func (g *garbage) add(d discarded) {
	g.mu.Lock()
	g.items = append(g.items, d)
	g.mu.Unlock()
	select {
	case g.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// run deletes what is due, until ctx ends; then once more.
func (g *garbage) run(ctx context.Context) {
	for {
		due, wait := g.take(time.Now())
		for _, object := range due {
			if err := g.cfg.Objects.Delete(context.WithoutCancel(ctx), object); err != nil {
				g.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "control: cannot delete an archive, it stays until the next start",
					slog.String("object", object), slog.Any("error", err))
			}
		}
		if ctx.Err() != nil && len(due) == 0 {
			return
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-g.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// take removes and returns what is due, and how long to wait for the next.
func (g *garbage) take(now time.Time) (due []string, wait time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	wait = time.Hour
	kept := g.items[:0]
	for _, d := range g.items {
		if left := d.due.Sub(now); left > 0 {
			wait = min(wait, left)
			kept = append(kept, d)
			continue
		}
		due = append(due, d.object)
	}
	g.items = kept
	return due, wait
}

// sweep deletes archives that no record names: those of changes that a crash
// interrupted, and those that were waiting to be deleted.
func (s *Service) sweep(ctx context.Context) error {
	if n := s.cfg.Catalog.Refused(); n > 0 {
		// The archives of records that this version cannot read look like
		// orphans. They are not: a newer version may have written them.
		s.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "control: archives are not swept, as some records cannot be read",
			slog.Int("records", n))
		return nil
	}
	named := make(map[string]bool)
	for _, r := range s.cfg.Catalog.All() {
		for _, c := range configs(r) {
			named[c.Code.Object] = true
		}
	}
	objects, err := s.cfg.Objects.List(ctx, objectPrefix)
	if err != nil {
		return fmt.Errorf("sweep archives: %w", err)
	}
	for _, o := range objects {
		if named[o.Key] {
			continue
		}
		if err := s.cfg.Objects.Delete(ctx, o.Key); err != nil {
			return fmt.Errorf("sweep archives: %w", err)
		}
	}
	return nil
}
