package api_test

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/internal/api"
	"hearth/internal/control"
	"hearth/internal/function"
)

func TestEventInvokeConfig(t *testing.T) {
	h, ctx := startHearth(t), t.Context()
	hi := aws.String("hi")
	h.create("hi")
	_, err := h.PutFunctionEventInvokeConfig(ctx, &lambda.PutFunctionEventInvokeConfigInput{FunctionName: hi})
	want(t, "async-config-063", err, 400, "InvalidParameterValueException", "You must specify at least one of error handling or destination setting.")
	_, err = h.GetFunctionEventInvokeConfig(ctx, &lambda.GetFunctionEventInvokeConfigInput{FunctionName: aws.String("doesnotexist")})
	want(t, "async-config-065", err, 404, "ResourceNotFoundException",
		"The function arn:aws:lambda:us-east-1:000000000000:function:doesnotexist:$LATEST doesn't have an EventInvokeConfig")
	_, err = h.PutFunctionEventInvokeConfig(ctx, &lambda.PutFunctionEventInvokeConfigInput{FunctionName: aws.String("doesnotexist"), MaximumRetryAttempts: aws.Int32(1)})
	want(t, "no function", err, 404, "ResourceNotFoundException", "The function doesn't exist.")
	_, err = h.UpdateFunctionEventInvokeConfig(ctx, &lambda.UpdateFunctionEventInvokeConfigInput{FunctionName: hi, MaximumRetryAttempts: aws.Int32(1)})
	want(t, "nothing to update", err, 404, "ResourceNotFoundException", "")
	_, err = h.PutFunctionEventInvokeConfig(ctx, &lambda.PutFunctionEventInvokeConfigInput{
		FunctionName: hi, DestinationConfig: &types.DestinationConfig{OnSuccess: &types.OnSuccess{Destination: aws.String(hiARN)}},
	})
	want(t, "itself", err, 400, "InvalidParameterValueException", "You can't specify the function as a destination for itself.")

	queue := aws.String("arn:aws:sqs:us-east-1:000000000000:q")
	put, err := h.PutFunctionEventInvokeConfig(ctx, &lambda.PutFunctionEventInvokeConfigInput{
		FunctionName: hi, MaximumRetryAttempts: aws.Int32(0), DestinationConfig: &types.DestinationConfig{OnFailure: &types.OnFailure{Destination: queue}},
	})
	if err != nil || *put.FunctionArn != hiARN+":$LATEST" || *put.MaximumRetryAttempts != 0 || put.MaximumEventAgeInSeconds != nil ||
		*put.DestinationConfig.OnFailure.Destination != *queue || put.LastModified == nil {
		t.Fatalf("put: %+v, %v", put, err)
	}
	up, err := h.UpdateFunctionEventInvokeConfig(ctx, &lambda.UpdateFunctionEventInvokeConfigInput{FunctionName: hi, MaximumEventAgeInSeconds: aws.Int32(60)})
	if err != nil || *up.MaximumEventAgeInSeconds != 60 || *up.MaximumRetryAttempts != 0 || *up.DestinationConfig.OnFailure.Destination != *queue {
		t.Errorf("update: %+v, %v", up, err)
	}
	list, err := h.ListFunctionEventInvokeConfigs(ctx, &lambda.ListFunctionEventInvokeConfigsInput{FunctionName: hi})
	if err != nil || len(list.FunctionEventInvokeConfigs) != 1 {
		t.Errorf("list: %+v, %v", list, err)
	}
	if _, err := h.DeleteFunctionEventInvokeConfig(ctx, &lambda.DeleteFunctionEventInvokeConfigInput{FunctionName: hi}); err != nil {
		t.Error(err)
	}
	_, err = h.DeleteFunctionEventInvokeConfig(ctx, &lambda.DeleteFunctionEventInvokeConfigInput{FunctionName: hi})
	want(t, "delete again", err, 404, "ResourceNotFoundException", "")
}

func TestSettings(t *testing.T) {
	h, ctx := startHearth(t), t.Context()
	hi := aws.String("hi")
	h.create("hi")
	loop, err := h.GetFunctionRecursionConfig(ctx, &lambda.GetFunctionRecursionConfigInput{FunctionName: hi})
	if err != nil || loop.RecursiveLoop != types.RecursiveLoopTerminate {
		t.Errorf("recursion: %+v, %v", loop, err)
	}
	_, err = h.PutFunctionRecursionConfig(ctx, &lambda.PutFunctionRecursionConfigInput{FunctionName: hi, RecursiveLoop: types.RecursiveLoopAllow})
	if err != nil {
		t.Error(err)
	}
	if loop, err = h.GetFunctionRecursionConfig(ctx, &lambda.GetFunctionRecursionConfigInput{FunctionName: hi}); err != nil || loop.RecursiveLoop != types.RecursiveLoopAllow {
		t.Errorf("recursion: %+v, %v", loop, err)
	}
	rule, err := h.GetRuntimeManagementConfig(ctx, &lambda.GetRuntimeManagementConfigInput{FunctionName: hi})
	if err != nil || rule.UpdateRuntimeOn != types.UpdateRuntimeOnAuto || *rule.FunctionArn != hiARN {
		t.Errorf("runtime: %+v, %v", rule, err)
	}
	_, err = h.PutRuntimeManagementConfig(ctx, &lambda.PutRuntimeManagementConfigInput{FunctionName: hi, UpdateRuntimeOn: types.UpdateRuntimeOnManual})
	want(t, "manual without a version", err, 400, "InvalidParameterValueException", "")
	if _, err = h.PutRuntimeManagementConfig(ctx, &lambda.PutRuntimeManagementConfigInput{FunctionName: hi, UpdateRuntimeOn: types.UpdateRuntimeOnFunctionUpdate}); err != nil {
		t.Error(err)
	}
	if rule, err = h.GetRuntimeManagementConfig(ctx, &lambda.GetRuntimeManagementConfigInput{FunctionName: hi}); err != nil ||
		rule.UpdateRuntimeOn != types.UpdateRuntimeOnFunctionUpdate {
		t.Errorf("runtime: %+v, %v", rule, err)
	}
}

