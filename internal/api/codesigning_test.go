package api_test

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

const profileARN = "arn:aws:signer:us-east-1:000000000000:/signing-profiles/p/abcdefghij"

func TestCodeSigningConfigs(t *testing.T) {
	h, ctx := startHearth(t), t.Context()
	h.create("hi")
	hi := aws.String("hi")
	publishers := &types.AllowedPublishers{SigningProfileVersionArns: []string{profileARN}}
	out, err := h.CreateCodeSigningConfig(ctx, &lambda.CreateCodeSigningConfigInput{
		AllowedPublishers: publishers, Description: aws.String("d"), Tags: map[string]string{"a": "1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := out.CodeSigningConfig
	if *c.CodeSigningConfigArn != "arn:aws:lambda:us-east-1:000000000000:code-signing-config:"+*c.CodeSigningConfigId || len(*c.CodeSigningConfigId) != 21 ||
		c.CodeSigningPolicies.UntrustedArtifactOnDeployment != types.CodeSigningPolicyWarn || *c.Description != "d" ||
		c.AllowedPublishers.SigningProfileVersionArns[0] != profileARN || len(*c.LastModified) != len("2006-01-02T15:04:05.000+0000") {
		t.Errorf("created: %s", shape(t, c))
	}
	if tags, err := h.ListTags(ctx, &lambda.ListTagsInput{Resource: c.CodeSigningConfigArn}); err != nil || tags.Tags["a"] != "1" {
		t.Errorf("tags: %+v, %v", tags, err)
	}
	none, err := h.GetFunctionCodeSigningConfig(ctx, &lambda.GetFunctionCodeSigningConfigInput{FunctionName: hi})
	if err != nil || none.CodeSigningConfigArn != nil {
		t.Errorf("a function without: %+v, %v", none, err)
	}
	put, err := h.PutFunctionCodeSigningConfig(ctx, &lambda.PutFunctionCodeSigningConfigInput{FunctionName: hi, CodeSigningConfigArn: c.CodeSigningConfigArn})
	if err != nil || *put.CodeSigningConfigArn != *c.CodeSigningConfigArn || *put.FunctionName != "hi" {
		t.Fatalf("put: %+v, %v", put, err)
	}
	h.update("hi", "unsigned code passes with Warn")
	users, err := h.ListFunctionsByCodeSigningConfig(ctx, &lambda.ListFunctionsByCodeSigningConfigInput{CodeSigningConfigArn: c.CodeSigningConfigArn})
	if err != nil || len(users.FunctionArns) != 1 || users.FunctionArns[0] != hiARN {
		t.Errorf("functions: %+v, %v", users, err)
	}
	_, err = h.PutFunctionCodeSigningConfig(ctx, &lambda.PutFunctionCodeSigningConfigInput{FunctionName: aws.String("nope"), CodeSigningConfigArn: c.CodeSigningConfigArn})
	want(t, "no function", err, 404, "ResourceNotFoundException", "Function not found: arn:aws:lambda:us-east-1:000000000000:function:nope")
	_, err = h.DeleteCodeSigningConfig(ctx, &lambda.DeleteCodeSigningConfigInput{CodeSigningConfigArn: c.CodeSigningConfigArn})
	want(t, "in use", err, 409, "ResourceConflictException", "")

	up, err := h.UpdateCodeSigningConfig(ctx, &lambda.UpdateCodeSigningConfigInput{CodeSigningConfigArn: c.CodeSigningConfigArn,
		CodeSigningPolicies: &types.CodeSigningPolicies{UntrustedArtifactOnDeployment: types.CodeSigningPolicyEnforce}})
	if err != nil || up.CodeSigningConfig.CodeSigningPolicies.UntrustedArtifactOnDeployment != "Enforce" || *up.CodeSigningConfig.Description != "d" {
		t.Fatalf("update: %+v, %v", up, err)
	}
	const refused = "Lambda cannot deploy the function. The function or layer might be signed using a signature that the client is not configured to accept. " +
		"Check the provided signature for "
	for _, dry := range []bool{true, false} {
		_, err = h.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: hi, ZipFile: archiveOf(t, "three"), DryRun: dry})
		want(t, "enforced", err, 400, "CodeVerificationFailedException", refused+"hi.")
	}
	create := &lambda.CreateFunctionInput{
		FunctionName: aws.String("new"), Role: aws.String(role), Runtime: types.RuntimePython311, Handler: aws.String("app.handler"),
		Code: &types.FunctionCode{ZipFile: archiveOf(t, "new")}, CodeSigningConfigArn: c.CodeSigningConfigArn,
	}
	_, err = h.CreateFunction(ctx, create)
	want(t, "enforced", err, 400, "CodeVerificationFailedException", refused+"new.")

	if _, err := h.DeleteFunctionCodeSigningConfig(ctx, &lambda.DeleteFunctionCodeSigningConfigInput{FunctionName: hi}); err != nil {
		t.Error(err)
	}
	h.update("hi", "four")
	list, err := h.ListCodeSigningConfigs(ctx, &lambda.ListCodeSigningConfigsInput{})
	if err != nil || len(list.CodeSigningConfigs) != 1 {
		t.Errorf("list: %+v, %v", list, err)
	}
	if _, err := h.DeleteCodeSigningConfig(ctx, &lambda.DeleteCodeSigningConfigInput{CodeSigningConfigArn: c.CodeSigningConfigArn}); err != nil {
		t.Error(err)
	}
	const missing = "The code signing configuration cannot be found. Check that the provided configuration is not deleted: "
	_, err = h.PutFunctionCodeSigningConfig(ctx, &lambda.PutFunctionCodeSigningConfigInput{FunctionName: hi, CodeSigningConfigArn: c.CodeSigningConfigArn})
	want(t, "put a deleted one", err, 404, "CodeSigningConfigNotFoundException", missing+*c.CodeSigningConfigArn+".")
	_, err = h.CreateFunction(ctx, create)
	want(t, "create with a deleted one", err, 404, "CodeSigningConfigNotFoundException", missing+*c.CodeSigningConfigArn+".")
	_, err = h.GetCodeSigningConfig(ctx, &lambda.GetCodeSigningConfigInput{CodeSigningConfigArn: c.CodeSigningConfigArn})
	want(t, "get a deleted one", err, 404, "ResourceNotFoundException", "The Lambda code signing configuration "+*c.CodeSigningConfigArn+" can not be found.")
}

// TestCreateWithCodeSigning: a function is created with a configuration.
func TestCreateWithCodeSigning(t *testing.T) {
	h, ctx := startHearth(t), t.Context()
	out, err := h.CreateCodeSigningConfig(ctx, &lambda.CreateCodeSigningConfigInput{
		AllowedPublishers: &types.AllowedPublishers{SigningProfileVersionArns: []string{profileARN}},
	})
	if err != nil {
		t.Fatal(err)
	}
	arn := out.CodeSigningConfig.CodeSigningConfigArn
	if _, err := h.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: aws.String("new"), Role: aws.String(role), Runtime: types.RuntimePython311, Handler: aws.String("app.handler"),
		Code: &types.FunctionCode{ZipFile: archiveOf(t, "new")}, CodeSigningConfigArn: arn,
	}); err != nil {
		t.Fatal(err)
	}
	got, err := h.GetFunctionCodeSigningConfig(ctx, &lambda.GetFunctionCodeSigningConfigInput{FunctionName: aws.String("new")})
	if err != nil || *got.CodeSigningConfigArn != *arn || *got.FunctionName != "new" {
		t.Errorf("%+v, %v", got, err)
	}
}
