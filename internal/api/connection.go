package api

import (
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/internal/function"
)

// What a function is connected to beside its code: networks, file systems and
// where its failed events go. Hearth has neither AWS's networks nor its file
// systems; it keeps and shows these settings, so that templates and
// Terraform's plans hold, and a function runs without them.

// applyConnections makes the change of what a function is connected to.
func (ch *change) applyConnections(cfg *function.Config) error {
	if ch.vpc != nil {
		cfg.VPC = &function.VPC{SubnetIDs: ch.vpc.SubnetIds, SecurityGroupIDs: ch.vpc.SecurityGroupIds}
		cfg.VPC.IPv6 = ch.vpc.Ipv6AllowedForDualStack != nil && *ch.vpc.Ipv6AllowedForDualStack
		if len(ch.vpc.SubnetIds)+len(ch.vpc.SecurityGroupIds) == 0 {
			cfg.VPC = nil
		}
	}
	if ch.files != nil {
		cfg.FileSystems = nil
		for _, f := range ch.files {
			cfg.FileSystems = append(cfg.FileSystems, function.FileSystem{ARN: str(f.Arn), Mount: str(f.LocalMountPath)})
		}
	}
	if ch.deadLetter != nil {
		cfg.DeadLetterTarget = str(ch.deadLetter.TargetArn)
	}
	if ch.snapStart != nil {
		cfg.SnapStart = ""
		if ch.snapStart.ApplyOn == types.SnapStartApplyOnPublishedVersions {
			cfg.SnapStart = string(ch.snapStart.ApplyOn)
		}
	}
	if len(cfg.FileSystems) > 0 && cfg.VPC == nil {
		return badValue("Function must be configured to execute in a VPC to reference an EFS access point.")
	}
	return nil
}

// checkConnections checks what the model's constraints do not.
func (ch *change) checkConnections() error {
	if ch.vpc != nil && (len(ch.vpc.SubnetIds) == 0) != (len(ch.vpc.SecurityGroupIds) == 0) {
		return badValue("SubnetIds and SecurityIds must coexist or be both empty list.")
	}
	if ch.deadLetter == nil || str(ch.deadLetter.TargetArn) == "" {
		return nil
	}
	if target := *ch.deadLetter.TargetArn; !strings.Contains(target, ":sqs:") && !strings.Contains(target, ":sns:") {
		return badValue("The provided dead letter queue target %s is invalid. Give the ARN of an SQS queue or an SNS topic.", clip(target))
	}
	return nil
}

// showConnections adds to a configuration what the function is connected to.
func showConnections(out *types.FunctionConfiguration, cfg *function.Config) {
	if cfg.VPC != nil {
		none := ""
		out.VpcConfig = &types.VpcConfigResponse{
			SubnetIds: cfg.VPC.SubnetIDs, SecurityGroupIds: cfg.VPC.SecurityGroupIDs, VpcId: &none, Ipv6AllowedForDualStack: &cfg.VPC.IPv6,
		}
	}
	for i := range cfg.FileSystems {
		f := &cfg.FileSystems[i]
		out.FileSystemConfigs = append(out.FileSystemConfigs, types.FileSystemConfig{Arn: &f.ARN, LocalMountPath: &f.Mount})
	}
	if cfg.DeadLetterTarget != "" {
		out.DeadLetterConfig = &types.DeadLetterConfig{TargetArn: &cfg.DeadLetterTarget}
	}
}

// shownSnapStart is a function's SnapStart setting. Versions are not restored
// from snapshots by this version of Hearth, and do not claim to be.
func shownSnapStart(r *function.Record) *types.SnapStartResponse {
	out := &types.SnapStartResponse{ApplyOn: types.SnapStartApplyOnNone, OptimizationStatus: types.SnapStartOptimizationStatusOff}
	if r.Version == "" && r.Latest.SnapStart != "" {
		out.ApplyOn = types.SnapStartApplyOn(r.Latest.SnapStart)
	}
	return out
}
