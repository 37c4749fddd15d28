package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
)

func TestUpdateFunctionConfiguration(t *testing.T) {
	b := start(t)
	ctx := t.Context()
	b.create(t, "hi")
	name := aws.String("hi")
	out, err := b.client.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{
		FunctionName: name, Timeout: aws.Int32(10), Description: aws.String("changed"), RevisionId: aws.String("r1"),
		Environment:   &types.Environment{Variables: map[string]string{"ENV_A": "a"}},
		LoggingConfig: &types.LoggingConfig{LogFormat: types.LogFormatJson},
	})
	if err != nil {
		t.Fatal(err)
	}
	if *out.Timeout != 10 || *out.Description != "changed" || out.Environment.Variables["ENV_A"] != "a" || out.LoggingConfig.SystemLogLevel != "INFO" {
		t.Errorf("changed fields: %+v", out)
	}
	if *out.MemorySize != 128 || *out.Handler != "app.handler" || out.Runtime != types.RuntimePython311 || *out.Role != testRole {
		t.Errorf("untouched fields: %+v", out)
	}
	_, err = b.client.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: name, RevisionId: aws.String("r1")})
	if _, ok := errors.AsType[*types.PreconditionFailedException](err); !ok {
		t.Errorf("old revision: %v", err)
	}
	_, err = b.client.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: name, Runtime: types.RuntimeJava21})
	if _, ok := errors.AsType[*types.InvalidParameterValueException](err); !ok {
		t.Errorf("runtime: %v", err)
	}
	// An Environment without Variables says nothing of them; Text takes the
	// levels of logs away.
	out, err = b.client.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{
		FunctionName: name, Environment: &types.Environment{}, LoggingConfig: &types.LoggingConfig{LogFormat: types.LogFormatText},
	})
	if err != nil || out.Environment.Variables["ENV_A"] != "a" || out.LoggingConfig.SystemLogLevel != "" {
		t.Errorf("kept: %+v, %v", out, err)
	}
	out, err = b.client.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{
		FunctionName: name, Environment: &types.Environment{Variables: map[string]string{}},
	})
	if err != nil || len(out.Environment.Variables) != 0 {
		t.Errorf("cleared: %+v, %v", out, err)
	}
}

func TestUpdateFunctionCode(t *testing.T) {
	b := start(t)
	created := b.create(t, "hi")
	out, err := b.client.UpdateFunctionCode(t.Context(), &lambda.UpdateFunctionCodeInput{FunctionName: aws.String("hi"), ZipFile: []byte("new code")})
	if err != nil {
		t.Fatal(err)
	}
	if *out.CodeSha256 == *created.CodeSha256 || out.CodeSize != 8 || *out.RevisionId == *created.RevisionId {
		t.Errorf("updated: %+v", out)
	}
	for _, in := range []*lambda.UpdateFunctionCodeInput{
		{ImageUri: aws.String("000000000000.dkr.ecr.us-east-1.amazonaws.com/x:y")},
		{},
		{ZipFile: []byte("x"), Architectures: []types.Architecture{types.ArchitectureArm64}},
	} {
		in.FunctionName = aws.String("hi")
		_, err := b.client.UpdateFunctionCode(t.Context(), in)
		if _, ok := errors.AsType[*types.InvalidParameterValueException](err); !ok {
			t.Errorf("%+v: %v", in, err)
		}
	}
}

func TestListFunctionsPages(t *testing.T) {
	b := start(t)
	for i := range 120 {
		b.create(t, fmt.Sprintf("f%03d", i))
	}
	seen := 0
	pages := lambda.NewListFunctionsPaginator(b.client, &lambda.ListFunctionsInput{MaxItems: aws.Int32(1000)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Functions) > 50 {
			t.Errorf("a page of %d", len(page.Functions))
		}
		for _, f := range page.Functions {
			if want := fmt.Sprintf("f%03d", seen); *f.FunctionName != want {
				t.Fatalf("got %s, want %s", *f.FunctionName, want)
			}
			if f.State != "" || f.RuntimeVersionConfig != nil {
				t.Errorf("a list shows %+v", f)
			}
			seen++
		}
	}
	if seen != 120 {
		t.Errorf("%d functions listed, want 120", seen)
	}
	if got := b.send(t, "GET", "/2015-03-31/functions/?Marker=%21", ""); got.status != 400 {
		t.Errorf("bad marker: %v", got)
	}
	failed(t, b.send(t, "GET", "/2015-03-31/functions?MaxItems=0", ""), 400, "ValidationException",
		"1 validation error detected: Value '0' at 'maxItems' failed to satisfy constraint: Member must have value greater than or equal to 1")
	failed(t, b.send(t, "GET", "/2015-03-31/functions?MaxItems=x", ""), 400, "SerializationException", `MaxItems: "x" is not an integer of 32 bits`)
}