// TestConnections keeps and shows what has no effect here.
func TestConnections(t *testing.T) {
	h, ctx := startHearth(t), t.Context()
	hi := aws.String("hi")
	h.create("hi")
	_, err := h.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: hi,
		FileSystemConfigs: []types.FileSystemConfig{{Arn: aws.String("arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-01234567890abcdef"), LocalMountPath: aws.String("/mnt/x")}}})
	want(t, "files without a network", err, 400, "InvalidParameterValueException", "Function must be configured to execute in a VPC to reference an EFS access point.")
	out, err := h.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{
		FunctionName:     hi,
		VpcConfig:        &types.VpcConfig{SubnetIds: []string{"subnet-1"}, SecurityGroupIds: []string{"sg-1"}},
		DeadLetterConfig: &types.DeadLetterConfig{TargetArn: aws.String("arn:aws:sqs:us-east-1:000000000000:q")},
		SnapStart:        &types.SnapStart{ApplyOn: types.SnapStartApplyOnPublishedVersions},
		TracingConfig:    &types.TracingConfig{Mode: types.TracingModeActive},
	})
	if err != nil || out.VpcConfig.SubnetIds[0] != "subnet-1" || *out.DeadLetterConfig.TargetArn != "arn:aws:sqs:us-east-1:000000000000:q" ||
		out.SnapStart.ApplyOn != types.SnapStartApplyOnPublishedVersions || out.SnapStart.OptimizationStatus != types.SnapStartOptimizationStatusOff {
		t.Fatalf("update: %+v, %v", out, err)
	}
	h.settle("hi")
	one := h.publish("hi")
	if one.SnapStart.ApplyOn != types.SnapStartApplyOnNone || one.VpcConfig == nil {
		t.Errorf("snapstart-095: %+v", one)
	}
	_, err = h.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: hi, VpcConfig: &types.VpcConfig{SubnetIds: []string{"subnet-1"}}})
	want(t, "half a network", err, 400, "InvalidParameterValueException", "SubnetIds and SecurityIds must coexist or be both empty list.")
	out, err = h.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{
		FunctionName: hi, VpcConfig: &types.VpcConfig{SubnetIds: []string{}, SecurityGroupIds: []string{}}, DeadLetterConfig: &types.DeadLetterConfig{TargetArn: aws.String("")},
	})
	if err != nil || out.VpcConfig != nil || out.DeadLetterConfig != nil {
		t.Errorf("taken away: %+v, %v", out, err)
	}
}

// slow prepares a configuration once it is let.
type slow struct{ let chan struct{} }

func (s slow) Prepare(ctx context.Context, _ *function.Record, _ *function.Config) error {
	select {
	case <-s.let:
	case <-ctx.Done():
	}
	return ctx.Err()
}

func TestUpdateFacts(t *testing.T) {
	let := make(chan struct{}, 1)
	h, ctx := startHearth(t, func(c *control.Config, _ *api.Config) { c.Preparer = slow{let} }), t.Context()
	hi := aws.String("hi")
	let <- struct{}{}
	h.create("hi")
	out, err := h.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{
		FunctionName: hi, Description: aws.String("Changed-Description"), MemorySize: aws.Int32(512), Timeout: aws.Int32(10),
		Environment: &types.Environment{Variables: map[string]string{"ENV_A": "a"}}, Runtime: types.RuntimePython311,
	})
	if err != nil || *out.Description != "Changed-Description" || *out.MemorySize != 512 || *out.Timeout != 10 || out.Environment.Variables["ENV_A"] != "a" ||
		out.State != types.StateActive || out.LastUpdateStatus != types.LastUpdateStatusInProgress || out.LastUpdateStatusReasonCode != "Creating" {
		t.Errorf("function-003: %+v, %v", out, err)
	}
	_, err = h.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: hi, ZipFile: archiveOf(t, "x")})
	want(t, "function-017", err, 409, "ResourceConflictException",
		"The operation cannot be performed at this time. An update is in progress for resource: "+hiARN)
	let <- struct{}{}
	h.settle("hi")
}
