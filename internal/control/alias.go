package control

import (
	"context"
	"errors"

	"hearth/internal/awserr"
	"hearth/internal/catalog"
	"hearth/internal/function"
	"hearth/internal/table"
)

// attach changes what is attached to a function. The function itself stays as
// it is, so its revision id does.
func (s *Service) attach(ctx context.Context, account, name string, f func(next *function.Record) error) (*function.Record, error) {
	return s.attachWith(ctx, account, name, func(next *function.Record) ([]table.Op, error) { return nil, f(next) })
}

// attachWith is attach with further operations in the same transaction.
func (s *Service) attachWith(ctx context.Context, account, name string, f func(next *function.Record) ([]table.Op, error)) (*function.Record, error) {
	r, err := s.cfg.Catalog.Functions.ChangeWith(ctx, functionKey(account, name),
		func(now *function.Record) (*function.Record, []table.Op, error) {
			if now == nil {
				return nil, nil, s.notFound(account, name)
			}
			next := now.Clone()
			ops, err := f(next)
			return next, ops, err
		})
	if err != nil {
		return nil, storeError(err)
	}
	return r, nil
}

// CreateAlias gives a version a name.
func (s *Service) CreateAlias(ctx context.Context, account, name string, alias function.Alias) (*function.Alias, error) {
	return s.putAlias(ctx, account, name, alias.Name, func(next *function.Record, now *function.Alias) (*function.Alias, error) {
		if now != nil {
			return nil, awserr.New("ResourceConflictException", "Alias already exists: %s:%s", next.ARN(), alias.Name)
		}
		return &alias, nil
	})
}

// UpdateAlias changes an alias.
func (s *Service) UpdateAlias(ctx context.Context, account, name string, up function.AliasUpdate) (*function.Alias, error) {
	return s.putAlias(ctx, account, name, up.Name, func(next *function.Record, now *function.Alias) (*function.Alias, error) {
		if now == nil {
			return nil, s.noAlias(next, up.Name)
		}
		if up.RevisionID != "" && up.RevisionID != now.RevisionID {
			return nil, staleRevision()
		}
		if up.Description != nil {
			now.Description = *up.Description
		}
		if up.Version != "" {
			now.Version = up.Version
		}
		if up.Weights != nil {
			now.Weights = *up.Weights
		}
		return now, nil
	})
}

// aliasEdit makes an alias of a function of the present one, which is nil if
// there is none.
type aliasEdit func(next *function.Record, now *function.Alias) (*function.Alias, error)

// putAlias stores what an edit makes of an alias.
func (s *Service) putAlias(ctx context.Context, account, name, alias string, f aliasEdit) (*function.Alias, error) {
	r, err := s.attachWith(ctx, account, name, func(next *function.Record) ([]table.Op, error) {
		a, err := f(next, next.Aliases[alias])
		if err != nil {
			return nil, err
		}
		if err := checkRouting(a); err != nil {
			return nil, err
		}
		ops, err := s.mustHave(next, a)
		if err != nil {
			return nil, err
		}
		a.RevisionID = newRevisionID()
		if next.Aliases == nil {
			next.Aliases = make(map[string]*function.Alias)
		}
		next.Aliases[alias] = a
		return ops, nil
	})
	if errors.Is(err, table.ErrConflict) {
		return nil, awserr.New("ResourceConflictException", "A version that alias %s points to is being deleted. Try again with another version.", alias)
	}
	if err != nil {
		return nil, err
	}
	return r.Aliases[alias], nil
}

// checkRouting checks what an alias routes to, in AWS's words.
func checkRouting(a *function.Alias) error {
	if len(a.Weights) == 0 {
		return nil
	}
	if len(a.Weights) > 1 {
		return awserr.New("InvalidParameterValueException", "Number of items in AdditionalVersionWeights cannot be greater than 1")
	}
	if a.Version == function.LatestVersion {
		return awserr.New("InvalidParameterValueException", "$LATEST is not supported for an alias pointing to more than 1 version")
	}
	for v := range a.Weights {
		switch v {
		case a.Version:
			return awserr.New("InvalidParameterValueException",
				"Invalid function version %[1]s. Function version %[1]s is already included in routing configuration.", v)
		case function.LatestVersion:
			return awserr.New("InvalidParameterValueException", "$LATEST is not supported for an alias pointing to more than 1 version")
		}
	}
	return nil
}

// mustHave checks that an alias points to versions that exist, now and when
// the alias is stored.
func (s *Service) mustHave(r *function.Record, a *function.Alias) (ops []table.Op, err error) {
	versions := []string{a.Version}
	for v := range a.Weights {
		versions = append(versions, v)
	}
	for _, v := range versions {
		if v == function.LatestVersion {
			continue
		}
		if _, ok := s.cfg.Catalog.Version(r.Account, r.Name, v); !ok {
			return nil, s.notQualified(r.Account, r.Name, v)
		}
		ops = append(ops, s.cfg.Catalog.Versions.Exists(catalog.VersionKey(r.Account, r.Name, v)))
	}
	return ops, nil
}

// DeleteAlias deletes an alias and what is attached to it. One that is not
// there is no error, as with AWS.
func (s *Service) DeleteAlias(ctx context.Context, account, name, alias string) error {
	_, err := s.attach(ctx, account, name, func(next *function.Record) error {
		delete(next.Aliases, alias)
		next.Attached = withoutQualifier(next.Attached, alias)
		return nil
	})
	return err
}

// Alias returns an alias of a function.
func (s *Service) Alias(_ context.Context, account, name, alias string) (*function.Alias, error) {
	r, ok := s.cfg.Catalog.Lookup(account, name)
	if !ok {
		return nil, s.notQualified(account, name, alias)
	}
	a, ok := r.Aliases[alias]
	if !ok {
		return nil, s.noAlias(r, alias)
	}
	return a, nil
}

func (s *Service) noAlias(r *function.Record, alias string) error {
	return awserr.New("ResourceNotFoundException", "Cannot find alias arn: %s:%s", r.ARN(), alias)
}

func staleRevision() error {
	return awserr.New("PreconditionFailedException", "The Revision Id provided does not match the latest Revision Id. "+
		"Call the GetFunction/GetAlias API to retrieve the latest Revision Id")
}

// perQualifier is a part of what is attached that is kept by qualifier.
type perQualifier interface {
	has(qualifier string) bool
	drop(qualifier string)
}

func qualified(a *function.Attached) []perQualifier {
	return []perQualifier{
		byQualifier[function.Policy](a.Policies), byQualifier[function.URL](a.URLs), byQualifier[function.Provisioned](a.Provisioned),
		byQualifier[function.EventInvoke](a.EventInvoke), byQualifier[function.RuntimeRule](a.RuntimeRules),
	}
}

type byQualifier[T any] map[string]*T

func (m byQualifier[T]) has(qualifier string) bool { return m[qualifier] != nil }
func (m byQualifier[T]) drop(qualifier string)     { delete(m, qualifier) }

// hasQualifier says whether anything is attached to a qualifier.
func hasQualifier(r *function.Record, qualifier string) bool {
	for _, m := range qualified(&r.Attached) {
		if m.has(qualifier) {
			return true
		}
	}
	return false
}

// withoutQualifier drops what is attached to a qualifier from a private copy.
func withoutQualifier(a function.Attached, qualifier string) function.Attached {
	for _, m := range qualified(&a) {
		m.drop(qualifier)
	}
	return a
}
