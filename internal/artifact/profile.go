package artifact

import (
	"context"
	"log/slog"

	"hearth/internal/volume"
)

// readProfile returns what starts touch. A profile that cannot be read costs
// time only.
func (s *Service) readProfile(ctx context.Context, ref Ref, m *volume.Manifest) []uint32 {
	p, err := s.profile(ctx, ref.Object, m)
	if err != nil {
		s.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "artifact: access profile cannot be used",
			slog.String("object", ref.Object), slog.Any("error", err))
		return nil
	}
	return p.Order()
}

func (s *Service) profile(ctx context.Context, object string, m *volume.Manifest) (*volume.Profile, error) {
	b, err := s.get(ctx, object, profileObject)
	if isMissing(err) {
		return volume.NewProfile(m), nil
	}
	if err != nil {
		return nil, err
	}
	return volume.DecodeProfile(b, m)
}

// Record adds to a volume's access profile the chunks that a start has touched,
// in order. A volume that was migrated since is still cut into the same chunks.
func (s *Service) Record(ctx context.Context, ref Ref, touched []uint32) error {
	return s.with(ref.Object, func(*mark) error {
		m, _, err := s.manifest(ctx, ref.Object)
		if isMissing(err) {
			return nil // deleted meanwhile
		}
		if err != nil {
			return err
		}
		p, err := s.profile(ctx, ref.Object, m)
		if err != nil { // of another build of the volume, or damaged
			p = volume.NewProfile(m)
		}
		p.Add(touched)
		return s.putProfile(ctx, ref.Object, p)
	})
}

func (s *Service) putProfile(ctx context.Context, object string, p *volume.Profile) error {
	if p.Recordings() == 0 {
		return nil
	}
	encoded, err := p.Encode()
	if err != nil {
		return err
	}
	return s.put(ctx, object, profileObject, encoded)
}
