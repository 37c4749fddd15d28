package e2e

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"hearth/test/harness"
	"hearth/test/harness/testimage"
)

// pushed pushes an image to the shared Hearth and returns its URI and digest.
func pushed(t *testing.T, img v1.Image, repository string) (uri, digest string) {
	t.Helper()
	return pushedTo(t, shared, img, repository)
}

func pushedTo(t *testing.T, h *harness.Instance, img v1.Image, repository string) (uri, digest string) {
	t.Helper()
	at, err := url.Parse(h.URL)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewTag(at.Host+"/"+repository, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := h.Credentials().Retrieve(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	login := &authn.Basic{Username: keys.AccessKeyID, Password: keys.SecretAccessKey}
	if err := remote.Write(ref, img, remote.WithAuth(login), remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return ref.Name(), d.String()
}

// deployImage makes a function of an image and waits for it.
func deployImage(t *testing.T, uri string, change ...func(*lambda.CreateFunctionInput)) *function {
	t.Helper()
	return deployImageTo(t, shared, uri, change...)
}

func deployImageTo(t *testing.T, h *harness.Instance, uri string, change ...func(*lambda.CreateFunctionInput)) *function {
	t.Helper()
	f := &function{name: nameOf(t), client: client(h)}
	in := &lambda.CreateFunctionInput{
		FunctionName: &f.name, PackageType: types.PackageTypeImage, Code: &types.FunctionCode{ImageUri: &uri},
		Role: aws.String("arn:aws:iam::000000000000:role/hearth-function"), Timeout: aws.Int32(30), MemorySize: aws.Int32(512),
	}
	for _, c := range change {
		c(in)
	}
	if _, err := f.client.CreateFunction(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	f.wantState(t, types.StateActive)
	return f
}

// wantState waits for a state, and fails with the reason of any other.
func (f *function) wantState(t *testing.T, want types.State) *lambda.GetFunctionConfigurationOutput {
	t.Helper()
	var got *lambda.GetFunctionConfigurationOutput
	eventually(t, "the function is "+string(want), func() bool {
		var err error
		got, err = f.client.GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: &f.name})
		if err != nil {
			t.Fatal(err)
		}
		if got.State != want && got.State != types.StatePending {
			t.Fatalf("%s: %s", got.State, aws.ToString(got.StateReason))
		}
		return got.State == want && got.LastUpdateStatus != types.LastUpdateStatusInProgress
	})
	return got
}

// asks invokes a function of testimage's.
func (f *function) asks(t *testing.T, payload string) testimage.Answer {
	t.Helper()
	out, err := f.client.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: &f.name, Payload: []byte(payload)})
	if err != nil || out.FunctionError != nil {
		t.Fatalf("invoke: %v, %+v", err, out)
	}
	return testimage.ParseAnswer(t, out.Payload)
}

// TestImages runs functions from container images with AWS's runtime interface
// clients for three languages, pushed through /v2/.
func TestImages(t *testing.T) {
	for language, build := range map[string]func(testing.TB) v1.Image{
		"go": testimage.Go, "debian": testimage.GoOnDebian, "python": testimage.Python, "node": testimage.Node,
	} {
		t.Run(language, func(t *testing.T) {
			uri, digest := pushed(t, build(t), "images/"+language+":v1")
			f := deployImage(t, uri, func(in *lambda.CreateFunctionInput) {
				in.Environment = &types.Environment{Variables: map[string]string{"LAMBDA_TASK_ROOT_OWN": "x"}}
			})
			a := f.asks(t, `{"n": 1}`)
			if string(a.Event) != `{"n":1}` && string(a.Event) != `{"n": 1}` {
				t.Errorf("event %s", a.Event)
			}
			if want := strings.ReplaceAll(language, "debian", "go"); a.Language != want || a.Writable || a.UID == 0 {
				t.Errorf("answer %+v: want %s, as a user that is not root, over a root that cannot be written", a, want)
			}
			if a.Env[testimage.Greeting] != testimage.GreetingText || a.Env["AWS_LAMBDA_FUNCTION_NAME"] != f.name {
				t.Errorf("variables %v", a.Env)
			}
			if language == "debian" {
				if _, there := a.Files[testimage.RemovedFile]; there || a.Files[testimage.ChangedFile] != testimage.ChangedText {
					t.Errorf("files %v: want what the upper layers made of them", a.Files)
				}
			}
			got, err := f.client.GetFunction(t.Context(), &lambda.GetFunctionInput{FunctionName: &f.name})
			if err != nil {
				t.Fatal(err)
			}
			if *got.Code.ImageUri != uri || !strings.HasSuffix(*got.Code.ResolvedImageUri, "@"+digest) || *got.Code.RepositoryType != "ECR" ||
				"sha256:"+*got.Configuration.CodeSha256 != digest || got.Configuration.PackageType != types.PackageTypeImage || got.Configuration.Runtime != "" {
				t.Errorf("%+v %+v", got.Code, got.Configuration)
			}
		})
	}
}

