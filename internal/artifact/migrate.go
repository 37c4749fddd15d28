package artifact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"hearth/internal/chunk"
	"hearth/internal/volume"
)

// Placed is an object that has a volume, and the root that its chunks are in.
type Placed struct {
	Object string
	Root   chunk.Root
}

// Placed lists all volumes. One that is made meanwhile may be missing. A
// manifest that cannot be read is an error: it may name chunks of any root.
func (s *Service) Placed(ctx context.Context) (placed []Placed, err error) {
	err = s.eachManifest(ctx, func(object string, m *volume.Manifest) { placed = append(placed, Placed{object, m.Root}) })
	return placed, err
}

// Names returns the chunks of a root that volumes are made of, but for volumes
// that are deleted or made meanwhile.
func (s *Service) Names(ctx context.Context, root chunk.Root) (map[chunk.Name]struct{}, error) {
	names := make(map[chunk.Name]struct{})
	err := s.eachManifest(ctx, func(_ string, m *volume.Manifest) {
		if m.Root != root {
			return
		}
		for ref := range m.Refs() {
			names[ref.Name] = struct{}{}
		}
	})
	return names, err
}

// eachManifest calls do with all volumes, but for those that are deleted
// meanwhile, or not made yet.
func (s *Service) eachManifest(ctx context.Context, do func(object string, m *volume.Manifest)) error {
	objects, err := s.Objects(ctx, "")
	if err != nil {
		return err
	}
	for _, object := range objects {
		m, _, err := s.manifest(ctx, object)
		if isMissing(err) {
			continue
		}
		if err != nil {
			return err
		}
		do(object, m)
	}
	return nil
}

// Migrate builds a volume anew in the active root, from its own chunks, and
// says whether it has moved and what that has stored. A volume that is there
// already, or is deleted meanwhile, does not move. The root that it is in must
// not be deleted before Migrate returns. One whose chunks are gone is made anew
// from its archive, if it has one.
func (s *Service) Migrate(ctx context.Context, object string) (moved bool, stats volume.Stats, err error) {
	root, end, err := s.cfg.Roots.Begin(ctx)
	if err != nil {
		return false, stats, err
	}
	defer end()
	deleted := s.mark(object).deletions()
	defer s.unmark(object)
	from, before, err := s.manifest(ctx, object)
	if isMissing(err) || err == nil && from.Root == root {
		return false, stats, nil
	}
	if err != nil {
		return false, stats, err
	}
	account, ok := strings.CutPrefix(string(from.Domain), string(chunk.AccountDomain("")))
	if from.Domain == chunk.Common {
		account, ok = s.cfg.Operator, true
	}
	if !ok {
		return false, stats, fmt.Errorf("artifact: migrate %s: its domain is no account's", object)
	}
	ref := Ref{Account: account, Object: object}
	encoded, to, stats, err := s.rebuild(ctx, ref, from, root)
	if isGone(err) && from.Domain != chunk.Common {
		ok, made, again := s.remake(ctx, object, from, deleted)
		if ok || errors.Is(again, errDeleted) {
			return ok, made, nil
		}
		err = errors.Join(err, again)
	}
	if err != nil {
		return false, stats, fmt.Errorf("artifact: migrate %s: %w", object, err)
	}
	err = s.with(object, func(*mark) error {
		// A manifest that was deleted must not come back, nor one that was
		// replaced. Two encodings of a manifest are never equal.
		now, err := s.get(ctx, object, manifestObject)
		if isMissing(err) || err == nil && !bytes.Equal(now, before) {
			return nil
		}
		if err != nil {
			return err
		}
		// First, as one of another volume costs time only.
		profile, profileErr := s.profile(ctx, object, from)
		if err := s.put(ctx, object, manifestObject, encoded); err != nil {
			return err
		}
		moved = true
		if profileErr != nil {
			return nil //nolint:nilerr // it could not be used before either
		}
		return s.putProfile(ctx, object, profile.For(to))
	})
	return moved, stats, err
}

// rebuild cuts the content of a volume into the same chunks again, in a root.
func (s *Service) rebuild(ctx context.Context, ref Ref, from *volume.Manifest, root chunk.Root) ([]byte, *volume.Manifest, volume.Stats, error) {
	keys, err := from.Unseal(ctx, s.sealer(ref))
	if err != nil {
		return nil, nil, volume.Stats{}, err
	}
	v, err := volume.Open(from, keys, s.extra(from.Place), s.cfg.Chunks, volume.Options{})
	if err != nil {
		return nil, nil, volume.Stats{}, err
	}
	place := volume.Place{Root: root, Epoch: s.cfg.Salt.Epoch, Domain: from.Domain}
	return s.cut(ctx, ref, reader{ctx, v}, v.Size(), volume.Params{
		Place: place, ChunkSize: from.ChunkSize, Sealers: 1, // others are waited for, this is not
	})
}

// reader reads a volume for the time of one build.
type reader struct {
	ctx context.Context //nolint:containedctx // lives for one build
	v   *volume.Volume
}

var _ io.ReaderAt = reader{}

// ReadAt implements io.ReaderAt.
func (r reader) ReadAt(p []byte, off int64) (int, error) { return r.v.ReadAt(r.ctx, p, off) }
