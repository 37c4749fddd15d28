package e2e

import (
	"archive/tar"
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"hearth/test/harness"
)

// TestHostileImage pushes an image that would write to the host, and makes a
// function of it.
func TestHostileImage(t *testing.T) {
	t.Parallel()
	h := harness.Run(t)
	c := client(h)
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	content := []byte("root::0:0::/:/bin/sh\n")
	err := w.WriteHeader(&tar.Header{Name: "../../../etc/passwd", Mode: 0o644, Size: int64(len(content))})
	if err == nil {
		_, err = w.Write(content)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	uri, _ := pushedTo(t, h, image, "hostile:latest")
	if _, err := c.CreateFunction(t.Context(), &lambda.CreateFunctionInput{
		FunctionName: aws.String("hostile"), PackageType: types.PackageTypeImage, Role: aws.String(role),
		Code: &types.FunctionCode{ImageUri: &uri},
	}); err != nil {
		t.Fatal(err)
	}
	got := settled(t, c, "hostile")
	if got.State != types.StateFailed || got.StateReasonCode != types.StateReasonCodeInvalidImage {
		t.Errorf("state %s, reason code %s, want Failed, InvalidImage", got.State, got.StateReasonCode)
	}
	if reason := aws.ToString(got.StateReason); !strings.Contains(reason, "../../../etc/passwd") || strings.Contains(reason, h.Data) {
		t.Errorf("reason %q", reason)
	}
}

// settled waits until a function is not being prepared any more.
func settled(t *testing.T, c *lambda.Client, name string) *types.FunctionConfiguration {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := c.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: &name})
		if err != nil {
			t.Fatal(err)
		}
		if got.Configuration.State != types.StatePending && got.Configuration.LastUpdateStatus != types.LastUpdateStatusInProgress {
			return got.Configuration
		}
		<-tick.C
	}
}
