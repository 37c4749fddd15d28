package control

import (
	"context"
	"errors"
	"slices"

	"hearth/internal/awserr"
	"hearth/internal/function"
	"hearth/internal/policy"
)

// maxPolicy is the most bytes of a resource policy, as AWS has it.
const maxPolicy = 20 << 10

// policyID is the Id of the policies that statements are added to.
const policyID = "default"

// statementEdit makes of the statements of a policy, which is that of the
// resource of an ARN, those that it is to have.
type statementEdit func(arn string, now []policy.Statement) ([]policy.Statement, error)

// permit adds the statement of a permission, which is stored in added.
func permit(p policy.Permission, added *policy.Statement) statementEdit {
	return func(arn string, now []policy.Statement) ([]policy.Statement, error) {
		p.Resource = arn
		made, err := p.Statement()
		if errors.Is(err, policy.ErrPrincipal) {
			return nil, awserr.New("InvalidParameterValueException", "%s", policy.ErrPrincipal.Error())
		}
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(now, func(st policy.Statement) bool { return st.Sid == p.StatementID }) {
			return nil, awserr.New("ResourceConflictException",
				"The statement id (%s) provided already exists. Please provide a new statement id, or remove the existing statement.", p.StatementID)
		}
		*added = made
		return append(now, made), nil
	}
}

// forbid removes a statement.
func forbid(statementID string) statementEdit {
	return func(_ string, now []policy.Statement) ([]policy.Statement, error) {
		next := slices.DeleteFunc(now, func(st policy.Statement) bool { return st.Sid == statementID })
		if len(next) == len(now) {
			return nil, awserr.New("ResourceNotFoundException", "Statement %s is not found in resource policy.", statementID)
		}
		return next, nil
	}
}

// Permit adds a statement to the resource policy of a function, or of the
// alias or version that the qualifier names. It returns the statement.
func (s *Service) Permit(ctx context.Context, account, name, qualifier, revisionID string, p policy.Permission) (added policy.Statement, err error) {
	err = s.changePolicy(ctx, account, name, qualifier, revisionID, permit(p, &added))
	return added, err
}

// Forbid removes a statement from a resource policy.
func (s *Service) Forbid(ctx context.Context, account, name, qualifier, revisionID, statementID string) error {
	return s.changePolicy(ctx, account, name, qualifier, revisionID, forbid(statementID))
}

// PutPolicy replaces a whole resource policy. An empty document removes it.
func (s *Service) PutPolicy(ctx context.Context, account, name, qualifier, revisionID, document string) (*function.Policy, error) {
	next := &function.Policy{RevisionID: newRevisionID(), Document: document}
	if document != "" {
		if len(document) > maxPolicy {
			return nil, policyTooLong()
		}
		if _, err := policy.Parse(policy.KindResource, name, []byte(document)); err != nil {
			return nil, awserr.New("InvalidParameterValueException", "%s", err.Error())
		}
	}
	_, err := s.attach(ctx, account, name, func(r *function.Record) error {
		if err := s.checkPolicyOwner(r, qualifier); err != nil {
			return err
		}
		now := r.Policies[qualifier]
		if err := checkPolicyRevision(now, revisionID); err != nil {
			return err
		}
		if document == "" {
			if now == nil {
				return noPolicy()
			}
			delete(r.Policies, qualifier)
			return nil
		}
		setPolicy(r, qualifier, next)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return next, nil
}

// Policy returns a resource policy.
func (s *Service) Policy(_ context.Context, account, name, qualifier string) (*function.Policy, error) {
	r, ok := s.cfg.Catalog.Lookup(account, name)
	if !ok {
		return nil, s.notQualified(account, name, qualifier)
	}
	p := r.Policies[qualifier]
	if p == nil {
		return nil, noPolicy()
	}
	return p, nil
}

// changePolicy stores what f makes of the statements of a policy; none remove it.
func (s *Service) changePolicy(ctx context.Context, account, name, qualifier, revisionID string, f statementEdit) error {
	_, err := s.attach(ctx, account, name, func(r *function.Record) error {
		if err := s.checkPolicyOwner(r, qualifier); err != nil {
			return err
		}
		arn := r.ARN()
		if qualifier != "" {
			arn += ":" + qualifier
		}
		now := r.Policies[qualifier]
		if err := checkPolicyRevision(now, revisionID); err != nil {
			return err
		}
		var statements []policy.Statement
		id := policyID
		if now != nil {
			d, err := policy.Parse(policy.KindResource, arn, []byte(now.Document))
			if err != nil {
				return err
			}
			statements, id = d.Statements, d.ID
		}
		next, err := f(arn, statements)
		if err != nil {
			return err
		}
		p, err := policyWith(arn, id, next)
		if err != nil {
			return err
		}
		setPolicy(r, qualifier, p)
		return nil
	})
	return err
}

// policyWith makes a new policy of statements, or nil of none.
func policyWith(name, id string, statements []policy.Statement) (*function.Policy, error) {
	if len(statements) == 0 {
		return nil, nil
	}
	d := policy.Document{Name: name, Kind: policy.KindResource, Version: policy.Version2012, ID: id, Statements: statements}
	text, err := d.MarshalJSON()
	if err != nil {
		return nil, err
	}
	if len(text) > maxPolicy {
		return nil, policyTooLong()
	}
	if _, err := policy.Parse(policy.KindResource, name, text); err != nil {
		return nil, awserr.New("InvalidParameterValueException", "%s", err.Error())
	}
	return &function.Policy{RevisionID: newRevisionID(), Document: string(text)}, nil
}

// setPolicy stores a policy; nil removes it.
func setPolicy(r *function.Record, qualifier string, p *function.Policy) {
	if p == nil {
		delete(r.Policies, qualifier)
		return
	}
	if r.Policies == nil {
		r.Policies = make(map[string]*function.Policy)
	}
	r.Policies[qualifier] = p
}

// checkPolicyOwner checks that what a policy is for exists and can have one.
func (s *Service) checkPolicyOwner(r *function.Record, qualifier string) error {
	if qualifier == function.LatestVersion {
		return awserr.New("InvalidParameterValueException", "We currently do not support adding policies for $LATEST.")
	}
	if qualifier != "" && !s.hasTarget(r, qualifier) {
		return s.notQualified(r.Account, r.Name, qualifier)
	}
	return nil
}

func checkPolicyRevision(now *function.Policy, asked string) error {
	if asked == "" || now != nil && now.RevisionID == asked {
		return nil
	}
	return awserr.New("PreconditionFailedException", "The RevisionId provided does not match the latest RevisionId. "+
		"Call the GetPolicy API to retrieve the latest RevisionId for your resource.")
}

func noPolicy() error {
	return awserr.New("ResourceNotFoundException", "The resource you requested does not exist.")
}

func policyTooLong() error {
	return awserr.New("PolicyLengthExceededException", "The final policy size is bigger than the limit (%d).", maxPolicy)
}
