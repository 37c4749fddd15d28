package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"hearth/internal/function"
)

// objectPrefix begins the keys of code archives.
const objectPrefix = "code/"

// catchUpTimeout bounds the wait for the tables before archives are deleted.
const catchUpTimeout = 10 * time.Second

// garbage deletes archives that no record names any more. What is waiting is
// kept in memory only: after a restart no environment is being started from an
// old archive, so Start deletes it at once.
type garbage struct {
	cfg Config

	mu sync.Mutex
	// named counts the records that name an archive: a function and the
	// versions that were published from it share theirs, and a layer's version
	// is shared by the functions that use it.
	named map[string]int
	items []discarded
	wake  chan struct{}
}

type discarded struct {
	object string
	due    time.Time
}

func newGarbage(cfg Config) *garbage {
	return &garbage{cfg: cfg, named: make(map[string]int), wake: make(chan struct{}, 1)}
}

// observe takes the archives that a change of a record let go. One that was
// serving stays for a while: environments that are being started may have been
// told to run it and not have read it yet. It cannot stay until the next
// update instead, as that may come at once, or never.
func (g *garbage) observe(before, after *function.Record) {
	same := before != nil && after != nil && after.UID == before.UID
	g.replace(objects(before), objects(after), same)
}

// replace takes note that a record names the archives of after instead of
// those of before. An archive that served is still in use if the record goes
// on.
func (g *garbage) replace(before, after map[string]bool, goesOn bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for object := range after {
		g.named[object]++
	}
	for object, served := range before {
		g.named[object]--
		if g.named[object] > 0 {
			continue
		}
		delete(g.named, object)
		due := time.Now()
		if served && goesOn {
			due = due.Add(g.cfg.ObjectGrace)
		}
		g.add(discarded{object, due})
	}
}

// objects returns the archives that a record names, and whether it serves them.
func objects(r *function.Record) map[string]bool {
	if r == nil {
		return nil
	}
	named := make(map[string]bool, 2)
	for _, c := range configs(r) {
		named[c.Code.Object] = named[c.Code.Object] || c == r.Serving
		for _, l := range c.Layers {
			named[l.Code.Object] = named[l.Code.Object] || c == r.Serving
		}
	}
	return named
}

// configs returns the configurations that keep an archive; Serving is first,
// as it decides where both name the same.
func configs(r *function.Record) []*function.Config {
	if r.Serving == nil {
		return []*function.Config{r.Latest}
	}
	return []*function.Config{r.Serving, r.Latest}
}

// add has an archive deleted when it is due. The caller holds mu.
func (g *garbage) add(d discarded) {
	g.items = append(g.items, d)
	select {
	case g.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// run deletes what is due, until ctx ends; then once more.
func (g *garbage) run(ctx context.Context) {
	for {
		due, wait := g.take(time.Now())
		for _, object := range g.unnamed(ctx, due) {
			if err := g.cfg.remove(context.WithoutCancel(ctx), object); err != nil {
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

// remove deletes an archive and what was made of it. An image has no archive.
func (c Config) remove(ctx context.Context, object string) error {
	return errors.Join(c.Volumes.Delete(ctx, object), c.Objects.Delete(ctx, object))
}

// unnamed returns those archives that really no record names. The tables of
// the catalog follow etcd each for itself, so that the record of a version can
// become known after its function has let the archive go.
func (g *garbage) unnamed(ctx context.Context, due []string) []string {
	if len(due) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), catchUpTimeout)
	defer cancel()
	if err := g.cfg.Catalog.CatchUp(ctx); err != nil {
		g.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "control: etcd does not answer, archives stay until the next start",
			slog.Int("archives", len(due)), slog.Any("error", err))
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.DeleteFunc(due, func(object string) bool { return g.named[object] > 0 })
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
		maps.Copy(named, objects(r))
	}
	for _, v := range s.cfg.Catalog.LayerVersions.All() {
		maps.Copy(named, layerObjects(v))
	}
	var objects []string
	for _, prefix := range []string{objectPrefix, layerPrefix} {
		volumes, err := s.cfg.Volumes.Objects(ctx, prefix)
		if err != nil {
			return fmt.Errorf("sweep archives: %w", err)
		}
		objects = append(objects, volumes...)
		stored, err := s.cfg.Objects.List(ctx, prefix)
		if err != nil {
			return fmt.Errorf("sweep archives: %w", err)
		}
		for _, o := range stored {
			objects = append(objects, o.Key)
		}
	}
	for _, object := range objects {
		if _, ok := named[object]; ok {
			continue
		}
		if err := s.cfg.remove(ctx, object); err != nil {
			return fmt.Errorf("sweep archives: %w", err)
		}
	}
	return nil
}
