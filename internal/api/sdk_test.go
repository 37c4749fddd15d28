package api

import (
	"bytes"
	"net/http"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/internal/function"
)

// create makes a function through the SDK.
func (b *bench) create(t testing.TB, name string) *lambda.CreateFunctionOutput {
	t.Helper()
	out, err := b.client.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
		FunctionName: &name, Role: aws.String(testRole), Runtime: types.RuntimePython311,
		Handler: aws.String("app.handler"), Code: &types.FunctionCode{ZipFile: []byte("zip of " + name)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestProgress tells who waits for a function how far its code is, and nobody
// else.
func TestProgress(t *testing.T) {
	b := start(t, func(c *Config) {
		c.Progress = func(object string) string { return "Of " + object + " 1 of 2 MB are stored." }
	})
	b.create(t, "hi")
	configuration := func() *lambda.GetFunctionConfigurationOutput {
		got, err := b.client.GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: aws.String("hi")})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := aws.ToString(configuration().StateReason); got != "The function is being created. Of o 1 of 2 MB are stored." {
		t.Errorf("created: %q", got)
	}
	for status, want := range map[function.UpdateStatus]string{function.UpdateInProgress: "Of o 1 of 2 MB are stored.", function.UpdateSuccessful: ""} {
		_, err := b.memory.change("hi", "", func(r *function.Record) error {
			r.State, r.StateReason, r.LastUpdateStatus = function.Active, "", status
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := configuration(); aws.ToString(got.LastUpdateStatusReason) != want || got.StateReason != nil {
			t.Errorf("%s: %q, %q", status, aws.ToString(got.LastUpdateStatusReason), aws.ToString(got.StateReason))
		}
	}
}

func TestSDKLifeCycle(t *testing.T) {
	b := start(t)
	ctx := t.Context()
	created := b.create(t, "hi")
	if got, want := *created.FunctionArn, "arn:aws:lambda:us-east-1:000000000000:function:hi"; got != want {
		t.Errorf("FunctionArn = %q, want %q", got, want)
	}
	if created.State != types.StatePending || *created.Timeout != 3 || *created.MemorySize != 128 {
		t.Errorf("created = %+v", created)
	}
	got, err := b.client.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: aws.String("hi")})
	if err != nil {
		t.Fatal(err)
	}
	if *got.Code.RepositoryType != "S3" || *got.Configuration.CodeSha256 != *created.CodeSha256 {
		t.Errorf("GetFunction = %+v", got)
	}
	out, err := b.client.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String("hi"), Payload: []byte(`{"a":1}`)})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Payload, []byte(`{"a":1}`)) || *out.ExecutedVersion != "$LATEST" || out.StatusCode != http.StatusOK {
		t.Errorf("Invoke = %+v", out)
	}
	deleted, err := b.client.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: aws.String("hi")})
	if err != nil || deleted.StatusCode != http.StatusNoContent {
		t.Errorf("DeleteFunction = %+v, %v", deleted, err)
	}
}
