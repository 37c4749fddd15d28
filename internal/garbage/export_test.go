package garbage

import "context"

// Tick is a cycle that nobody has asked for.
func (s *Service) Tick(ctx context.Context) (*Report, error) {
	return s.Collect(ctx, Options{patient: true})
}
