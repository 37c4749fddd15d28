package artifact

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"hearth/internal/chunk"
	"hearth/internal/volume"
)

// Mend makes a volume anew from its archive if some of its chunks are gone or
// have rotted, and says how many they were. In the root that it is in already it
// becomes the same volume: what is mounted of it can be read again. A volume
// that has no archive cannot be mended. One that is deleted meanwhile does not
// come back. The root that it is in must not be deleted before Mend returns.
func (s *Service) Mend(ctx context.Context, object string) (damaged int, err error) {
	deleted := s.mark(object).deletions()
	defer s.unmark(object)
	m, _, err := s.manifest(ctx, object)
	if isMissing(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	// First, as an image has none and is large.
	archive, _, err := s.cfg.Objects.Open(ctx, object)
	if err != nil {
		return 0, fmt.Errorf("artifact: mend %s: its archive: %w", object, err)
	}
	_ = archive.Close() // nothing was read of it
	if damaged, err = s.damaged(ctx, m); err != nil || damaged == 0 {
		return 0, err
	}
	_, _, err = s.remake(ctx, object, m, deleted)
	if errors.Is(err, errDeleted) {
		return 0, nil
	}
	return damaged, err
}

// damaged counts the chunks that the store does not have as they were. Copies
// that have rotted are set aside, so that a build stores the chunk again.
func (s *Service) damaged(ctx context.Context, m *volume.Manifest) (n int, err error) {
	for ref := range m.Refs() {
		b, err := s.cfg.Chunks.ReadChunk(ctx, ref)
		if err == nil {
			err = chunk.Check(ref.Name, b)
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, chunk.ErrIntegrity):
			if _, err := s.cfg.Chunks.Distrust(ctx, ref); err != nil {
				return n, fmt.Errorf("artifact: %w", err)
			}
		case !errors.Is(err, chunk.ErrNotFound):
			return n, fmt.Errorf("artifact: %w", err)
		}
		n++
	}
	return n, nil
}

// isGone says that chunks cannot be had, now or later.
func isGone(err error) bool {
	return errors.Is(err, chunk.ErrNotFound) || errors.Is(err, chunk.ErrIntegrity)
}

// remake builds a volume whose chunks are damaged from its archive, unless it was
// deleted more often than it had been.
func (s *Service) remake(ctx context.Context, object string, m *volume.Manifest, deleted int) (ok bool, stats volume.Stats, err error) {
	account, ok := strings.CutPrefix(string(m.Domain), string(chunk.AccountDomain("")))
	if !ok {
		return false, stats, fmt.Errorf("artifact: mend %s: it is no account's", object)
	}
	// Beside the builds that are under way, as moves are: one at a time.
	stats, err = s.flattenAndStore(ctx, job{Ref{Account: account, Object: object}, deleted, new(progress)})
	if err != nil {
		return false, stats, fmt.Errorf("artifact: mend %s: %w", object, err)
	}
	s.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "artifact: a volume whose chunks were gone is made anew from its archive",
		slog.String("object", object), slog.String("root", m.Root.String()), slog.Int("stored", stats.Stored))
	return true, stats, nil
}