func TestGetFunction(t *testing.T) {
	b := start(t)
	b.create(t, "hi")
	out, err := b.client.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: aws.String("hi"), Qualifier: aws.String("$LATEST")})
	if err != nil || !strings.HasSuffix(*out.Configuration.FunctionArn, ":hi:$LATEST") || out.Tags != nil {
		t.Fatalf("%+v, %v", out, err)
	}
	res, err := http.Get(*out.Code.Location)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	if body, err := io.ReadAll(res.Body); err != nil || string(body) != "zip of hi" {
		t.Errorf("code = %q, %v", body, err)
	}
}

func TestDeleteFunction(t *testing.T) {
	b := start(t)
	b.create(t, "hi")
	failed(t, b.send(t, "DELETE", "/2015-03-31/functions/hi?Qualifier=%24LATEST", ""), 400, "InvalidParameterValueException", "$LATEST version cannot be deleted without deleting the function.")
	if got := b.send(t, "DELETE", "/2015-03-31/functions/hi", ""); got.status != 204 || got.body != "" || got.header.Get("Content-Type") != "" {
		t.Errorf("function-005: got %v %v", got, got.header)
	}
	if got := b.send(t, "DELETE", "/2015-03-31/functions/hi", ""); got.status != 404 {
		t.Errorf("again: %v", got)
	}
}

func TestAccountSettings(t *testing.T) {
	b := start(t)
	b.create(t, "hi")
	out, err := b.client.GetAccountSettings(t.Context(), &lambda.GetAccountSettingsInput{})
	if err != nil || out.AccountLimit.ConcurrentExecutions != 1000 || *out.AccountLimit.UnreservedConcurrentExecutions != 1000 ||
		out.AccountUsage.FunctionCount != 1 || out.AccountUsage.TotalCodeSize != 9 {
		t.Errorf("%+v, %v", out, err)
	}
}

func TestTags(t *testing.T) {
	b := start(t)
	ctx := t.Context()
	arn := b.create(t, "hi").FunctionArn
	if _, err := b.client.TagResource(ctx, &lambda.TagResourceInput{Resource: arn, Tags: map[string]string{"a": "1", "b": "2"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.client.UntagResource(ctx, &lambda.UntagResourceInput{Resource: arn, TagKeys: []string{"a", "z"}}); err != nil {
		t.Fatal(err)
	}
	out, err := b.client.ListTags(ctx, &lambda.ListTagsInput{Resource: arn})
	if err != nil || len(out.Tags) != 1 || out.Tags["b"] != "2" {
		t.Errorf("tags %+v, %v", out, err)
	}
	many := map[string]string{}
	for i := range 50 {
		many[strconv.Itoa(i)] = ""
	}
	tests := []struct {
		name, resource string
		tags           map[string]string
		code, message  string
	}{
		{"tags-091", strings.Replace(*arn, ":hi", ":nope", 1), map[string]string{"k": "v"}, "ResourceNotFoundException", "Function not found: arn:aws:lambda:us-east-1:000000000000:function:nope"},
		{"tags-093", *arn + ":live", map[string]string{"k": "v"}, "InvalidParameterValueException", "Tags on function aliases and versions are not supported. Please specify a function ARN."},
		{"too many", *arn, many, "InvalidParameterValueException", "Number of tags exceeds resource tag limit."},
		{"system", *arn, map[string]string{"AWS:x": "v"}, "InvalidParameterValueException", "aws: prefixed tag key names are not allowed for external use."},
		{"long key", *arn, map[string]string{strings.Repeat("k", 129): "v"}, "InvalidParameterValueException", "A tag's key must have 1 to 128 characters."},
		{"long value", *arn, map[string]string{"k": strings.Repeat("v", 257)}, "InvalidParameterValueException", "The value of tag 'k' must have at most 256 characters."},
		{"other kinds", "arn:aws:lambda:us-east-1:000000000000:capacity-provider:c", map[string]string{"k": "v"}, "InvalidParameterValueException", "Tags are supported on functions, event source mappings and code signing configurations of this account and region. Give the ARN of one of them."},
	}
	for _, tt := range tests {
		_, err := b.client.TagResource(ctx, &lambda.TagResourceInput{Resource: &tt.resource, Tags: tt.tags})
		e, ok := errors.AsType[smithy.APIError](err)
		if !ok || e.ErrorCode() != tt.code || e.ErrorMessage() != tt.message {
			t.Errorf("%s: %v, want %s %s", tt.name, err, tt.code, tt.message)
		}
	}
}
