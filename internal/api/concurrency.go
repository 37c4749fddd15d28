package api

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"

	"hearth/internal/arn"
	"hearth/internal/awserr"
	"hearth/internal/function"
)

// Concurrency is what the control plane does with reserved and provisioned
// concurrency.
type Concurrency interface {
	// Reserve sets a function's reserved concurrency; nil takes it away.
	Reserve(ctx context.Context, account, name string, reserved *int) error
	Provision(ctx context.Context, account, name, qualifier string, n int) (*function.Provisioned, error)
	Unprovision(ctx context.Context, account, name, qualifier string) error
}

// Provisioner knows how far environments are initialised ahead.
type Provisioner interface {
	// Provisioned returns how many environments are ready of those that a
	// version has provisioned, how many of them are idle, and why no more are,
	// if starting them fails.
	Provisioned(version *function.Record) (allocated, available int, failure string)
}

func (s *Server) concurrencyHandlers() map[string]handler {
	return map[string]handler{
		"DeleteFunctionConcurrency":          on(s.deleteConcurrency),
		"DeleteProvisionedConcurrencyConfig": on(s.deleteProvisioned),
		"GetFunctionConcurrency":             on(s.getConcurrency),
		"GetProvisionedConcurrencyConfig":    on(s.getProvisioned),
		"ListProvisionedConcurrencyConfigs":  on(s.listProvisioned),
		"PutFunctionConcurrency":             on(s.putConcurrency),
		"PutProvisionedConcurrencyConfig":    on(s.putProvisioned),
	}
}

