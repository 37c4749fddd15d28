package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"

	"hearth/internal/awserr"
	"hearth/internal/policy"
	"hearth/internal/sigv4"
)

const ownKey, otherKey = "arn:aws:kms:us-east-1:000000000000:key/own", "arn:aws:kms:us-east-1:000000000000:key/other"

// fakeKeys is a key service that refuses what a test says, and notes what it
// is asked.
type fakeKeys struct {
	refuse string // an action
	asked  []string
}

func (k *fakeKeys) Serve(_ context.Context, caller sigv4.Identity, describe func(*policy.Request), target string, body []byte) (int, []byte) {
	r := &policy.Request{}
	describe(r)
	return http.StatusBadRequest, []byte(`{"__type":"X","message":"` + strings.Join([]string{caller.AccountID, r.Keys.SourceIP.String(), target, string(body)}, " ") + `"}`)
}

func (k *fakeKeys) AuthorizeEnvironment(_ context.Context, _ sigv4.Identity, _ func(*policy.Request), action, functionARN, keyARN string) error {
	k.asked = append(k.asked, strings.TrimPrefix(action, "kms:")+" "+keyARN[strings.LastIndex(keyARN, "/")+1:])
	if !strings.HasSuffix(functionARN, ":function:hi") {
		return errors.New("another function: " + functionARN)
	}
	if action == k.refuse {
		return awserr.New("KMSAccessDeniedException", "no %s", action)
	}
	return nil
}

// TestKeysOfFunctions sees which uses of keys are asked for, before anything
// is done.
func TestKeysOfFunctions(t *testing.T) {
	k := &fakeKeys{}
	b := start(t, func(c *Config) { c.KMS = k })
	variables := &types.Environment{Variables: map[string]string{"ENV_A": "b"}}
	wantAsked := func(what string, want ...string) {
		t.Helper()
		if !slices.Equal(k.asked, want) {
			t.Errorf("%s: asked %q, want %q", what, k.asked, want)
		}
		k.asked = nil
	}
	create := func(key *string) (*lambda.CreateFunctionOutput, error) {
		return b.client.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
			FunctionName: aws.String("hi"), Role: aws.String(testRole), Runtime: types.RuntimePython311, Handler: aws.String("app.handler"),
			Code: &types.FunctionCode{ZipFile: []byte("zip")}, Environment: variables, KMSKeyArn: key,
		})
	}
	k.refuse = "kms:Encrypt"
	if _, err := create(aws.String(ownKey)); err == nil || len(b.records) != 0 {
		t.Errorf("created under a key that the caller may not use: %v", err)
	}
	wantAsked("refused", "CreateGrant own", "Encrypt own")
	k.refuse = ""
	made, err := create(aws.String(ownKey))
	if err != nil || aws.ToString(made.KMSKeyArn) != ownKey || made.Environment.Variables["ENV_A"] != "b" {
		t.Errorf("%+v, %v", made, err)
	}
	wantAsked("create", "CreateGrant own", "Encrypt own", "Decrypt own")
	update := func(in lambda.UpdateFunctionConfigurationInput) *lambda.UpdateFunctionConfigurationOutput {
		t.Helper()
		in.FunctionName = aws.String("hi")
		out, err := b.client.UpdateFunctionConfiguration(t.Context(), &in)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	update(lambda.UpdateFunctionConfigurationInput{Timeout: aws.Int32(5)})
	wantAsked("something else", "Decrypt own")
	update(lambda.UpdateFunctionConfigurationInput{Environment: variables})
	wantAsked("variables", "CreateGrant own", "Encrypt own", "Decrypt own")
	update(lambda.UpdateFunctionConfigurationInput{KMSKeyArn: aws.String(otherKey)})
	wantAsked("another key", "Decrypt own", "CreateGrant other", "Encrypt other", "Decrypt other")
	out := update(lambda.UpdateFunctionConfigurationInput{KMSKeyArn: aws.String("")})
	wantAsked("the account's key", "Decrypt other")
	if out.KMSKeyArn != nil {
		t.Errorf("%+v", out)
	}
	update(lambda.UpdateFunctionConfigurationInput{Environment: variables, KMSKeyArn: aws.String(ownKey)})
	wantAsked("both", "CreateGrant own", "Encrypt own", "Decrypt own")

	k.refuse = "kms:Decrypt"
	shown, err := b.client.GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: aws.String("hi")})
	if err != nil || shown.Environment.Variables != nil || *shown.Environment.Error.ErrorCode != "AccessDeniedException" || *shown.Environment.Error.Message != "no kms:Decrypt" {
		t.Errorf("%+v, %v", shown, err)
	}
	wantAsked("show", "Decrypt own")
	if _, err := b.client.UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("hi"), KMSKeyArn: aws.String(otherKey)}); err == nil {
		t.Error("rekeyed variables that the caller may not read")
	}
}

func TestWithoutKeyService(t *testing.T) {
	b := start(t)
	_, err := b.client.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
		FunctionName: aws.String("hi"), Role: aws.String(testRole), Runtime: types.RuntimePython311, Handler: aws.String("app.handler"),
		Code: &types.FunctionCode{ZipFile: []byte("zip")}, KMSKeyArn: aws.String(ownKey),
	})
	if e, ok := errors.AsType[smithy.APIError](err); !ok || e.ErrorCode() != "InvalidParameterValueException" {
		t.Errorf("got %v", err)
	}
}

func TestKMSIsServed(t *testing.T) {
	b := start(t, func(c *Config) { c.KMS = &fakeKeys{} })
	got := b.sendAs(t, "kms", "POST", "/", `{}`, "X-Amz-Target", "TrentService.ListKeys")
	if got.status != 400 || got.header.Get("Content-Type") != "application/x-amz-json-1.1" ||
		got.body != `{"__type":"X","message":"000000000000 127.0.0.1 TrentService.ListKeys {}"}` {
		t.Errorf("got %v", got)
	}
	failed(t, b.sendAs(t, "kms", "GET", "/", ``), 404, "UnknownOperationException", "KMS's operations are POST / with the header X-Amz-Target.")
	if got := b.sendAs(t, "kms", "POST", "/", strings.Repeat("x", 300<<10)); got.status != 413 {
		t.Errorf("got %v", got)
	}
}
