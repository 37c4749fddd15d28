package api

import (
	"context"
	"encoding/json"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/smithy-go"

	"hearth/internal/arn"
	"hearth/internal/function"
	"hearth/internal/policy"
)

// Permissions is what the control plane does with resource policies.
type Permissions interface {
	Permit(ctx context.Context, account, name, qualifier, revisionID string, p policy.Permission) (policy.Statement, error)
	Forbid(ctx context.Context, account, name, qualifier, revisionID, statementID string) error
	// PutPolicy replaces a whole policy; an empty document removes it.
	PutPolicy(ctx context.Context, account, name, qualifier, revisionID, document string) (*function.Policy, error)
	Policy(ctx context.Context, account, name, qualifier string) (*function.Policy, error)
}

func (s *Server) permissionHandlers() map[string]handler {
	return map[string]handler{
		"AddPermission":        on(s.addPermission),
		"DeleteResourcePolicy": on(s.deleteResourcePolicy),
		"GetPolicy":            on(s.getPolicy),
		"GetResourcePolicy":    on(s.getResourcePolicy),
		"PutResourcePolicy":    on(s.putResourcePolicy),
		"RemovePermission":     on(s.removePermission),
	}
}

func (s *Server) addPermission(ctx context.Context, c *call, in *lambda.AddPermissionInput) (smithy.Serializable, error) {
	ref, err := s.resolve(c, *in.FunctionName, str(in.Qualifier))
	if err != nil {
		return nil, err
	}
	statement, err := s.cfg.Functions.Permit(ctx, ref.Account, ref.Name, ref.Qualifier, str(in.RevisionId), policy.Permission{
		StatementID: *in.StatementId, Action: *in.Action, Principal: *in.Principal,
		PrincipalOrgID: str(in.PrincipalOrgID), SourceARN: str(in.SourceArn), SourceAccount: str(in.SourceAccount),
		EventSourceToken: str(in.EventSourceToken), FunctionURLAuthType: string(in.FunctionUrlAuthType),
		InvokedViaFunctionURL: in.InvokedViaFunctionUrl != nil && *in.InvokedViaFunctionUrl,
	})
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(&statement)
	if err != nil {
		return nil, err
	}
	return &lambda.AddPermissionOutput{Statement: new(string(text))}, nil
}

func (s *Server) removePermission(ctx context.Context, c *call, in *lambda.RemovePermissionInput) (smithy.Serializable, error) {
	ref, err := s.resolve(c, *in.FunctionName, str(in.Qualifier))
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Functions.Forbid(ctx, ref.Account, ref.Name, ref.Qualifier, str(in.RevisionId), *in.StatementId)
}

func (s *Server) getPolicy(ctx context.Context, c *call, in *lambda.GetPolicyInput) (smithy.Serializable, error) {
	ref, err := s.resolve(c, *in.FunctionName, str(in.Qualifier))
	if err != nil {
		return nil, err
	}
	p, err := s.cfg.Functions.Policy(ctx, ref.Account, ref.Name, ref.Qualifier)
	if err != nil {
		return nil, err
	}
	return &lambda.GetPolicyOutput{Policy: &p.Document, RevisionId: &p.RevisionID}, nil
}

// policyOwner resolves the ARN of a function whose policy is meant.
func (s *Server) policyOwner(c *call, resource string) (arn.Function, error) {
	ref, err := arn.Parse(resource)
	if err != nil || ref.Partition == "" {
		return ref, badValue("Give the ARN of a function, version or alias as ResourceArn. Hearth keeps the policies of nothing else.")
	}
	return s.resolve(c, resource, "")
}

func (s *Server) getResourcePolicy(ctx context.Context, c *call, in *lambda.GetResourcePolicyInput) (smithy.Serializable, error) {
	ref, err := s.policyOwner(c, *in.ResourceArn)
	if err != nil {
		return nil, err
	}
	p, err := s.cfg.Functions.Policy(ctx, ref.Account, ref.Name, ref.Qualifier)
	if err != nil {
		return nil, err
	}
	return &lambda.GetResourcePolicyOutput{Policy: &p.Document, RevisionId: &p.RevisionID}, nil
}

func (s *Server) putResourcePolicy(ctx context.Context, c *call, in *lambda.PutResourcePolicyInput) (smithy.Serializable, error) {
	ref, err := s.policyOwner(c, *in.ResourceArn)
	if err != nil {
		return nil, err
	}
	if *in.Policy == "" {
		return nil, badValue("The policy is empty. Use DeleteResourcePolicy to remove a policy.")
	}
	p, err := s.cfg.Functions.PutPolicy(ctx, ref.Account, ref.Name, ref.Qualifier, str(in.RevisionId), *in.Policy)
	if err != nil {
		return nil, err
	}
	return &lambda.PutResourcePolicyOutput{Policy: &p.Document, RevisionId: &p.RevisionID}, nil
}

func (s *Server) deleteResourcePolicy(ctx context.Context, c *call, in *lambda.DeleteResourcePolicyInput) (smithy.Serializable, error) {
	ref, err := s.policyOwner(c, *in.ResourceArn)
	if err != nil {
		return nil, err
	}
	_, err = s.cfg.Functions.PutPolicy(ctx, ref.Account, ref.Name, ref.Qualifier, str(in.RevisionId), "")
	return nil, err
}