// TestImageConfig replaces what an image says about how to start it.
func TestImageConfig(t *testing.T) {
	t.Parallel()
	image := testimage.GoOnDebian(t)
	uri, _ := pushed(t, image, "config/app:v1")
	f := deployImage(t, uri, func(in *lambda.CreateFunctionInput) {
		in.ImageConfig = &types.ImageConfig{Command: []string{"one", "two words"}, WorkingDirectory: aws.String("/usr")}
		in.Environment = &types.Environment{Variables: map[string]string{testimage.Greeting: "the function's"}}
	})
	a := f.asks(t, `{}`)
	if a.Cwd != "/usr" || !slices.Equal(a.Args, []string{"one", "two words"}) {
		t.Errorf("in %s with %q", a.Cwd, a.Args)
	}
	if a.Env[testimage.Greeting] != "the function's" {
		t.Errorf("variables %v: want the function's over the image's", a.Env)
	}
	// A program of the image's own, which writes where functions may.
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	entry := []string{"/bin/bash", "-c", `set -e; mkdir /tmp/here; cd /tmp/here; echo x > y; exec "$0" "$@"`}
	f.reconfigure(t, types.ImageConfig{EntryPoint: append(entry, config.Config.Entrypoint...), Command: []string{"three"}})
	if a := f.asks(t, `{}`); a.Cwd != "/tmp/here" || !slices.Equal(a.Args, []string{"three"}) || a.Writable {
		t.Errorf("in %s with %q", a.Cwd, a.Args)
	}
	for _, c := range []struct {
		config     types.ImageConfig
		kind, text string
	}{
		{types.ImageConfig{EntryPoint: []string{"/no/such"}}, "Runtime.InvalidEntrypoint", "/no/such: no such file or directory"},
		{types.ImageConfig{WorkingDirectory: aws.String("/no/such")}, "Runtime.InvalidWorkingDir", "/no/such"},
	} {
		f.reconfigure(t, c.config)
		out, err := f.client.Invoke(t.Context(), &lambda.InvokeInput{FunctionName: &f.name})
		if err != nil {
			t.Fatal(err)
		}
		var answer struct{ ErrorType, ErrorMessage string }
		if err := json.Unmarshal(out.Payload, &answer); err != nil || answer.ErrorType != c.kind || !strings.Contains(answer.ErrorMessage, c.text) {
			t.Errorf("got %s, want %s with %q", out.Payload, c.kind, c.text)
		}
	}
	// Without any, the image's own again.
	if got := f.reconfigure(t, types.ImageConfig{}); got.ImageConfigResponse != nil {
		t.Errorf("%+v", got.ImageConfigResponse)
	}
	if a := f.asks(t, `{}`); a.Cwd == "/usr" {
		t.Errorf("in %s", a.Cwd)
	}
}

// reconfigure replaces what is said about an image, and waits until it is so.
func (f *function) reconfigure(t *testing.T, c types.ImageConfig) *lambda.GetFunctionConfigurationOutput {
	t.Helper()
	if _, err := f.client.UpdateFunctionConfiguration(t.Context(), &lambda.UpdateFunctionConfigurationInput{FunctionName: &f.name, ImageConfig: &c}); err != nil {
		t.Fatal(err)
	}
	return f.wantState(t, types.StateActive)
}

