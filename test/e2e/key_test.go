package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/test/harness"
)

// TestEnvironmentsAreSealed gives a function a secret, by the account's own key
// and by one of its maker's, rotates all keys, and finds the secret in the
// function and nowhere on disk.
func TestEnvironmentsAreSealed(t *testing.T) {
	const secret, marker = "correct horse battery staple", "a description that is no secret"
	data, err := harness.NewData()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	h, err := harness.Start(data)
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			if err := h.Stop(); err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	client, name := h.Client(), "sealed"
	source := "import os\ndef handler(event, context):\n    return os.environ['SECRET'][::-1]\n"
	harness.CreatePython(t, client, name, source, func(in *lambda.CreateFunctionInput) {
		in.Description = aws.String(marker)
		in.Environment = &types.Environment{Variables: map[string]string{"SECRET": secret}}
	})
	wantSecret(t, client, name, secret)

	keys := kmsClient(h)
	made, err := keys.CreateKey(t.Context(), &kms.CreateKeyInput{})
	if err != nil {
		t.Fatal(err)
	}
	rekeyed(t, client, name, *made.KeyMetadata.Arn)
	wantSecret(t, client, name, secret)
	program, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"key", "rotate"}, {"key", "rotate", "--master"}} {
		cmd := exec.Command(program, append(args, "--data", data)...)
		if out, err := cmd.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("2")) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
	if _, err := keys.DisableKey(t.Context(), &kms.DisableKeyInput{KeyId: made.KeyMetadata.KeyId}); err != nil {
		t.Fatal(err)
	}
	got, err := client.GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: &name})
	if err != nil || got.Environment == nil || got.Environment.Error == nil || *got.Environment.Error.ErrorCode != "DisabledException" {
		t.Errorf("shown with a disabled key: %+v, %v", got.Environment, err)
	}
	if _, err := keys.EnableKey(t.Context(), &kms.EnableKeyInput{KeyId: made.KeyMetadata.KeyId}); err != nil {
		t.Fatal(err)
	}
	rekeyed(t, client, name, "")
	wantSecret(t, client, name, secret)
	stop()
	wantNoneOnDisk(t, data, secret, marker)
}

func kmsClient(h *harness.Instance) *kms.Client {
	return kms.New(kms.Options{
		BaseEndpoint: &h.URL, Region: "us-east-1",
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: h.Account.AccessKeyID, SecretAccessKey: h.Account.SecretAccessKey}, nil
		}),
	})
}

func rekeyed(t *testing.T, client *lambda.Client, name, arn string) {
	t.Helper()
	_, err := client.UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{FunctionName: &name, KMSKeyArn: &arn})
	if err != nil {
		t.Fatal(err)
	}
	waiter := lambda.NewFunctionUpdatedV2Waiter(client, func(o *lambda.FunctionUpdatedV2WaiterOptions) { o.MinDelay = 50 * time.Millisecond })
	if err := waiter.Wait(t.Context(), &lambda.GetFunctionInput{FunctionName: &name}, time.Minute); err != nil {
		t.Fatal(err)
	}
	got, err := client.GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: &name})
	if err != nil || aws.ToString(got.KMSKeyArn) != arn {
		t.Errorf("key %q, %v, want %q", aws.ToString(got.KMSKeyArn), err, arn)
	}
}

// wantSecret has the function tell its secret, backwards, and the API show it.
func wantSecret(t *testing.T, client *lambda.Client, name, want string) {
	t.Helper()
	out, err := client.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: &name})
	if err != nil || out.FunctionError != nil {
		t.Fatalf("%+v, %v", out, err)
	}
	var backwards string
	if err := json.Unmarshal(out.Payload, &backwards); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for i := len(backwards) - 1; i >= 0; i-- {
		got.WriteByte(backwards[i])
	}
	if got.String() != want {
		t.Errorf("the function has %q, want %q", got.String(), want)
	}
	cfg, err := client.GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: &name})
	if err != nil || cfg.Environment == nil || cfg.Environment.Variables["SECRET"] != want {
		t.Errorf("shown %+v, %v", cfg.Environment, err)
	}
}

// wantNoneOnDisk looks through every file of a stopped Hearth.
func wantNoneOnDisk(t *testing.T, data, secret, marker string) {
	t.Helper()
	found := 0
	err := filepath.WalkDir(data, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(secret)) {
			t.Errorf("%s holds the secret", path)
		}
		found += bytes.Count(b, []byte(marker))
		return err
	})
	if err != nil || found == 0 {
		t.Errorf("what is no secret was found %d times, %v: this test looks in the wrong place", found, err)
	}
}
