package artifact

import (
	"context"
	"fmt"
	"log/slog"

	"hearth/internal/volume"
)

// readProfile returns what starts touch. A profile that cannot be read costs
// time only.
func (s *Service) readProfile(ctx context.Context, ref Ref, m *volume.Manifest) []uint32 {
	p, err := s.profile(ctx, ref, m)
	if err != nil {
		s.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "artifact: access profile cannot be used",
			slog.String("object", ref.Object), slog.Any("error", err))
		return nil
	}
	return p.Order()
}

func (s *Service) profile(ctx context.Context, ref Ref, m *volume.Manifest) (*volume.Profile, error) {
	b, err := s.get(ctx, ref, profileObject)
	if isMissing(err) {
		return volume.NewProfile(m), nil
	}
	if err != nil {
		return nil, err
	}
	return volume.DecodeProfile(b, m)
}

// Record adds to a volume's access profile the chunks that a start has touched,
// in order.
func (s *Service) Record(ctx context.Context, ref Ref, touched []uint32) error {
	s.profiles.Lock()
	defer s.profiles.Unlock()
	encoded, err := s.get(ctx, ref, manifestObject)
	if isMissing(err) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	m, err := volume.Decode(encoded)
	if err != nil {
		return fmt.Errorf("artifact: %s: %w", ref.Object, err)
	}
	p, err := s.profile(ctx, ref, m)
	if err != nil { // of another build of the volume, or damaged
		p = volume.NewProfile(m)
	}
	p.Add(touched)
	if p.Recordings() == 0 {
		return nil
	}
	if encoded, err = p.Encode(); err != nil {
		return err
	}
	return s.put(ctx, ref, profileObject, encoded)
}
