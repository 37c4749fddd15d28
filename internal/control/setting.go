package control

import (
	"context"

	"hearth/internal/awserr"
	"hearth/internal/function"
)

// SetEventInvoke stores what f makes of the asynchronous invoke configuration
// of a function (qualifier $LATEST), alias or version; now is nil if there is
// none, and a nil result removes it.
func (s *Service) SetEventInvoke(ctx context.Context, account, name, qualifier string,
	f func(now *function.EventInvoke) (*function.EventInvoke, error),
) (*function.EventInvoke, error) {
	r, ok := s.cfg.Catalog.Lookup(account, name)
	if !ok || !s.hasTarget(r, qualifier) {
		return nil, awserr.New("ResourceNotFoundException", "The function doesn't exist.")
	}
	r, err := s.attach(ctx, account, name, func(r *function.Record) error {
		next, err := f(r.EventInvoke[qualifier])
		if err != nil {
			return err
		}
		if next == nil {
			delete(r.EventInvoke, qualifier)
			return nil
		}
		next.LastModified = s.now()
		if r.EventInvoke == nil {
			r.EventInvoke = make(map[string]*function.EventInvoke)
		}
		r.EventInvoke[qualifier] = next
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r.EventInvoke[qualifier], nil
}

// SetRuntimeRule says when a function (qualifier $LATEST) or version takes up a
// new version of its runtime.
func (s *Service) SetRuntimeRule(ctx context.Context, account, name, qualifier string, rule function.RuntimeRule) error {
	_, err := s.attach(ctx, account, name, func(r *function.Record) error {
		if !s.hasTarget(r, qualifier) {
			return s.notQualified(account, name, qualifier)
		}
		if r.RuntimeRules == nil {
			r.RuntimeRules = make(map[string]*function.RuntimeRule)
		}
		r.RuntimeRules[qualifier] = &rule
		return nil
	})
	return err
}

// SetRecursiveLoop says whether a function may be invoked in a loop.
func (s *Service) SetRecursiveLoop(ctx context.Context, account, name, loop string) error {
	_, err := s.attach(ctx, account, name, func(r *function.Record) error {
		r.RecursiveLoop = loop
		return nil
	})
	return err
}

// hasTarget says whether a qualifier names $LATEST, an alias or a version.
func (s *Service) hasTarget(r *function.Record, qualifier string) bool {
	if r.Aliases[qualifier] != nil {
		return true
	}
	_, ok := s.cfg.Catalog.Version(r.Account, r.Name, qualifier)
	return ok
}
