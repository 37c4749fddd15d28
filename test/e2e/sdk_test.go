package e2e

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// TestGoSDK takes a function through its life with the Go SDK.
func TestGoSDK(t *testing.T) {
	t.Parallel()
	f := &function{name: nameOf(t), client: client(shared)}
	first, second := code(t, provided, "1"), code(t, provided, "2")
	for _, step := range []struct {
		name string
		run  func(t *testing.T, f *function)
	}{
		{"create", func(t *testing.T, f *function) { sdkCreate(t, f, first) }},
		{"update code", func(t *testing.T, f *function) { sdkUpdateCode(t, f, second) }},
		{"update configuration", sdkUpdateConfiguration},
		{"download", func(t *testing.T, f *function) { sdkDownload(t, f, second) }},
		{"list", func(t *testing.T, f *function) { sdkList(t, f, first) }},
		{"tags", sdkTags},
		{"kinds of invoke", sdkInvoke},
		{"delete", sdkDelete},
	} {
		if !t.Run(step.name, func(t *testing.T) { step.run(t, f) }) {
			t.FailNow()
		}
	}
}

func sdkCreate(t *testing.T, f *function, zip []byte) {
	out, err := f.client.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
		FunctionName: &f.name, Runtime: types.RuntimeProvidedal2023, Handler: aws.String("handle"), Role: aws.String(role),
		Code: &types.FunctionCode{ZipFile: zip}, Description: aws.String("first"), Tags: map[string]string{"stage": "test"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if out.State != types.StatePending || aws.ToString(out.CodeSha256) != sum(zip) || out.CodeSize != int64(len(zip)) {
		t.Errorf("got %s %s %d", out.State, aws.ToString(out.CodeSha256), out.CodeSize)
	}
	waiter := lambda.NewFunctionActiveV2Waiter(f.client, func(o *lambda.FunctionActiveV2WaiterOptions) { o.MinDelay = 50 * time.Millisecond })
	if err := waiter.Wait(t.Context(), &lambda.GetFunctionInput{FunctionName: &f.name}, patience); err != nil {
		t.Fatal(err)
	}
	f.wantVersion(t, "1")
	// A second one of the name is refused.
	_, err = f.client.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
		FunctionName: &f.name, Runtime: types.RuntimeProvidedal2023, Handler: aws.String("handle"), Role: aws.String(role),
		Code: &types.FunctionCode{ZipFile: zip},
	})
	wantError(t, err, "ResourceConflictException", "Function already exist: "+f.name)
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return base64.StdEncoding.EncodeToString(s[:])
}

func (f *function) wantVersion(t *testing.T, want string) {
	t.Helper()
	var got string
	if f.do(t, event{"do": "version"}, &got); got != want {
		t.Errorf("version %q, want %q", got, want)
	}
}

func sdkUpdateCode(t *testing.T, f *function, zip []byte) {
	// A dry run changes nothing.
	out, err := f.client.UpdateFunctionCode(t.Context(), &lambda.UpdateFunctionCodeInput{FunctionName: &f.name, ZipFile: zip, DryRun: true})
	if err != nil || aws.ToString(out.CodeSha256) != sum(zip) {
		t.Errorf("dry run: %v, %v", out, err)
	}
	f.wantVersion(t, "1")
	out, err = f.client.UpdateFunctionCode(t.Context(), &lambda.UpdateFunctionCodeInput{FunctionName: &f.name, ZipFile: zip})
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(out.CodeSha256) != sum(zip) {
		t.Errorf("sha %s, want %s", aws.ToString(out.CodeSha256), sum(zip))
	}
	waiter := lambda.NewFunctionUpdatedV2Waiter(f.client, func(o *lambda.FunctionUpdatedV2WaiterOptions) { o.MinDelay = 50 * time.Millisecond })
	if err := waiter.Wait(t.Context(), &lambda.GetFunctionInput{FunctionName: &f.name}, patience); err != nil {
		t.Fatal(err)
	}
	f.wantVersion(t, "2")
}

func sdkUpdateConfiguration(t *testing.T, f *function) {
	before, err := f.client.GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: &f.name})
	if err != nil {
		t.Fatal(err)
	}
	change := &lambda.UpdateFunctionConfigurationInput{
		FunctionName: &f.name, MemorySize: aws.Int32(320), Timeout: aws.Int32(7), RevisionId: before.RevisionId,
		Environment: &types.Environment{Variables: map[string]string{"COLOUR": "blaßrosa"}},
	}
	if _, err := f.client.UpdateFunctionConfiguration(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	f.wait(t)
	_, err = f.client.UpdateFunctionConfiguration(t.Context(), change)
	wantError(t, err, "PreconditionFailedException", "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id")
	after, err := f.client.GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: &f.name})
	if err != nil {
		t.Fatal(err)
	}
	if *after.MemorySize != 320 || *after.Timeout != 7 || *after.Description != "first" || *after.CodeSha256 != *before.CodeSha256 {
		t.Errorf("got %d MB, %d s, %q", *after.MemorySize, *after.Timeout, *after.Description)
	}
	var variables map[string]string
	f.do(t, event{"do": "environment"}, &variables)
	if variables["COLOUR"] != "blaßrosa" || variables["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] != "320" {
		t.Errorf("the function has %v", variables)
	}
}

