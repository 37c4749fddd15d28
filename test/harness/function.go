package harness

import (
	"archive/zip"
	"bytes"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// Zip makes an archive; every file in it may be run.
func Zip(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for name, text := range files {
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(0o755)
		w, err := z.CreateHeader(h)
		if err == nil {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// CreatePython makes a Python function whose app.py is source, and waits for
// it.
func CreatePython(t *testing.T, c *lambda.Client, name, source string, change ...func(*lambda.CreateFunctionInput)) {
	t.Helper()
	in := &lambda.CreateFunctionInput{
		FunctionName: &name, Runtime: types.RuntimePython311, Handler: aws.String("app.handler"), Timeout: aws.Int32(30),
		Role: aws.String("arn:aws:iam::000000000000:role/hearth-function"), Code: &types.FunctionCode{ZipFile: Zip(t, map[string]string{"app.py": source})},
	}
	for _, f := range change {
		f(in)
	}
	if _, err := c.CreateFunction(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	waiter := lambda.NewFunctionActiveV2Waiter(c, func(o *lambda.FunctionActiveV2WaiterOptions) {
		o.MinDelay, o.MaxDelay = 50*time.Millisecond, 500*time.Millisecond
	})
	// The first function of a runtime waits until its image is built.
	if err := waiter.Wait(t.Context(), &lambda.GetFunctionInput{FunctionName: &name}, 15*time.Minute); err != nil {
		t.Fatal(err)
	}
}
