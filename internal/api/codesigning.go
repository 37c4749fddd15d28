package api

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"

	"hearth/internal/awserr"
	"hearth/internal/codesigning"
	"hearth/internal/function"
)

// CodeSigning is what the control plane does with code signing configurations.
type CodeSigning interface {
	CreateCodeSigningConfig(ctx context.Context, asked *codesigning.Config) (*codesigning.Config, error)
	// UpdateCodeSigningConfig makes the change that apply makes in a private
	// copy; it may be called more than once.
	UpdateCodeSigningConfig(ctx context.Context, account, id string, apply func(next *codesigning.Config)) (*codesigning.Config, error)
	DeleteCodeSigningConfig(ctx context.Context, account, id string) error
	CodeSigningConfig(ctx context.Context, account, id string) (*codesigning.Config, error)
	// CodeSigningConfigs returns up to limit configurations from the one
	// behind after on; next is empty at the end, or the after of the next page.
	CodeSigningConfigs(ctx context.Context, account, after string, limit int) (list []*codesigning.Config, next string, err error)
	TagCodeSigningConfig(ctx context.Context, account, id string, add map[string]string, remove []string) error
	// SetCodeSigning gives a function a configuration, or takes it away.
	SetCodeSigning(ctx context.Context, account, name, arn string) error
	// SignedFunctions pages through the functions that have a configuration.
	SignedFunctions(ctx context.Context, account, id, after string, limit int) (list []*function.Record, next string, err error)
}

func (s *Server) codeSigningHandlers() map[string]handler {
	return map[string]handler{
		"CreateCodeSigningConfig":          on(s.createCodeSigning),
		"DeleteCodeSigningConfig":          on(s.deleteCodeSigning),
		"DeleteFunctionCodeSigningConfig":  on(s.deleteFunctionCodeSigning),
		"GetCodeSigningConfig":             on(s.getCodeSigning),
		"GetFunctionCodeSigningConfig":     on(s.getFunctionCodeSigning),
		"ListCodeSigningConfigs":           on(s.listCodeSigning),
		"ListFunctionsByCodeSigningConfig": on(s.listSignedFunctions),
		"PutFunctionCodeSigningConfig":     on(s.putFunctionCodeSigning),
		"UpdateCodeSigningConfig":          on(s.updateCodeSigning),
	}
}

func (s *Server) createCodeSigning(ctx context.Context, c *call, in *lambda.CreateCodeSigningConfigInput) (smithy.Serializable, error) {
	if err := checkTags(nil, in.Tags); err != nil {
		return nil, err
	}
	asked := &codesigning.Config{
		Account: c.AccountID, Description: str(in.Description), Publishers: in.AllowedPublishers.SigningProfileVersionArns,
		Untrusted: codesigning.Warn, Tags: in.Tags,
	}
	if in.CodeSigningPolicies != nil && in.CodeSigningPolicies.UntrustedArtifactOnDeployment != "" {
		asked.Untrusted = string(in.CodeSigningPolicies.UntrustedArtifactOnDeployment)
	}
	config, err := s.cfg.Functions.CreateCodeSigningConfig(ctx, asked)
	if err != nil {
		return nil, err
	}
	return &lambda.CreateCodeSigningConfigOutput{CodeSigningConfig: shownCodeSigning(config)}, nil
}

func (s *Server) updateCodeSigning(ctx context.Context, c *call, in *lambda.UpdateCodeSigningConfigInput) (smithy.Serializable, error) {
	account, id, err := s.codeSigningID(c, *in.CodeSigningConfigArn)
	if err != nil {
		return nil, err
	}
	config, err := s.cfg.Functions.UpdateCodeSigningConfig(ctx, account, id, func(next *codesigning.Config) {
		if in.Description != nil {
			next.Description = *in.Description
		}
		if in.AllowedPublishers != nil {
			next.Publishers = in.AllowedPublishers.SigningProfileVersionArns
		}
		if in.CodeSigningPolicies != nil && in.CodeSigningPolicies.UntrustedArtifactOnDeployment != "" {
			next.Untrusted = string(in.CodeSigningPolicies.UntrustedArtifactOnDeployment)
		}
	})
	if err != nil {
		return nil, err
	}
	return &lambda.UpdateCodeSigningConfigOutput{CodeSigningConfig: shownCodeSigning(config)}, nil
}

func (s *Server) getCodeSigning(ctx context.Context, c *call, in *lambda.GetCodeSigningConfigInput) (smithy.Serializable, error) {
	account, id, err := s.codeSigningID(c, *in.CodeSigningConfigArn)
	if err != nil {
		return nil, err
	}
	config, err := s.cfg.Functions.CodeSigningConfig(ctx, account, id)
	if err != nil {
		return nil, err
	}
	return &lambda.GetCodeSigningConfigOutput{CodeSigningConfig: shownCodeSigning(config)}, nil
}