// TestImageCommands brings an OCI layout to Hearth without docker, and looks how
// it is stored.
func TestImageCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, err := layout.Write(dir, empty.Index)
	if err == nil {
		err = path.AppendImage(testimage.Go(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	uri := strings.TrimSpace(hearth(t, shared, "image", "push", dir, "commands/app:v1"))
	f := deployImage(t, uri)
	f.asks(t, `{}`)
	var volumes []struct {
		Kind, Name     string
		Chunks, Unique int
		Size           int64
		Built          struct{ Chunks, Stored int }
	}
	if err := json.Unmarshal([]byte(hearth(t, shared, "image", "inspect", f.name, "-o", "json")), &volumes); err != nil {
		t.Fatal(err)
	}
	if len(volumes) != 1 || volumes[0].Kind != "code" || !strings.Contains(volumes[0].Name, "/commands/app@sha256:") ||
		volumes[0].Unique < 1 || volumes[0].Chunks < volumes[0].Unique || volumes[0].Size < 1<<20 ||
		volumes[0].Built.Chunks < volumes[0].Unique {
		t.Errorf("%+v", volumes)
	}
}

// TestImageUpdate: a version keeps its image, whatever the tag names later.
func TestImageUpdate(t *testing.T) {
	t.Parallel()
	first := testimage.Go(t)
	uri, _ := pushed(t, first, "update/app:latest")
	f := deployImage(t, uri, func(in *lambda.CreateFunctionInput) { in.Publish = true })
	config, err := first.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	changed := config.Config
	changed.Env = append(slices.Clone(changed.Env), testimage.Greeting+"=another")
	second, err := mutate.Config(first, changed)
	if err != nil {
		t.Fatal(err)
	}
	_, digest := pushed(t, second, "update/app:latest")
	f.reconfigure(t, types.ImageConfig{Command: []string{"again"}}) // which starts it anew
	if a := f.asks(t, `{}`); a.Env[testimage.Greeting] != testimage.GreetingText {
		t.Errorf("a tag that moved has changed the function: %v", a.Env)
	}
	if _, err := f.client.UpdateFunctionCode(t.Context(), &lambda.UpdateFunctionCodeInput{FunctionName: &f.name, ImageUri: &uri}); err != nil {
		t.Fatal(err)
	}
	if got := f.wantState(t, types.StateActive); "sha256:"+*got.CodeSha256 != digest {
		t.Errorf("the function has %s, the tag names %s", *got.CodeSha256, digest)
	}
	if a := f.asks(t, `{}`); a.Env[testimage.Greeting] != "another" {
		t.Errorf("$LATEST has %v", a.Env)
	}
	published, err := f.client.PublishVersion(t.Context(), &lambda.PublishVersionInput{FunctionName: &f.name})
	if err != nil || *published.Version != "2" || "sha256:"+*published.CodeSha256 != digest {
		t.Fatalf("%+v, %v", published, err)
	}
	if a := (&function{name: f.name + ":2", client: f.client}).asks(t, `{}`); a.Env[testimage.Greeting] != "another" {
		t.Errorf("version 2 has %v", a.Env)
	}
	version := &function{name: f.name + ":1", client: f.client}
	if a := version.asks(t, `{}`); a.Env[testimage.Greeting] != testimage.GreetingText {
		t.Errorf("version 1 has %v", a.Env)
	}
	_, err = f.client.UpdateFunctionCode(t.Context(), &lambda.UpdateFunctionCodeInput{FunctionName: &f.name, ZipFile: code(t, python, "1")})
	wantError(t, err, "InvalidParameterValueException", "Please don't provide ZipFile or S3Bucket or S3Key when the intended function PackageType is Image.")
}

// TestBadImages is about images that no function can be made of.
func TestBadImages(t *testing.T) {
	t.Parallel()
	at, err := url.Parse(shared.URL)
	if err != nil {
		t.Fatal(err)
	}
	arm, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{Architecture: "arm64", OS: "linux"})
	if err != nil {
		t.Fatal(err)
	}
	foreign, _ := pushed(t, arm, "bad/arm:v1")
	for title, c := range map[string]struct{ uri, code, message string }{
		"no such tag":       {at.Host + "/bad/none:v1", "InvalidParameterValueException", "does not exist. Provide a valid source image."},
		"another account's": {"111111111111.dkr.ecr.us-east-1.localhost:" + at.Port() + "/a:v1", "AccessDeniedException", "does not have permission to access the ECR image"},
		"another machine's": {foreign, "InvalidParameterValueException", "is not supported"},
		"no host":           {"debian:12", "InvalidParameterValueException", "is not supported"},
		"this machine":      {"127.0.0.1:1/a:v1", "InvalidParameterValueException", "an address that is not public"},
		"a cloud's secrets": {"169.254.169.254/a:v1", "InvalidParameterValueException", "an address that is not public"},
	} {
		t.Run(title, func(t *testing.T) {
			missing := nameOf(t)
			_, err := client(shared).CreateFunction(t.Context(), &lambda.CreateFunctionInput{
				FunctionName: &missing, PackageType: types.PackageTypeImage, Code: &types.FunctionCode{ImageUri: &c.uri},
				Role: aws.String("arn:aws:iam::000000000000:role/hearth-function"),
			})
			var e smithy.APIError
			if !errors.As(err, &e) || e.ErrorCode() != c.code || !strings.Contains(e.ErrorMessage(), c.message) {
				t.Errorf("got %v\nwant %s with %q", err, c.code, c.message)
			}
			wantMissing(t, missing)
		})
	}
	// Without a key, nothing of the registry is told.
	answer, err := http.Get(shared.URL + "/v2/_catalog")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusUnauthorized || answer.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("%s", answer.Status)
	}
}

// TestImageDeleted: what a function of an image leaves is garbage for the
// collector, and nothing else.
func TestImageDeleted(t *testing.T) {
	t.Parallel()
	h := harness.Run(t, "--pool", "0")
	mounted := func() int { return strings.Count(strings.Join(harness.Leftovers(h.Data), "\n"), "/worker/code/") }
	before := mounted()
	uri, _ := pushedTo(t, h, testimage.Go(t), "deleted/app:v1")
	f := deployImageTo(t, h, uri)
	f.asks(t, `{}`)
	if mounted() == before {
		t.Fatal("no volume is mounted")
	}
	if _, err := f.client.DeleteFunction(t.Context(), &lambda.DeleteFunctionInput{FunctionName: &f.name}); err != nil {
		t.Fatal(err)
	}
	volumes := filepath.Join(h.Data, "objects", "objects", "volumes", "code")
	eventually(t, "its volume is unmounted and forgotten", func() bool {
		left, err := filepath.Glob(filepath.Join(volumes, "*", "*", "*", "*"))
		return err == nil && len(left) == 0 && mounted() == before
	})
	collectGarbage(t, h)
}
