package control

import (
	"context"

	"hearth/internal/awserr"
	"hearth/internal/catalog"
	"hearth/internal/function"
	"hearth/internal/layer"
	"hearth/internal/policy"
)

// LayerPolicy returns the resource policy of a layer's version.
func (s *Service) LayerPolicy(_ context.Context, account, name string, number int64) (*function.Policy, error) {
	v, ok := s.cfg.Catalog.LayerVersion(account, name, number)
	if !ok {
		return nil, s.noLayerVersion(account, name, number)
	}
	if v.Policy == nil {
		return nil, awserr.New("ResourceNotFoundException", "No policy is associated with the given resource.")
	}
	return v.Policy, nil
}

// PermitLayer adds a statement to the policy of a layer's version. It returns
// the statement and the policy's new revision.
func (s *Service) PermitLayer(ctx context.Context, account, name string, number int64, revisionID string, p policy.Permission,
) (added policy.Statement, revision string, err error) {
	v, err := s.changeLayerPolicy(ctx, account, name, number, revisionID, permit(p, &added))
	if err != nil {
		return added, "", err
	}
	return added, v.Policy.RevisionID, nil
}

// ForbidLayer removes a statement from the policy of a layer's version.
func (s *Service) ForbidLayer(ctx context.Context, account, name string, number int64, revisionID, statementID string) error {
	_, err := s.changeLayerPolicy(ctx, account, name, number, revisionID, forbid(statementID))
	return err
}

// changeLayerPolicy stores what f makes of the statements of a version's
// policy; none remove it.
func (s *Service) changeLayerPolicy(ctx context.Context, account, name string, number int64, revisionID string, f statementEdit) (*layer.Version, error) {
	next, err := s.cfg.Catalog.LayerVersions.Change(ctx, catalog.LayerVersionKey(account, name, number), func(now *layer.Version) (*layer.Version, error) {
		if now == nil {
			return nil, s.noLayerVersion(account, name, number)
		}
		var statements []policy.Statement
		if now.Policy != nil {
			d, err := policy.Parse(policy.KindResource, now.ARN(), []byte(now.Policy.Document))
			if err != nil {
				return nil, err
			}
			statements = d.Statements
		}
		statements, err := f(now.ARN(), statements)
		if err != nil {
			return nil, err
		}
		if revisionID != "" && (now.Policy == nil || now.Policy.RevisionID != revisionID) {
			return nil, awserr.New("PreconditionFailedException", "The Revision Id provided does not match the latest Revision Id. "+
				"Call the GetLayerPolicy API to retrieve the latest Revision Id")
		}
		next := *now
		next.Policy, err = policyWith(now.ARN(), policyID, statements)
		return &next, err
	})
	return next, storeError(err)
}

func (s *Service) noLayerVersion(account, name string, number int64) error {
	v := layer.Version{Account: account, Region: s.cfg.Region, Name: name, Number: number}
	return awserr.New("ResourceNotFoundException", "Layer version %s does not exist.", v.ARN())
}
