package control

import (
	"context"
	"fmt"
	"reflect"

	"hearth/internal/awserr"
	"hearth/internal/function"
)

// Sealer seals the variables of functions by keys. A sealed environment opens
// for the function that it was sealed for only. Errors that are *awserr.Error
// are for the caller: the key is not there, or cannot be used.
type Sealer interface {
	// SealEnvironment seals by the key of an ARN, or the account's own if it
	// is empty.
	SealEnvironment(ctx context.Context, account, functionARN, keyARN string, variables map[string]string) ([]byte, error)
	OpenEnvironment(ctx context.Context, account, functionARN string, sealed []byte) (map[string]string, error)
	// EnvironmentStale says that its key was rotated since.
	EnvironmentStale(sealed []byte) bool
}

// Environment returns a function's variables in the clear; nil if they were
// never set.
func (s *Service) Environment(ctx context.Context, r *function.Record) (map[string]string, error) {
	return s.open(ctx, r, r.Latest)
}

func (s *Service) open(ctx context.Context, r *function.Record, cfg *function.Config) (map[string]string, error) {
	if cfg.Sealed.IsZero() {
		return nil, nil
	}
	return s.cfg.Sealer.OpenEnvironment(ctx, r.Account, r.ARN(), cfg.Sealed.Sealed)
}

// seal replaces the variables that a request has set by their sealed form.
func (s *Service) seal(ctx context.Context, r *function.Record, cfg *function.Config) error {
	variables := cfg.Environment
	if variables == nil && cfg.KMSKey == "" {
		return nil
	}
	// A key that seals nothing yet is tried as well: what is wrong with it is
	// found out now.
	sealed, err := s.cfg.Sealer.SealEnvironment(ctx, r.Account, r.ARN(), cfg.KMSKey, variables)
	if err != nil {
		return err
	}
	if variables != nil {
		cfg.Environment, cfg.Sealed = nil, function.SealedEnvironment{Sealed: sealed}
	}
	return nil
}

// reseal is seal for an update, which may have changed the key as well. What
// an older version of the key has sealed is sealed anew on this occasion.
//
// Variables that are taken away leave no environment behind, as on AWS: tools
// that compare a function with what they want would see an empty one.
func (s *Service) reseal(ctx context.Context, r *function.Record, before *function.Config) error {
	cfg := r.Latest
	if cfg.Environment != nil && len(cfg.Environment) == 0 {
		cfg.Environment, cfg.Sealed = nil, function.SealedEnvironment{}
	}
	rekeyed := cfg.KMSKey != before.KMSKey
	if cfg.Environment == nil && !cfg.Sealed.IsZero() && (rekeyed || s.cfg.Sealer.EnvironmentStale(cfg.Sealed.Sealed)) {
		variables, err := s.open(ctx, r, before)
		if _, refused := awserr.As(err); refused && !rekeyed {
			return nil // the key cannot be used now, and nobody has asked for its use
		}
		if err != nil {
			return err
		}
		cfg.Environment = variables
	}
	if cfg.Environment == nil && !rekeyed {
		return nil
	}
	return s.seal(ctx, r, cfg)
}

// sealClear seals the variables that a Hearth has stored which did not seal
// yet.
func (s *Service) sealClear(ctx context.Context) error {
	for _, r := range s.cfg.Catalog.Functions.All() {
		if !isClear(r.Latest) && !isClear(r.Serving) {
			continue
		}
		_, err := s.cfg.Catalog.Functions.Change(ctx, functionKey(r.Account, r.Name), func(now *function.Record) (*function.Record, error) {
			if now == nil {
				return nil, nil
			}
			return s.sealedRecord(ctx, now.Clone())
		})
		if err != nil {
			return fmt.Errorf("seal the environment of %s, which an earlier Hearth has stored in the clear: %w", r.ARN(), err)
		}
	}
	return nil
}

func (s *Service) sealedRecord(ctx context.Context, r *function.Record) (*function.Record, error) {
	// Two configurations that were the same stay the same.
	same := r.Serving != nil && reflect.DeepEqual(r.Serving, r.Latest)
	for _, cfg := range configs(r) {
		if !isClear(cfg) {
			continue
		}
		cfg.Environment, cfg.Sealed.Clear = cfg.Sealed.Clear, nil
		if err := s.seal(ctx, r, cfg); err != nil {
			return nil, err
		}
	}
	if same {
		r.Serving = r.Latest.Clone()
	}
	return r, nil
}

func isClear(cfg *function.Config) bool { return cfg != nil && cfg.Sealed.Clear != nil }