func sdkDownload(t *testing.T, f *function, zip []byte) {
	found, err := f.client.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: &f.name})
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(found.Tags, map[string]string{"stage": "test"}) || *found.Code.RepositoryType != "S3" {
		t.Errorf("got %v, %s", found.Tags, *found.Code.RepositoryType)
	}
	if status, body := get(t, *found.Code.Location); status != http.StatusOK || !bytes.Equal(body, zip) || sum(body) != *found.Configuration.CodeSha256 {
		t.Errorf("%d: %d bytes with the sum %s, want %d with %s", status, len(body), sum(body), len(zip), *found.Configuration.CodeSha256)
	}
	// A link is for one archive, and cannot be turned into another.
	for _, change := range [][2]string{{"X-Amz-Expires=", "X-Amz-Expires=9"}, {"X-Amz-Signature=", "X-Amz-Signature=0"}} {
		if status, body := get(t, strings.Replace(*found.Code.Location, change[0], change[1], 1)); status != http.StatusForbidden && status != http.StatusBadRequest {
			t.Errorf("a link with %s: %d %s", change[1], status, clip(body))
		}
	}
}

func get(t *testing.T, url string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, body
}

func sdkList(t *testing.T, f *function, zip []byte) {
	other := f.name + "-2"
	_, err := f.client.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
		FunctionName: &other, Runtime: types.RuntimeProvidedal2023, Handler: aws.String("handle"), Role: aws.String(role),
		Code: &types.FunctionCode{ZipFile: zip},
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	pages := lambda.NewListFunctionsPaginator(f.client, &lambda.ListFunctionsInput{MaxItems: aws.Int32(1)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Functions) > 1 {
			t.Errorf("a page of %d, want 1", len(page.Functions))
		}
		for _, c := range page.Functions {
			names = append(names, *c.FunctionName)
		}
	}
	mine := slices.DeleteFunc(slices.Clone(names), func(s string) bool { return !strings.HasPrefix(s, f.name) })
	if !slices.Equal(mine, []string{f.name, other}) || !slices.IsSorted(names) {
		t.Errorf("got %q", names)
	}
	if _, err := f.client.DeleteFunction(t.Context(), &lambda.DeleteFunctionInput{FunctionName: &other}); err != nil {
		t.Error(err)
	}
}

func sdkTags(t *testing.T, f *function) {
	arn := aws.String("arn:aws:lambda:us-east-1:000000000000:function:" + f.name)
	want := func(tags map[string]string) {
		t.Helper()
		out, err := f.client.ListTags(t.Context(), &lambda.ListTagsInput{Resource: arn})
		if err != nil || !maps.Equal(out.Tags, tags) {
			t.Errorf("got %v, %v; want %v", out.Tags, err, tags)
		}
	}
	if _, err := f.client.TagResource(t.Context(), &lambda.TagResourceInput{Resource: arn, Tags: map[string]string{"team": "fire & flame", "stage": "prod"}}); err != nil {
		t.Fatal(err)
	}
	want(map[string]string{"team": "fire & flame", "stage": "prod"})
	if _, err := f.client.UntagResource(t.Context(), &lambda.UntagResourceInput{Resource: arn, TagKeys: []string{"stage"}}); err != nil {
		t.Fatal(err)
	}
	want(map[string]string{"team": "fire & flame"})
	qualified := aws.String(*arn + ":$LATEST")
	_, err := f.client.TagResource(t.Context(), &lambda.TagResourceInput{Resource: qualified, Tags: map[string]string{"a": "b"}})
	wantError(t, err, "InvalidParameterValueException", "Tags on function aliases and versions are not supported. Please specify a function ARN.")
}

func sdkInvoke(t *testing.T, f *function) {
	// Recorded as invoke-027, and below as invoke-025.
	out, err := f.client.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: &f.name, InvocationType: types.InvocationTypeDryRun})
	if err != nil || out.StatusCode != http.StatusNoContent || len(out.Payload) != 0 {
		t.Errorf("dry run: %v, %v", out, err)
	}
	out, err = f.client.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: &f.name, Payload: []byte(`{"do":"nothing"}`), Qualifier: aws.String("$LATEST")})
	if err != nil || out.StatusCode != http.StatusOK || string(out.Payload) != "null" || *out.ExecutedVersion != "$LATEST" || out.LogResult != nil {
		t.Errorf("got %+v, %v", out, err)
	}
	clientContext, err := json.Marshal(map[string]any{"custom": map[string]string{"k": "v"}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := f.send(t.Context(), []byte(`{"do":"describe"}`), func(in *lambda.InvokeInput) {
		in.ClientContext = aws.String(base64.StdEncoding.EncodeToString(clientContext))
	})
	if err != nil || !strings.Contains(string(r.payload), `"custom":{"k":"v"}`) || !strings.Contains(r.log, "REPORT RequestId: "+r.id) {
		t.Errorf("got %s, %v, log %q", r.payload, err, r.log)
	}
}

func sdkDelete(t *testing.T, f *function) {
	if _, err := f.client.DeleteFunction(t.Context(), &lambda.DeleteFunctionInput{FunctionName: &f.name}); err != nil {
		t.Fatal(err)
	}
	_, get := f.client.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: &f.name})
	_, invoke := f.client.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: &f.name})
	_, again := f.client.DeleteFunction(t.Context(), &lambda.DeleteFunctionInput{FunctionName: &f.name})
	for _, err := range []error{get, invoke, again} {
		var missing *types.ResourceNotFoundException
		if !errors.As(err, &missing) || status(err) != http.StatusNotFound {
			t.Errorf("got %v, want 404", err)
		}
	}
}