func (s *Server) deleteCodeSigning(ctx context.Context, c *call, in *lambda.DeleteCodeSigningConfigInput) (smithy.Serializable, error) {
	account, id, err := s.codeSigningID(c, *in.CodeSigningConfigArn)
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Functions.DeleteCodeSigningConfig(ctx, account, id)
}

func (s *Server) listCodeSigning(ctx context.Context, c *call, in *lambda.ListCodeSigningConfigsInput) (smithy.Serializable, error) {
	after, err := readMarker(in.Marker)
	if err != nil {
		return nil, err
	}
	list, next, err := s.cfg.Functions.CodeSigningConfigs(ctx, c.AccountID, after, pageSize(in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := &lambda.ListCodeSigningConfigsOutput{CodeSigningConfigs: []types.CodeSigningConfig{}, NextMarker: marker(next)}
	for _, config := range list {
		out.CodeSigningConfigs = append(out.CodeSigningConfigs, *shownCodeSigning(config))
	}
	return out, nil
}

func (s *Server) listSignedFunctions(ctx context.Context, c *call, in *lambda.ListFunctionsByCodeSigningConfigInput) (smithy.Serializable, error) {
	account, id, err := s.codeSigningID(c, *in.CodeSigningConfigArn)
	if err != nil {
		return nil, err
	}
	after, err := readMarker(in.Marker)
	if err != nil {
		return nil, err
	}
	list, next, err := s.cfg.Functions.SignedFunctions(ctx, account, id, after, pageSize(in.MaxItems))
	if err != nil {
		return nil, err
	}
	out := &lambda.ListFunctionsByCodeSigningConfigOutput{FunctionArns: []string{}, NextMarker: marker(next)}
	for _, r := range list {
		out.FunctionArns = append(out.FunctionArns, r.ARN())
	}
	return out, nil
}

func (s *Server) putFunctionCodeSigning(ctx context.Context, c *call, in *lambda.PutFunctionCodeSigningConfigInput) (smithy.Serializable, error) {
	ref, err := s.unqualified(c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	if err := s.cfg.Functions.SetCodeSigning(ctx, ref.Account, ref.Name, *in.CodeSigningConfigArn); err != nil {
		return nil, err
	}
	return &lambda.PutFunctionCodeSigningConfigOutput{CodeSigningConfigArn: in.CodeSigningConfigArn, FunctionName: &ref.Name}, nil
}

// getFunctionCodeSigning answers nothing at all for a function without a
// configuration, as AWS does.
func (s *Server) getFunctionCodeSigning(ctx context.Context, c *call, in *lambda.GetFunctionCodeSigningConfigInput) (smithy.Serializable, error) {
	ref, err := s.unqualified(c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	r, err := s.cfg.Functions.Get(ctx, ref.Account, ref.Name)
	if err != nil {
		return nil, err
	}
	out := &lambda.GetFunctionCodeSigningConfigOutput{}
	if r.CodeSigningConfig != "" {
		out.CodeSigningConfigArn, out.FunctionName = &r.CodeSigningConfig, &r.Name
	}
	return out, nil
}

func (s *Server) deleteFunctionCodeSigning(ctx context.Context, c *call, in *lambda.DeleteFunctionCodeSigningConfigInput) (smithy.Serializable, error) {
	ref, err := s.unqualified(c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	return nil, s.cfg.Functions.SetCodeSigning(ctx, ref.Account, ref.Name, "")
}

// codeSigningID reads the ARN of a configuration of the caller's account.
func (s *Server) codeSigningID(c *call, arn string) (account, id string, err error) {
	account, id, ok := codesigning.ParseARN(s.cfg.Region, arn)
	if !ok || account != c.AccountID {
		return "", "", awserr.New("ResourceNotFoundException", "The Lambda code signing configuration %s can not be found.", clip(arn))
	}
	return account, id, nil
}

func shownCodeSigning(c *codesigning.Config) *types.CodeSigningConfig {
	arn, modified := c.ARN(), c.LastModified.UTC().Format(timestamp)
	return &types.CodeSigningConfig{
		AllowedPublishers:    &types.AllowedPublishers{SigningProfileVersionArns: c.Publishers},
		CodeSigningConfigArn: &arn,
		CodeSigningConfigId:  &c.ID,
		CodeSigningPolicies:  &types.CodeSigningPolicies{UntrustedArtifactOnDeployment: types.CodeSigningPolicy(c.Untrusted)},
		Description:          &c.Description,
		LastModified:         &modified,
	}
}