func (s *Server) putConcurrency(ctx context.Context, c *call, in *lambda.PutFunctionConcurrencyInput) (smithy.Serializable, error) {
	ref, err := s.unqualified(c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	n := int(*in.ReservedConcurrentExecutions)
	if err := s.cfg.Functions.Reserve(ctx, ref.Account, ref.Name, &n); err != nil {
		return nil, err
	}
	return &lambda.PutFunctionConcurrencyOutput{ReservedConcurrentExecutions: in.ReservedConcurrentExecutions}, nil
}

func (s *Server) deleteConcurrency(ctx context.Context, c *call, in *lambda.DeleteFunctionConcurrencyInput) (smithy.Serializable, error) {
	ref, err := s.unqualified(c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Functions.Reserve(ctx, ref.Account, ref.Name, nil)
}

func (s *Server) getConcurrency(ctx context.Context, c *call, in *lambda.GetFunctionConcurrencyInput) (smithy.Serializable, error) {
	_, record, err := s.whole(ctx, c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	return &lambda.GetFunctionConcurrencyOutput{ReservedConcurrentExecutions: reservedOf(record)}, nil
}

// reservedOf is a function's reserved concurrency as the API shows it.
func reservedOf(r *function.Record) *int32 {
	if r.Reserved == nil {
		return nil
	}
	n := clamp32(*r.Reserved)
	return &n
}

// provisionable resolves a reference whose qualifier is a version or alias.
func (s *Server) provisionable(c *call, reference, qualifier string) (arn.Function, error) {
	ref, err := s.resolve(c, reference, qualifier)
	if err == nil && ref.Qualifier == function.LatestVersion {
		err = badValue("Provisioned Concurrency Configs cannot be applied to unpublished function versions.")
	}
	return ref, err
}

func (s *Server) putProvisioned(ctx context.Context, c *call, in *lambda.PutProvisionedConcurrencyConfigInput) (smithy.Serializable, error) {
	ref, err := s.provisionable(c, *in.FunctionName, *in.Qualifier)
	if err != nil {
		return nil, err
	}
	p, err := s.cfg.Functions.Provision(ctx, ref.Account, ref.Name, ref.Qualifier, int(*in.ProvisionedConcurrentExecutions))
	if err != nil {
		return nil, err
	}
	modified, zero := p.LastModified.UTC().Format(time.RFC3339), int32(0)
	return &lambda.PutProvisionedConcurrencyConfigOutput{
		RequestedProvisionedConcurrentExecutions: in.ProvisionedConcurrentExecutions,
		AllocatedProvisionedConcurrentExecutions: &zero,
		AvailableProvisionedConcurrentExecutions: &zero,
		LastModified:                             &modified,
		Status:                                   types.ProvisionedConcurrencyStatusEnumInProgress,
	}, nil
}

func (s *Server) deleteProvisioned(ctx context.Context, c *call, in *lambda.DeleteProvisionedConcurrencyConfigInput) (smithy.Serializable, error) {
	ref, err := s.provisionable(c, *in.FunctionName, *in.Qualifier)
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Functions.Unprovision(ctx, ref.Account, ref.Name, ref.Qualifier)
}

func (s *Server) getProvisioned(ctx context.Context, c *call, in *lambda.GetProvisionedConcurrencyConfigInput) (smithy.Serializable, error) {
	ref, err := s.provisionable(c, *in.FunctionName, *in.Qualifier)
	if err != nil {
		return nil, err
	}
	record, err := s.cfg.Functions.Get(ctx, ref.Account, ref.Name)
	if err != nil {
		return nil, err
	}
	if record.Provisioned[ref.Qualifier] == nil {
		// AWS tells of a missing version or alias first.
		if _, err := s.cfg.Functions.Resolve(ctx, ref.Account, ref.Name, ref.Qualifier); err != nil {
			return nil, err
		}
		return nil, awserr.New("ProvisionedConcurrencyConfigNotFoundException", "No Provisioned Concurrency Config found for this function")
	}
	p := s.shownProvisioned(ctx, record, ref.Qualifier)
	return &lambda.GetProvisionedConcurrencyConfigOutput{
		RequestedProvisionedConcurrentExecutions: p.RequestedProvisionedConcurrentExecutions,
		AllocatedProvisionedConcurrentExecutions: p.AllocatedProvisionedConcurrentExecutions,
		AvailableProvisionedConcurrentExecutions: p.AvailableProvisionedConcurrentExecutions,
		LastModified:                             p.LastModified, Status: p.Status, StatusReason: p.StatusReason,
	}, nil
}

func (s *Server) listProvisioned(ctx context.Context, c *call, in *lambda.ListProvisionedConcurrencyConfigsInput) (smithy.Serializable, error) {
	_, record, err := s.whole(ctx, c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	qualifiers, next, err := pageOf(record.Provisioned, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	out := &lambda.ListProvisionedConcurrencyConfigsOutput{
		ProvisionedConcurrencyConfigs: []types.ProvisionedConcurrencyConfigListItem{}, NextMarker: next,
	}
	for _, q := range qualifiers {
		out.ProvisionedConcurrencyConfigs = append(out.ProvisionedConcurrencyConfigs, s.shownProvisioned(ctx, record, q))
	}
	return out, nil
}

// shownProvisioned is a provisioned concurrency config as the API shows it.
func (s *Server) shownProvisioned(ctx context.Context, r *function.Record, qualifier string) types.ProvisionedConcurrencyConfigListItem {
	p := r.Provisioned[qualifier]
	var allocated, available int
	var failure string
	if version, err := s.cfg.Functions.Resolve(ctx, r.Account, r.Name, qualifier); err == nil {
		allocated, available, failure = s.cfg.Provisioner.Provisioned(version)
	}
	status := types.ProvisionedConcurrencyStatusEnumInProgress
	switch {
	case allocated >= p.Requested:
		status, failure = types.ProvisionedConcurrencyStatusEnumReady, ""
	case failure != "":
		status = types.ProvisionedConcurrencyStatusEnumFailed
	}
	return types.ProvisionedConcurrencyConfigListItem{
		FunctionArn:                              new(r.ARN() + ":" + qualifier),
		RequestedProvisionedConcurrentExecutions: new(clamp32(p.Requested)),
		AllocatedProvisionedConcurrentExecutions: new(clamp32(min(allocated, p.Requested))),
		AvailableProvisionedConcurrentExecutions: new(clamp32(min(available, p.Requested))),
		LastModified:                             new(p.LastModified.UTC().Format(time.RFC3339)),
		Status:                                   status,
		StatusReason:                             optional(failure),
	}
}
