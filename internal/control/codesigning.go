package control

import (
	"context"
	"crypto/rand"
	"maps"
	"strings"

	"hearth/internal/awserr"
	"hearth/internal/codesigning"
	"hearth/internal/function"
	"hearth/internal/table"
)

// CreateCodeSigningConfig stores a new code signing configuration.
func (s *Service) CreateCodeSigningConfig(ctx context.Context, asked *codesigning.Config) (*codesigning.Config, error) {
	c := asked.Clone()
	const letters = 17
	c.ID = "csc-" + strings.ToLower(rand.Text()[:letters])
	c.Region, c.LastModified = s.cfg.Region, s.now()
	return s.changeSigning(ctx, c.Account, c.ID, func(*codesigning.Config) (*codesigning.Config, error) { return c, nil })
}

// UpdateCodeSigningConfig makes a change of a configuration, which apply makes
// in a private copy. It may be called more than once.
func (s *Service) UpdateCodeSigningConfig(ctx context.Context, account, id string, apply func(next *codesigning.Config)) (*codesigning.Config, error) {
	return s.changeSigning(ctx, account, id, func(now *codesigning.Config) (*codesigning.Config, error) {
		if now == nil {
			return nil, s.noSigning(account, id)
		}
		next := now.Clone()
		apply(next)
		next.LastModified = s.now()
		return next, nil
	})
}

// DeleteCodeSigningConfig deletes a configuration that no function has.
func (s *Service) DeleteCodeSigningConfig(ctx context.Context, account, id string) error {
	s.signingMu.Lock()
	defer s.signingMu.Unlock()
	_, err := s.changeSigning(ctx, account, id, func(now *codesigning.Config) (*codesigning.Config, error) {
		if now == nil {
			return nil, s.noSigning(account, id)
		}
		users, _, err := s.SignedFunctions(ctx, account, id, "", 1)
		if err != nil {
			return nil, err
		}
		if len(users) > 0 {
			return nil, awserr.New("ResourceConflictException",
				"Cannot delete the code signing configuration %s because function %s uses it. Remove it from its functions first.", now.ARN(), users[0].Name)
		}
		return nil, nil
	})
	return err
}

// CodeSigningConfig returns a configuration.
func (s *Service) CodeSigningConfig(_ context.Context, account, id string) (*codesigning.Config, error) {
	c, ok := s.cfg.Catalog.CodeSigning.Lookup(table.Key{Account: account, Name: id})
	if !ok {
		return nil, s.noSigning(account, id)
	}
	return c, nil
}

// CodeSigningConfigs returns up to limit configurations of an account in the
// order of their ids, beginning after one. If there are more, next is what to
// give as after for them.
func (s *Service) CodeSigningConfigs(_ context.Context, account, after string, limit int) (list []*codesigning.Config, next string, err error) {
	list = s.cfg.Catalog.CodeSigning.List(account, "", after, limit+1)
	if len(list) > limit {
		list = list[:limit]
		next = list[limit-1].ID
	}
	return list, next, nil
}

// TagCodeSigningConfig adds tags to a configuration and removes others.
func (s *Service) TagCodeSigningConfig(ctx context.Context, account, id string, add map[string]string, remove []string) error {
	_, err := s.changeSigning(ctx, account, id, func(now *codesigning.Config) (*codesigning.Config, error) {
		if now == nil {
			return nil, s.noSigning(account, id)
		}
		next := now.Clone()
		var err error
		next.Tags, err = retag(next.Tags, add, remove)
		return next, err
	})
	return err
}

// SetCodeSigning gives a function a code signing configuration, or with an
// empty name takes it away. Code that is there already is not looked at.
func (s *Service) SetCodeSigning(ctx context.Context, account, name, arn string) error {
	s.signingMu.RLock()
	defer s.signingMu.RUnlock()
	if arn != "" {
		if _, err := s.signing(account, arn); err != nil {
			return err
		}
	}
	_, err := s.attach(ctx, account, name, func(next *function.Record) error {
		next.CodeSigningConfig = arn
		return nil
	})
	return err
}

// SignedFunctions returns up to limit functions that have a configuration, in
// the order of their names, beginning after one.
func (s *Service) SignedFunctions(ctx context.Context, account, id, after string, limit int) (list []*function.Record, next string, err error) {
	c, err := s.CodeSigningConfig(ctx, account, id)
	if err != nil {
		return nil, "", err
	}
	arn := c.ARN()
	for _, r := range s.cfg.Catalog.Functions.All() {
		if r.Account != account || r.Name <= after || r.CodeSigningConfig != arn {
			continue
		}
		if len(list) == limit {
			return list, list[limit-1].Name, nil
		}
		list = append(list, r)
	}
	return list, "", nil
}

// checkSigned says whether a function can get code that nobody is known to
// have signed: Hearth cannot verify signatures, so that is all code.
func (s *Service) checkSigned(account, name, arn string) error {
	if arn == "" {
		return nil
	}
	c, err := s.signing(account, arn)
	if err != nil {
		return err
	}
	if c.Untrusted == codesigning.Enforce {
		return awserr.New("CodeVerificationFailedException", "Lambda cannot deploy the function. The function or layer might be signed using a signature "+
			"that the client is not configured to accept. Check the provided signature for %s.", name)
	}
	return nil
}

// signing is the configuration of the account that an ARN names.
func (s *Service) signing(account, arn string) (*codesigning.Config, error) {
	owner, id, ok := codesigning.ParseARN(s.cfg.Region, arn)
	if ok && owner == account {
		if c, ok := s.cfg.Catalog.CodeSigning.Lookup(table.Key{Account: owner, Name: id}); ok {
			return c, nil
		}
	}
	return nil, awserr.New("CodeSigningConfigNotFoundException",
		"The code signing configuration cannot be found. Check that the provided configuration is not deleted: %s.", arn)
}

func (s *Service) changeSigning(ctx context.Context, account, id string, f table.Edit[codesigning.Config]) (*codesigning.Config, error) {
	c, err := s.cfg.Catalog.CodeSigning.Change(ctx, table.Key{Account: account, Name: id}, f)
	if err != nil {
		return nil, storeError(err)
	}
	return c, nil
}

func (s *Service) noSigning(account, id string) error {
	return awserr.New("ResourceNotFoundException", "The Lambda code signing configuration %s can not be found.",
		codesigning.ARN(s.cfg.Region, account, id))
}

// retag is tags with some added and others removed.
func retag(tags, add map[string]string, remove []string) (map[string]string, error) {
	next := make(map[string]string, len(tags)+len(add))
	maps.Copy(next, tags)
	maps.Copy(next, add)
	for _, k := range remove {
		delete(next, k)
	}
	if len(next) > maxTags {
		return nil, awserr.New("InvalidParameterValueException", "Number of tags exceeds resource tag limit.")
	}
	return next, nil
}
