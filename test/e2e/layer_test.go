package e2e

import (
	"archive/zip"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/test/harness"
)

// layer publishes a version of a layer on the shared Hearth.
func layer(t *testing.T, name string, files map[string]string) string {
	t.Helper()
	out, err := client(shared).PublishLayerVersion(t.Context(), &lambda.PublishLayerVersionInput{
		LayerName: aws.String(nameOf(t) + name), Content: &types.LayerVersionContentInput{ZipFile: harness.Zip(t, files)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return *out.LayerVersionArn
}

func layers(arns ...string) option {
	return func(in *lambda.CreateFunctionInput) { in.Layers = arns }
}

// setLayers changes a function's layers and waits until that serves.
func (f *function) setLayers(t *testing.T, arns ...string) {
	t.Helper()
	_, err := f.client.UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{FunctionName: &f.name, Layers: append([]string{}, arns...)})
	if err != nil {
		t.Fatal(err)
	}
	f.wait(t)
}

// layerHandler answers where its module comes from, and looks at all of /opt.
const layerHandler = `
import importlib, os, subprocess, sys

def handler(event, context):
    def attempt(f):
        try:
            return f()
        except Exception as e:
            return type(e).__name__ + ": " + str(e)
    found = sorted(os.path.join(d, f) for d, _, files in os.walk("/opt") for f in files)
    return {
        "shared": attempt(lambda: importlib.import_module("shared").WHERE),
        "deep": attempt(lambda: importlib.import_module("deep").WHERE),
        "tool": attempt(lambda: subprocess.run(["layer-tool"], capture_output=True, text=True).stdout),
        "readonly": bool(os.statvfs("/opt").f_flag & os.ST_RDONLY),
        "write": attempt(lambda: open("/opt/x", "w")),
        "files": [f for f in found if "__pycache__" not in f],
        "path": [p for p in sys.path if p.startswith("/opt")],
    }
`

type layerAnswer struct {
	Shared, Deep, Tool, Write string
	ReadOnly                  bool
	Files, Path               []string
}

func TestLayers(t *testing.T) {
	t.Parallel()
	one := layer(t, "one", map[string]string{
		"python/shared.py": "WHERE = 'one'", "python/lib/python3.11/site-packages/deep.py": "WHERE = 'deep'",
		"bin/layer-tool": "#!/bin/sh\necho tool of one", "only-one": "",
	})
	two := layer(t, "two", map[string]string{"python/shared.py": "WHERE = 'two'", "bin/layer-tool": "#!/bin/sh\necho tool of two"})
	source := archive(harness.Zip(t, map[string]string{"app.py": layerHandler}))
	f := deploy(t, python, source, layers(one, two))
	ask := func() (a layerAnswer) {
		t.Helper()
		f.do(t, event{}, &a)
		return a
	}
	a := ask()
	if a.Shared != "two" || a.Deep != "deep" || a.Tool != "tool of two\n" || !a.ReadOnly || !strings.HasPrefix(a.Write, "PermissionError") ||
		!slices.Equal(a.Path, []string{"/opt/python/lib/python3.11/site-packages", "/opt/python"}) ||
		!slices.Equal(a.Files, []string{"/opt/bin/layer-tool", "/opt/only-one", "/opt/python/lib/python3.11/site-packages/deep.py", "/opt/python/shared.py"}) {
		t.Errorf("one below two: %+v", a)
	}
	f.setLayers(t, two, one)
	if a := ask(); a.Shared != "one" || a.Tool != "tool of one\n" {
		t.Errorf("two below one: %+v", a)
	}
	// Versions that are deleted go on being used, also by new environments.
	for _, arn := range []string{one, two} {
		name := strings.TrimSuffix(arn, ":1")
		if _, err := f.client.DeleteLayerVersion(t.Context(), &lambda.DeleteLayerVersionInput{LayerName: &name, VersionNumber: aws.Int64(1)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.client.UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{FunctionName: &f.name, MemorySize: aws.Int32(300)}); err != nil {
		t.Fatal(err)
	}
	f.wait(t)
	if a := ask(); a.Shared != "one" {
		t.Errorf("after their deletion: %+v", a)
	}
	f.setLayers(t)
	if a := ask(); !strings.HasPrefix(a.Shared, "ModuleNotFoundError") || len(a.Files) != 0 {
		t.Errorf("without layers: %+v", a)
	}
}

// TestLayersOfNode imports a module from each of the places that AWS looks in.
func TestLayersOfNode(t *testing.T) {
	t.Parallel()
	one := layer(t, "one", map[string]string{
		"nodejs/node_modules/plain/index.js": "module.exports = 'plain'", "nodejs/node20/node_modules/versioned/index.js": "module.exports = 'versioned'",
	})
	f := deploy(t, node, layers(one), handler("index.handler"), archive(harness.Zip(t, map[string]string{
		"index.js": "exports.handler = async () => [require('plain'), require('versioned')]",
	})))
	var got []string
	if f.do(t, event{}, &got); !slices.Equal(got, []string{"plain", "versioned"}) {
		t.Errorf("got %q", got)
	}
}

// TestRuntimeInALayer runs a function whose bootstrap is in a layer.
func TestRuntimeInALayer(t *testing.T) {
	t.Parallel()
	program, err := bootstrap()
	if err != nil {
		t.Fatal(err)
	}
	f := deploy(t, provided, layers(layer(t, "runtime", map[string]string{"bootstrap": string(program)})),
		archive(harness.Zip(t, map[string]string{"version": "from the function"})))
	var got string
	if f.do(t, event{"do": "version"}, &got); got != "from the function" {
		t.Errorf("got %q", got)
	}
}

// TestTangledLayers gives a function two layers that are harmless apart: over
// each other, a link of theirs leads out of /opt. It leads nowhere but in the
// sandbox.
func TestTangledLayers(t *testing.T) {
	t.Parallel()
	publish := func(name, link, target string) string {
		t.Helper()
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		for path, body := range map[string]string{"file-" + name: "", link: target} {
			h := &zip.FileHeader{Name: path}
			h.SetMode(0o644)
			if path == link {
				h.SetMode(fs.ModeSymlink | 0o777)
			}
			f, err := w.CreateHeader(h)
			if err == nil {
				_, err = f.Write([]byte(body))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		out, err := client(shared).PublishLayerVersion(t.Context(), &lambda.PublishLayerVersionInput{
			LayerName: aws.String(nameOf(t) + name), Content: &types.LayerVersionContentInput{ZipFile: b.Bytes()},
		})
		if err != nil {
			t.Fatal(err)
		}
		return *out.LayerVersionArn
	}
	one, two := publish("one", "link", "d/e/../../etc/passwd"), publish("two", "d/e", "..")
	f := deploy(t, python, layers(one, two), archive(harness.Zip(t, map[string]string{"app.py": `
def handler(event, context):
    with open("/opt/link") as link, open("/etc/passwd") as own:
        return link.read() == own.read()
`})))
	var same bool
	if f.do(t, event{}, &same); !same {
		t.Error("the link leads out of the sandbox, or nowhere")
	}
}

// TestLayersOutliveAKill kills a Hearth under an environment with layers: the
// next one sweeps what is left, and the function finds its layer again.
func TestLayersOutliveAKill(t *testing.T) {
	t.Parallel()
	data, err := harness.NewData()
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(data)
	h, err := harness.Start(data)
	if err != nil {
		t.Fatal(err)
	}
	f := &function{name: "f", client: client(h)}
	published, err := f.client.PublishLayerVersion(t.Context(), &lambda.PublishLayerVersionInput{
		LayerName: aws.String("shared"), Content: &types.LayerVersionContentInput{ZipFile: harness.Zip(t, map[string]string{"python/shared.py": "WHERE = 'here'"})},
	})
	if err != nil {
		t.Fatal(err)
	}
	harness.CreatePython(t, f.client, f.name, layerHandler, func(in *lambda.CreateFunctionInput) { in.Layers = []string{*published.LayerVersionArn} })
	var a layerAnswer
	f.do(t, event{}, &a)
	if err := h.Kill(); err != nil {
		t.Fatal(err)
	}
	if h, err = harness.Start(data); err != nil {
		t.Fatal(err)
	}
	f.client = client(h)
	if f.do(t, event{}, &a); a.Shared != "here" {
		t.Errorf("after the kill: %+v", a)
	}
	if err := h.Stop(); err != nil {
		t.Error(err)
	}
	if left := harness.Remaining(data); len(left) > 0 {
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	}
}

// TestBoto3Layers takes a layer through its life with boto3 and the AWS CLI.
func TestBoto3Layers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, files := range map[string]map[string]string{
		"layer.zip": {"python/shared.py": "WHERE = 'layer'"},
		"code.zip":  {"app.py": "import shared\ndef handler(event, context):\n    return shared.WHERE\n"},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), harness.Zip(t, files), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	script(t, nil, tool(t, "python3"), filepath.Join(root(t), "test/python/layers.py"), dir, tool(t, "aws"))
}

// TestCodeFromS3 has code and layers fetched from a real S3 server.
func TestCodeFromS3(t *testing.T) {
	t.Parallel()
	store := harness.StartS3(t)
	store.MakeBucket(t, "code")
	source := func(version string) []byte {
		return harness.Zip(t, map[string]string{"app.py": "import shared\ndef handler(event, context):\n    return '" + version + " over ' + shared.WHERE\n"})
	}
	// The key is one that must be escaped to be signed and asked for.
	first := store.Put(t, "code/dir/a%20b%2B%C3%BC.zip", source("first"))
	store.Put(t, "code/dir/a%20b%2B%C3%BC.zip", source("second"))
	store.Put(t, "code/layer.zip", harness.Zip(t, map[string]string{"python/shared.py": "WHERE = 'a layer'"}))
	keys := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(keys, []byte("[default]\naws_access_key_id = id\naws_secret_access_key = secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := harness.Run(t, "--s3-endpoint", store.URL, "--s3-credentials", keys)
	f := &function{name: "f", client: client(h)}

	bucket, key := aws.String("code"), aws.String("dir/a b+ü.zip")
	shared, err := f.client.PublishLayerVersion(t.Context(), &lambda.PublishLayerVersionInput{
		LayerName: aws.String("shared"), Content: &types.LayerVersionContentInput{S3Bucket: bucket, S3Key: aws.String("layer.zip")},
	})
	if err != nil {
		t.Fatal(err)
	}
	harness.CreatePython(t, f.client, f.name, "", func(in *lambda.CreateFunctionInput) {
		in.Code, in.Layers = &types.FunctionCode{S3Bucket: bucket, S3Key: key}, []string{*shared.LayerVersionArn}
	})
	answers := func(want string) {
		t.Helper()
		var got string
		if f.do(t, event{}, &got); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	answers("second over a layer")
	update := func(bucket, key, version *string) error {
		_, err := f.client.UpdateFunctionCode(t.Context(), &lambda.UpdateFunctionCodeInput{FunctionName: &f.name, S3Bucket: bucket, S3Key: key, S3ObjectVersion: version})
		return err
	}
	if err := update(bucket, key, &first); err != nil {
		t.Fatal(err)
	}
	f.wait(t)
	answers("first over a layer")
	wantError(t, update(bucket, aws.String("nope"), nil), "InvalidParameterValueException",
		"Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist.")
	wantError(t, update(aws.String("no-bucket"), key, nil), "InvalidParameterValueException",
		"Error occurred while GetObject. S3 Error Code: NoSuchBucket. S3 Error Message: The specified bucket does not exist")
	answers("first over a layer")
}
