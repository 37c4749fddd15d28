package api_test

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

var publishedURL = regexp.MustCompile(`^http://([a-z0-9]{32})\.lambda-url\.us-east-1\.functions\.test:4566/$`)

// urlID is the id in a URL as the API shows it.
func urlID(t *testing.T, shown *string) string {
	t.Helper()
	m := publishedURL.FindStringSubmatch(aws.ToString(shown))
	if m == nil {
		t.Fatalf("%s is no function URL", aws.ToString(shown))
	}
	return m[1]
}

func (h hearth) createURL(name, qualifier string, auth types.FunctionUrlAuthType, change ...func(*lambda.CreateFunctionUrlConfigInput)) *lambda.CreateFunctionUrlConfigOutput {
	h.t.Helper()
	in := &lambda.CreateFunctionUrlConfigInput{FunctionName: &name, AuthType: auth}
	if qualifier != "" {
		in.Qualifier = &qualifier
	}
	for _, f := range change {
		f(in)
	}
	out, err := h.CreateFunctionUrlConfig(h.t.Context(), in)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

func TestURLConfig(t *testing.T) {
	h, ctx, hi := startHearth(t), t.Context(), aws.String("hi")
	h.create("hi")
	before, err := h.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: hi})
	if err != nil {
		t.Fatal(err)
	}
	made := h.createURL("hi", "", types.FunctionUrlAuthTypeNone)
	urlID(t, made.FunctionUrl)
	if made.AuthType != "NONE" || made.InvokeMode != "" || made.Cors != nil || *made.FunctionArn != hiARN ||
		!regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`).MatchString(*made.CreationTime) {
		t.Errorf("created: %+v", made)
	}
	_, err = h.CreateFunctionUrlConfig(ctx, &lambda.CreateFunctionUrlConfigInput{FunctionName: hi, AuthType: types.FunctionUrlAuthTypeNone})
	want(t, "url-081", err, 409, "ResourceConflictException", "Failed to create function url config for [functionArn = "+hiARN+
		"]. Error message:  FunctionUrlConfig exists for this Lambda function")

	cors := &types.Cors{AllowCredentials: aws.Bool(true), AllowOrigins: []string{"https://a.example"}, AllowMethods: []string{"GET"}, MaxAge: aws.Int32(0)}
	changed, err := h.UpdateFunctionUrlConfig(ctx, &lambda.UpdateFunctionUrlConfigInput{
		FunctionName: hi, AuthType: types.FunctionUrlAuthTypeAwsIam, InvokeMode: types.InvokeModeResponseStream, Cors: cors,
	})
	if err != nil {
		t.Fatal(err)
	}
	if *changed.FunctionUrl != *made.FunctionUrl || changed.AuthType != "AWS_IAM" || changed.InvokeMode != "RESPONSE_STREAM" ||
		!reflect.DeepEqual(changed.Cors, cors) || *changed.CreationTime != *made.CreationTime || *changed.LastModifiedTime < *made.CreationTime {
		t.Errorf("updated: %+v", changed)
	}
	same, err := h.UpdateFunctionUrlConfig(ctx, &lambda.UpdateFunctionUrlConfigInput{FunctionName: hi})
	if err != nil || same.InvokeMode != "RESPONSE_STREAM" || same.AuthType != "AWS_IAM" || same.Cors == nil {
		t.Errorf("an empty update: %+v, %v", same, err)
	}
	without, err := h.UpdateFunctionUrlConfig(ctx, &lambda.UpdateFunctionUrlConfigInput{FunctionName: hi, Cors: &types.Cors{}})
	if err != nil || without.Cors != nil {
		t.Errorf("an empty CORS setting: %+v, %v", without, err)
	}
	got, err := h.GetFunctionUrlConfig(ctx, &lambda.GetFunctionUrlConfigInput{FunctionName: hi})
	if err != nil || *got.FunctionUrl != *made.FunctionUrl || *got.LastModifiedTime != *without.LastModifiedTime {
		t.Errorf("got %+v, %v", got, err)
	}
	after, err := h.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: hi})
	if err != nil || *after.RevisionId != *before.RevisionId {
		t.Errorf("the function's revision changed with its URL: %v", err)
	}
	if _, err := h.DeleteFunctionUrlConfig(ctx, &lambda.DeleteFunctionUrlConfigInput{FunctionName: hi}); err != nil {
		t.Error(err)
	}
	_, err = h.GetFunctionUrlConfig(ctx, &lambda.GetFunctionUrlConfigInput{FunctionName: hi})
	want(t, "get a deleted one", err, 404, "ResourceNotFoundException", "The resource you requested does not exist.")
	if again := h.createURL("hi", "", types.FunctionUrlAuthTypeNone); *again.FunctionUrl == *made.FunctionUrl {
		t.Error("a new URL has the address of one that was deleted")
	}
}

func TestURLsOfAliases(t *testing.T) {
	h, ctx, hi := startHearth(t), t.Context(), aws.String("hi")
	h.create("hi")
	h.publish("hi")
	for _, name := range []string{"blue", "green"} {
		if _, err := h.CreateAlias(ctx, &lambda.CreateAliasInput{FunctionName: hi, Name: &name, FunctionVersion: aws.String("1")}); err != nil {
			t.Fatal(err)
		}
		if u := h.createURL("hi", name, types.FunctionUrlAuthTypeAwsIam); *u.FunctionArn != hiARN+":"+name {
			t.Errorf("%s: %s", name, *u.FunctionArn)
		}
	}
	h.createURL("hi", "", types.FunctionUrlAuthTypeNone)
	var seen []string
	pages := lambda.NewListFunctionUrlConfigsPaginator(h.Client, &lambda.ListFunctionUrlConfigsInput{FunctionName: hi, MaxItems: aws.Int32(2)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range page.FunctionUrlConfigs {
			urlID(t, u.FunctionUrl)
			seen = append(seen, strings.TrimPrefix(*u.FunctionArn, hiARN))
		}
	}
	if !reflect.DeepEqual(seen, []string{"", ":blue", ":green"}) {
		t.Errorf("listed %q", seen)
	}
	if _, err := h.DeleteAlias(ctx, &lambda.DeleteAliasInput{FunctionName: hi, Name: aws.String("blue")}); err != nil {
		t.Fatal(err)
	}
	_, err := h.GetFunctionUrlConfig(ctx, &lambda.GetFunctionUrlConfigInput{FunctionName: hi, Qualifier: aws.String("blue")})
	want(t, "the URL of a deleted alias", err, 404, "ResourceNotFoundException", "The resource you requested does not exist.")
}

func TestURLConfigErrors(t *testing.T) {
	h, ctx, hi := startHearth(t), t.Context(), aws.String("hi")
	h.create("hi")
	h.publish("hi")
	const pattern = `' at 'qualifier' failed to satisfy constraint: Member must satisfy regular expression pattern: ((?!^\d+$)^[0-9a-zA-Z-_]+$)`
	const missing = "The resource you requested does not exist."
	type in = lambda.CreateFunctionUrlConfigInput
	for _, tt := range []struct {
		fact        string
		in          in
		status      int
		code, words string
	}{
		{"url-085", in{FunctionName: hi, AuthType: "NONE", InvokeMode: "UNKNOWN"}, 400, "ValidationException",
			"1 validation error detected: Value 'UNKNOWN' at 'invokeMode' failed to satisfy constraint: Member must satisfy enum value set: [RESPONSE_STREAM, BUFFERED]"},
		{"auth type", in{FunctionName: hi, AuthType: "PASSWORD"}, 400, "ValidationException", ""},
		{"$LATEST", in{FunctionName: hi, AuthType: "NONE", Qualifier: aws.String("$LATEST")}, 400, "ValidationException", "1 validation error detected: Value '$LATEST" + pattern},
		{"version", in{FunctionName: hi, AuthType: "NONE", Qualifier: aws.String("1")}, 400, "ValidationException", "1 validation error detected: Value '1" + pattern},
		{"version in the name", in{FunctionName: aws.String("hi:1"), AuthType: "NONE"}, 400, "ValidationException", "1 validation error detected: Value '1" + pattern},
		{"no function", in{FunctionName: aws.String("nope"), AuthType: "NONE"}, 404, "ResourceNotFoundException", "Function does not exist"},
		{"no alias", in{FunctionName: hi, AuthType: "NONE", Qualifier: aws.String("nope")}, 404, "ResourceNotFoundException", "Function does not exist"},
		{"method too long", in{FunctionName: hi, AuthType: "NONE", Cors: &types.Cors{AllowMethods: []string{"OPTIONS"}}}, 400, "ValidationException", ""},
		{"max age", in{FunctionName: hi, AuthType: "NONE", Cors: &types.Cors{MaxAge: aws.Int32(86401)}}, 400, "ValidationException", ""},
	} {
		_, err := h.CreateFunctionUrlConfig(ctx, &tt.in)
		want(t, tt.fact, err, tt.status, tt.code, tt.words)
	}
	_, err := h.GetFunctionUrlConfig(ctx, &lambda.GetFunctionUrlConfigInput{FunctionName: aws.String("nope")})
	want(t, "get, no function", err, 404, "ResourceNotFoundException", missing)
	_, err = h.UpdateFunctionUrlConfig(ctx, &lambda.UpdateFunctionUrlConfigInput{FunctionName: hi})
	want(t, "update, none", err, 404, "ResourceNotFoundException", missing)
	_, err = h.DeleteFunctionUrlConfig(ctx, &lambda.DeleteFunctionUrlConfigInput{FunctionName: hi})
	want(t, "delete, none", err, 404, "ResourceNotFoundException", missing)
	_, err = h.ListFunctionUrlConfigs(ctx, &lambda.ListFunctionUrlConfigsInput{FunctionName: aws.String("nope")})
	want(t, "list, no function", err, 404, "ResourceNotFoundException", "Function does not exist")
	if out, err := h.ListFunctionUrlConfigs(ctx, &lambda.ListFunctionUrlConfigsInput{FunctionName: hi}); err != nil || out.FunctionUrlConfigs == nil || len(out.FunctionUrlConfigs) != 0 {
		t.Errorf("list, none: %+v, %v", out, err)
	}
}
