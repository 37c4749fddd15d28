package control

import (
	"context"
	"encoding/json"
	"slices"

	"hearth/internal/awserr"
	"hearth/internal/catalog"
	"hearth/internal/function"
	"hearth/internal/layer"
)

// LayerPolicy returns the policy of a layer's version.
func (s *Service) LayerPolicy(_ context.Context, v layer.Version) (*function.Policy, error) {
	now, ok := s.cfg.Catalog.LayerVersion(v.Account, v.Name, v.Number)
	if !ok {
		return nil, noLayerVersion(&v)
	}
	if now.Policy == nil {
		return nil, awserr.New("ResourceNotFoundException", "No policy is associated with the given resource.")
	}
	return now.Policy, nil
}

// AllowLayer adds a statement to the policy of a layer's version and returns
// it as JSON, with the policy's new revision.
func (s *Service) AllowLayer(ctx context.Context, v layer.Version, revisionID string, add layer.Statement) (statement, revision string, err error) {
	next, err := s.changeLayerPolicy(ctx, &v, revisionID, func(statements []layer.Statement) ([]layer.Statement, error) {
		if hasStatement(statements, add.Sid) {
			return nil, awserr.New("ResourceConflictException",
				"The statement id (%s) provided already exists. Please provide a new statement id, or remove the existing statement.", add.Sid)
		}
		return append(statements, add), nil
	})
	if err != nil {
		return "", "", err
	}
	b, err := json.Marshal(add)
	return string(b), next.Policy.RevisionID, err
}

// DisallowLayer removes a statement from the policy of a layer's version.
func (s *Service) DisallowLayer(ctx context.Context, v layer.Version, revisionID, sid string) error {
	_, err := s.changeLayerPolicy(ctx, &v, revisionID, func(statements []layer.Statement) ([]layer.Statement, error) {
		if !hasStatement(statements, sid) {
			return nil, awserr.New("ResourceNotFoundException", "Statement %s is not found in resource policy.", sid)
		}
		return slices.DeleteFunc(statements, func(st layer.Statement) bool { return st.Sid == sid }), nil
	})
	return err
}

func hasStatement(statements []layer.Statement, sid string) bool {
	return slices.ContainsFunc(statements, func(st layer.Statement) bool { return st.Sid == sid })
}

// changeLayerPolicy applies an edit to the statements of a version's policy.
// A policy stays, empty, when its last statement is removed, as with AWS.
func (s *Service) changeLayerPolicy(ctx context.Context, v *layer.Version, revisionID string,
	edit func([]layer.Statement) ([]layer.Statement, error)) (*layer.Version, error) {
	next, err := s.cfg.Catalog.LayerVersions.Change(ctx, catalog.LayerVersionKey(v.Account, v.Name, v.Number), func(now *layer.Version) (*layer.Version, error) {
		if now == nil {
			return nil, noLayerVersion(v)
		}
		statements, err := now.Statements()
		if err != nil {
			return nil, err
		}
		if statements, err = edit(statements); err != nil {
			return nil, err
		}
		if revisionID != "" && (now.Policy == nil || now.Policy.RevisionID != revisionID) {
			return nil, awserr.New("PreconditionFailedException", "The Revision Id provided does not match the latest Revision Id. "+
				"Call the GetLayerPolicy API to retrieve the latest Revision Id")
		}
		document, err := layer.Document(statements)
		if err != nil {
			return nil, err
		}
		if len(document) > layer.MaxPolicy {
			return nil, awserr.New("PolicyLengthExceededException", "The final policy size (%d) is bigger than the limit (%d).", len(document), layer.MaxPolicy)
		}
		next := *now
		next.Policy = &function.Policy{RevisionID: newRevisionID(), Document: document}
		return &next, nil
	})
	return next, storeError(err)
}

func noLayerVersion(v *layer.Version) error {
	return awserr.New("ResourceNotFoundException", "Layer version %s does not exist.", v.ARN())
}
