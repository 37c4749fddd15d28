package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"hearth/test/harness"
)

// TestReadme runs the code of the README as it stands there, in a directory
// with a bin like that of the source tree, against a running Hearth.
func TestReadme(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bin, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(bin), filepath.Join(dir, "bin")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(root(t), "examples"), filepath.Join(dir, "examples")); err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(read(t, filepath.Join(root(t), "README.md")), -1)
	if len(blocks) == 0 {
		t.Fatal("the README has no code")
	}
	script := "set -euo pipefail\n"
	for _, b := range blocks {
		script += b[1]
	}
	shims := t.TempDir()
	writeAWS(t, shims, findAWS(t)[0])
	t.Cleanup(func() {
		for _, m := range regexp.MustCompile(`(?:hearth deploy|--function-name) (?:\S*/)?(\w+)`).FindAllStringSubmatch(script, -1) {
			_, _ = client(shared).DeleteFunction(context.Background(), &lambda.DeleteFunctionInput{FunctionName: &m[1]})
		}
	})
	cmd := exec.CommandContext(t.Context(), "bash", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HEARTH_DATA="+shared.Data, "PATH="+shims+":"+os.Getenv("PATH"),
		"AWS_PAGER=", "AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`{"hello": "you"}`, "hello from hi\n", "where the time went", "LogResult"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is not in the output", want)
		}
	}
	if got := read(t, filepath.Join(dir, "out.json")); got != `{"hello": "you"}` {
		t.Errorf("out.json holds %s", got)
	}
}

// writeAWS makes an aws in dir that runs the AWS CLI. Version 1, which the
// tests install, has no --cli-binary-format, since it always does what version
// 2 does with that option.
func writeAWS(t *testing.T, dir string, c *awsCLI) {
	t.Helper()
	script := "#!/usr/bin/env bash\nexec " + c.program + " \"$@\"\n"
	if !c.v2 {
		script = `#!/usr/bin/env bash
args=()
while (($#)); do
	if [[ $1 == --cli-binary-format ]]; then shift 2; else args+=("$1"); shift; fi
done
exec ` + c.program + ` "${args[@]}"
`
	}
	if err := os.WriteFile(filepath.Join(dir, "aws"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
}
