package api

import (
	"context"
	"maps"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"

	"hearth/internal/arn"
	"hearth/internal/function"
)

// Aliases is what the control plane does with aliases.
type Aliases interface {
	CreateAlias(ctx context.Context, account, name string, alias function.Alias) (*function.Alias, error)
	UpdateAlias(ctx context.Context, account, name string, update function.AliasUpdate) (*function.Alias, error)
	DeleteAlias(ctx context.Context, account, name, alias string) error
	Alias(ctx context.Context, account, name, alias string) (*function.Alias, error)
}

func (s *Server) aliasHandlers() map[string]handler {
	return map[string]handler{
		"CreateAlias": on(s.createAlias),
		"DeleteAlias": on(s.deleteAlias),
		"GetAlias":    on(s.getAlias),
		"ListAliases": on(s.listAliases),
		"UpdateAlias": on(s.updateAlias),
	}
}

func (s *Server) createAlias(ctx context.Context, c *call, in *lambda.CreateAliasInput) (smithy.Serializable, error) {
	ref, err := s.unqualified(c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	a, err := s.cfg.Functions.CreateAlias(ctx, ref.Account, ref.Name, function.Alias{
		Name: *in.Name, Version: *in.FunctionVersion, Description: str(in.Description), Weights: weights(in.RoutingConfig),
	})
	if err != nil {
		return nil, err
	}
	return shownAlias(ref, a), nil
}

func (s *Server) updateAlias(ctx context.Context, c *call, in *lambda.UpdateAliasInput) (smithy.Serializable, error) {
	ref, err := s.unqualified(c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	update := function.AliasUpdate{
		Name: *in.Name, RevisionID: str(in.RevisionId), Version: str(in.FunctionVersion), Description: in.Description,
	}
	if in.RoutingConfig != nil {
		update.Weights = new(weights(in.RoutingConfig))
	}
	a, err := s.cfg.Functions.UpdateAlias(ctx, ref.Account, ref.Name, update)
	if err != nil {
		return nil, err
	}
	return shownAlias(ref, a), nil
}

func weights(routing *types.AliasRoutingConfiguration) map[string]float64 {
	if routing == nil {
		return nil
	}
	return routing.AdditionalVersionWeights
}

func (s *Server) getAlias(ctx context.Context, c *call, in *lambda.GetAliasInput) (smithy.Serializable, error) {
	ref, err := s.unqualified(c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	a, err := s.cfg.Functions.Alias(ctx, ref.Account, ref.Name, *in.Name)
	if err != nil {
		return nil, err
	}
	return shownAlias(ref, a), nil
}

func (s *Server) deleteAlias(ctx context.Context, c *call, in *lambda.DeleteAliasInput) (smithy.Serializable, error) {
	ref, err := s.unqualified(c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Functions.DeleteAlias(ctx, ref.Account, ref.Name, *in.Name)
}

func (s *Server) listAliases(ctx context.Context, c *call, in *lambda.ListAliasesInput) (smithy.Serializable, error) {
	ref, record, err := s.whole(ctx, c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	aliases := maps.Clone(record.Aliases)
	maps.DeleteFunc(aliases, func(_ string, a *function.Alias) bool {
		_, weighted := a.Weights[str(in.FunctionVersion)]
		return in.FunctionVersion != nil && a.Version != *in.FunctionVersion && !weighted
	})
	names, next, err := pageOf(aliases, in.Marker, in.MaxItems)
	if err != nil {
		return nil, err
	}
	out := &lambda.ListAliasesOutput{Aliases: []types.AliasConfiguration{}, NextMarker: next}
	for _, name := range names {
		out.Aliases = append(out.Aliases, *shownAlias(ref, aliases[name]))
	}
	return out, nil
}

// shownAlias is an alias as the API shows it.
func shownAlias(ref arn.Function, a *function.Alias) *types.AliasConfiguration {
	ref.Qualifier = a.Name
	text := ref.String()
	out := &types.AliasConfiguration{
		AliasArn: &text, Name: &a.Name, FunctionVersion: &a.Version, Description: &a.Description, RevisionId: &a.RevisionID,
	}
	if len(a.Weights) > 0 {
		out.RoutingConfig = &types.AliasRoutingConfiguration{AdditionalVersionWeights: a.Weights}
	}
	return out
}
