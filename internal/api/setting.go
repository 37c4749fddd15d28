package api

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"

	"hearth/internal/arn"
	"hearth/internal/function"
)

// Settings is what the control plane does with small settings of functions.
type Settings interface {
	URLs
	// SetEventInvoke stores what f makes of the present configuration: nil is
	// none.
	SetEventInvoke(ctx context.Context, account, name, qualifier string,
		f func(now *function.EventInvoke) (*function.EventInvoke, error)) (*function.EventInvoke, error)
	SetRuntimeRule(ctx context.Context, account, name, qualifier string, rule function.RuntimeRule) error
	SetRecursiveLoop(ctx context.Context, account, name, loop string) error
}

func (s *Server) settingHandlers() map[string]handler {
	return map[string]handler{
		"GetFunctionRecursionConfig": on(s.getRecursion),
		"GetRuntimeManagementConfig": on(s.getRuntimeRule),
		"PutFunctionRecursionConfig": on(s.putRecursion),
		"PutRuntimeManagementConfig": on(s.putRuntimeRule),
	}
}

func (s *Server) getRecursion(ctx context.Context, c *call, in *lambda.GetFunctionRecursionConfigInput) (smithy.Serializable, error) {
	_, record, err := s.whole(ctx, c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	loop := types.RecursiveLoopTerminate
	if record.RecursiveLoop != "" {
		loop = types.RecursiveLoop(record.RecursiveLoop)
	}
	return &lambda.GetFunctionRecursionConfigOutput{RecursiveLoop: loop}, nil
}

func (s *Server) putRecursion(ctx context.Context, c *call, in *lambda.PutFunctionRecursionConfigInput) (smithy.Serializable, error) {
	ref, err := s.unqualified(c, *in.FunctionName)
	if err != nil {
		return nil, err
	}
	if err := s.cfg.Functions.SetRecursiveLoop(ctx, ref.Account, ref.Name, string(in.RecursiveLoop)); err != nil {
		return nil, err
	}
	return &lambda.PutFunctionRecursionConfigOutput{RecursiveLoop: in.RecursiveLoop}, nil
}

func (s *Server) putRuntimeRule(ctx context.Context, c *call, in *lambda.PutRuntimeManagementConfigInput) (smithy.Serializable, error) {
	ref, err := s.targeted(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	record, err := s.cfg.Functions.Resolve(ctx, ref.Account, ref.Name, ref.Qualifier)
	if err != nil {
		return nil, err
	}
	if err := s.checkRuntimeRule(record, in); err != nil {
		return nil, err
	}
	rule := function.RuntimeRule{UpdateOn: string(in.UpdateRuntimeOn), ARN: str(in.RuntimeVersionArn)}
	if err := s.cfg.Functions.SetRuntimeRule(ctx, ref.Account, ref.Name, ref.Qualifier, rule); err != nil {
		return nil, err
	}
	return &lambda.PutRuntimeManagementConfigOutput{
		FunctionArn: shownTarget(ref), UpdateRuntimeOn: in.UpdateRuntimeOn, RuntimeVersionArn: in.RuntimeVersionArn,
	}, nil
}

// checkRuntimeRule refuses runtime versions that are not there: this version
// of Hearth keeps one of each runtime, that which its recipes build.
func (s *Server) checkRuntimeRule(record *function.Record, in *lambda.PutRuntimeManagementConfigInput) error {
	manual, asked := in.UpdateRuntimeOn == types.UpdateRuntimeOnManual, str(in.RuntimeVersionArn)
	switch {
	case !manual && asked != "":
		return badValue("RuntimeVersionArn can only be given with UpdateRuntimeOn Manual.")
	case manual && asked == "":
		return badValue("RuntimeVersionArn must be given with UpdateRuntimeOn Manual.")
	case manual && asked != s.runtimeVersionARN(record):
		return badValue("Runtime version %s is not on this Hearth. %s is at %s.", clip(asked), record.Latest.Runtime, s.runtimeVersionARN(record))
	}
	return nil
}

func (s *Server) getRuntimeRule(ctx context.Context, c *call, in *lambda.GetRuntimeManagementConfigInput) (smithy.Serializable, error) {
	ref, err := s.targeted(c, *in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	if _, err := s.cfg.Functions.Resolve(ctx, ref.Account, ref.Name, ref.Qualifier); err != nil {
		return nil, err
	}
	record, err := s.cfg.Functions.Get(ctx, ref.Account, ref.Name)
	if err != nil {
		return nil, err
	}
	out := &lambda.GetRuntimeManagementConfigOutput{FunctionArn: shownTarget(ref), UpdateRuntimeOn: types.UpdateRuntimeOnAuto}
	if rule := record.RuntimeRules[ref.Qualifier]; rule != nil {
		out.UpdateRuntimeOn, out.RuntimeVersionArn = types.UpdateRuntimeOn(rule.UpdateOn), optional(rule.ARN)
	}
	return out, nil
}

// shownTarget is the ARN of what was configured, as AWS shows it: without a
// qualifier for $LATEST.
func shownTarget(ref arn.Function) *string {
	if ref.Qualifier == function.LatestVersion {
		ref.Qualifier = ""
	}
	return new(ref.String())
}
