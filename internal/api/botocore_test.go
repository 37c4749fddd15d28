package api

import (
	"os/exec"
	"testing"
)

// TestBotocore runs the signer and the parsers of boto3 and the AWS CLI
// against the server.
func TestBotocore(t *testing.T) {
	if err := exec.CommandContext(t.Context(), "python3", "-c", "import botocore").Run(); err != nil {
		t.Skip("python3 has no botocore here: ", err)
	}
	b := start(t)
	out, err := exec.CommandContext(t.Context(), "python3", "testdata/drive.py", b.url, testKey, testSecret).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
