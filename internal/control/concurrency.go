package control

import (
	"context"

	"hearth/internal/awserr"
	"hearth/internal/function"
)

// minUnreserved is how much of an account's concurrency cannot be set aside
// for single functions, as AWS has it. Accounts with little keep a tenth.
const minUnreserved = 100

// Reserve sets a function's reserved concurrency; nil takes it away.
func (s *Service) Reserve(ctx context.Context, account, name string, reserved *int) error {
	_, err := s.aside(ctx, account, name, func(next *function.Record) error {
		if reserved != nil {
			if n := next.ProvisionedTotal(); *reserved < n {
				return awserr.New("InvalidParameterValueException",
					"ReservedConcurrentExecutions %d should not be lower than function's total provisioned concurrency [%d].", *reserved, n)
			}
		}
		next.Reserved = reserved
		return nil
	}, "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [%d].")
	return err
}

// Provision sets how many environments of an alias or version are initialised
// ahead.
func (s *Service) Provision(ctx context.Context, account, name, qualifier string, n int) (*function.Provisioned, error) {
	r, err := s.aside(ctx, account, name, func(next *function.Record) error {
		if err := s.checkProvisionable(next, qualifier); err != nil {
			return err
		}
		if next.Provisioned == nil {
			next.Provisioned = make(map[string]*function.Provisioned)
		}
		next.Provisioned[qualifier] = &function.Provisioned{Requested: n, LastModified: s.now()}
		if next.Reserved != nil && next.ProvisionedTotal() > *next.Reserved {
			return awserr.New("InvalidParameterValueException",
				"Requested Provisioned Concurrency should not be greater than the reservedConcurrentExecution for function")
		}
		return nil
	}, "Specified ConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below its minimum value of [%d].")
	if err != nil {
		return nil, err
	}
	return r.Provisioned[qualifier], nil
}

// Unprovision takes an alias's or version's provisioned concurrency away.
func (s *Service) Unprovision(ctx context.Context, account, name, qualifier string) error {
	_, err := s.attach(ctx, account, name, func(next *function.Record) error {
		delete(next.Provisioned, qualifier)
		return nil
	})
	return err
}

func (s *Service) checkProvisionable(r *function.Record, qualifier string) error {
	version := r.VersionOf(qualifier)
	if !s.hasTarget(r, qualifier) {
		return s.notQualified(r.Account, r.Name, qualifier)
	}
	if version == function.LatestVersion {
		return awserr.New("InvalidParameterValueException", "Provisioned Concurrency Configs cannot be applied to unpublished function versions.")
	}
	for other := range r.Provisioned {
		if other != qualifier && r.VersionOf(other) == version {
			return awserr.New("ResourceConflictException",
				"Alias can't be used for Provisioned Concurrency configuration on an already Provisioned version")
		}
	}
	return nil
}

// aside changes what a function sets aside, unless too little of the account's
// concurrency were left for the others. Such changes are made one at a time,
// so that two cannot take the same units.
func (s *Service) aside(ctx context.Context, account, name string, f func(next *function.Record) error, refusal string) (*function.Record, error) {
	s.asideMu.Lock()
	defer s.asideMu.Unlock()
	total := measure(s.cfg.Catalog, account).SetAside
	return s.attach(ctx, account, name, func(next *function.Record) error {
		before := next.SetAside()
		if err := f(next); err != nil {
			return err
		}
		keep := min(minUnreserved, s.cfg.Limits.Concurrency/10)
		if more := next.SetAside() - before; more > 0 && s.cfg.Limits.Concurrency-total-more < keep {
			return awserr.New("InvalidParameterValueException", refusal, keep)
		}
		return nil
	})
}
