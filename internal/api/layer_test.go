package api_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"hearth/internal/api"
	"hearth/internal/awserr"
	"hearth/internal/control"
	"hearth/internal/policy"
	"hearth/internal/s3"
	"hearth/internal/sigv4"
)

const (
	strangerAccount = "222222222222"
	strangerKey     = "AKIAHEARTHTEST000002"
	toolsARN        = "arn:aws:lambda:us-east-1:000000000000:layer:tools"
)

// twoKeys knows the root users of two accounts.
type twoKeys struct{}

func (twoKeys) Secret(_ context.Context, id, _ string) (sigv4.Credential, error) {
	owner, ok := map[string]string{key: account, strangerKey: strangerAccount}[id]
	if !ok {
		return sigv4.Credential{}, sigv4.ErrUnknownKey
	}
	return sigv4.Credential{AccountID: owner, Secret: secret, PrincipalARN: "arn:aws:iam::" + owner + ":root", UserID: owner}, nil
}

// roots asks the policy engine about callers that are root users.
type roots struct{ api.Access } // what the tests with it do not use is nil

func (roots) Authorize(_ context.Context, caller *sigv4.Identity, r *policy.Request, resource *policy.Document) error {
	r.Principal = &policy.Principal{Kind: policy.RootUser, Account: caller.AccountID, ARN: caller.PrincipalARN, ID: caller.UserID}
	if d := policy.Evaluate(r, nil, resource); !d.Allowed {
		return awserr.New("AccessDeniedException", "%s", d.Reason)
	}
	return nil
}

func (roots) PassRole(context.Context, *sigv4.Identity, *policy.Request, string) error { return nil }

func twoAccounts(_ *control.Config, cfg *api.Config) { cfg.Keys, cfg.Access = twoKeys{}, roots{} }

// signedBy makes calls with another access key.
func signedBy(id string) func(*lambda.Options) {
	return func(o *lambda.Options) {
		o.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: id, SecretAccessKey: secret}, nil
		})
	}
}

func (h hearth) publishLayer(name, body string, changes ...func(*lambda.PublishLayerVersionInput)) *lambda.PublishLayerVersionOutput {
	h.t.Helper()
	in := &lambda.PublishLayerVersionInput{LayerName: &name, Content: &types.LayerVersionContentInput{ZipFile: archiveOf(h.t, body)}}
	for _, change := range changes {
		change(in)
	}
	out, err := h.PublishLayerVersion(h.t.Context(), in)
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

func follow(t *testing.T, link string) (int, []byte) {
	t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, link, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, b
}

func TestLayerVersions(t *testing.T) {
	h, ctx := startHearth(t), t.Context()
	tools := aws.String("tools")
	one := h.publishLayer("tools", "one", func(in *lambda.PublishLayerVersionInput) {
		in.Description, in.LicenseInfo = aws.String("d"), aws.String("MIT")
		in.CompatibleRuntimes = []types.Runtime{types.RuntimePython311, types.RuntimePython312}
		in.CompatibleArchitectures = []types.Architecture{types.ArchitectureX8664}
	})
	if *one.LayerArn != toolsARN || *one.LayerVersionArn != toolsARN+":1" || one.Version != 1 || *one.Description != "d" || *one.LicenseInfo != "MIT" ||
		len(one.CompatibleRuntimes) != 2 || len(one.CompatibleArchitectures) != 1 || one.Content.CodeSize != int64(len(archiveOf(t, "one"))) ||
		!strings.HasSuffix(*one.CreatedDate, "+0000") {
		t.Errorf("published: %+v", one)
	}
	if two := h.publishLayer("tools", "two"); two.Version != 2 || *two.Description != "" || two.LicenseInfo != nil || two.CompatibleRuntimes != nil {
		t.Errorf("the second: %+v", two)
	}
	got, err := h.GetLayerVersion(ctx, &lambda.GetLayerVersionInput{LayerName: tools, VersionNumber: aws.Int64(1)})
	byARN, err2 := h.GetLayerVersionByArn(ctx, &lambda.GetLayerVersionByArnInput{Arn: one.LayerVersionArn})
	if err != nil || err2 != nil || *got.Content.CodeSha256 != *one.Content.CodeSha256 || *byARN.LayerVersionArn != *one.LayerVersionArn || *byARN.CreatedDate != *one.CreatedDate {
		t.Fatalf("got %+v, %v, %+v, %v", got, err, byARN, err2)
	}
	for _, link := range []*string{one.Content.Location, got.Content.Location, byARN.Content.Location} {
		if status, body := follow(t, *link); status != http.StatusOK || !bytes.Equal(body, archiveOf(t, "one")) {
			t.Errorf("%s: %d, %d bytes", *link, status, len(body))
		}
	}
	if status, _ := follow(t, strings.Replace(*one.Content.Location, "tools:1", "tools:2", 1)); status != http.StatusForbidden {
		t.Errorf("a link that was changed: %d", status)
	}
	if _, err := h.DeleteLayerVersion(ctx, &lambda.DeleteLayerVersionInput{LayerName: tools, VersionNumber: aws.Int64(1)}); err != nil {
		t.Error(err)
	}
	if status, _ := follow(t, *one.Content.Location); status != http.StatusNotFound {
		t.Errorf("a link to a deleted version: %d", status)
	}
	_, err = h.GetLayerVersion(ctx, &lambda.GetLayerVersionInput{LayerName: tools, VersionNumber: aws.Int64(1)})
	want(t, "a deleted version", err, 404, "ResourceNotFoundException", "The resource you requested does not exist.")
	_, err = h.GetLayerVersionByArn(ctx, &lambda.GetLayerVersionByArnInput{Arn: one.LayerVersionArn})
	want(t, "a deleted version by ARN", err, 404, "ResourceNotFoundException", "The resource you requested does not exist.")
	if three := h.publishLayer("tools", "three"); three.Version != 3 {
		t.Errorf("the third has number %d", three.Version)
	}
}

func TestLayersOfAPage(t *testing.T) {
	h, ctx := startHearth(t), t.Context()
	for _, name := range []string{"a", "b", "b", "c"} {
		h.publishLayer(name, name, func(in *lambda.PublishLayerVersionInput) {
			if name != "a" {
				in.CompatibleRuntimes = []types.Runtime{types.RuntimeNodejs20x}
			}
		})
	}
	var names []string
	pages := lambda.NewListLayersPaginator(h.Client, &lambda.ListLayersInput{MaxItems: aws.Int32(1), CompatibleRuntime: types.RuntimeNodejs20x})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range page.Layers {
			names = append(names, *l.LayerName+" "+*l.LatestMatchingVersion.LayerVersionArn)
		}
	}
	const prefix = "arn:aws:lambda:us-east-1:000000000000:layer:"
	if !slices.Equal(names, []string{"b " + prefix + "b:2", "c " + prefix + "c:1"}) {
		t.Errorf("layers %q", names)
	}
	var numbers []int64
	versions := lambda.NewListLayerVersionsPaginator(h.Client, &lambda.ListLayerVersionsInput{LayerName: aws.String(prefix + "b"), MaxItems: aws.Int32(1)})
	for versions.HasMorePages() {
		page, err := versions.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range page.LayerVersions {
			numbers = append(numbers, v.Version)
		}
	}
	if !slices.Equal(numbers, []int64{2, 1}) {
		t.Errorf("versions %v", numbers)
	}
	for _, in := range []*lambda.ListLayerVersionsInput{
		{LayerName: aws.String("nope")}, {LayerName: aws.String("b"), CompatibleRuntime: types.RuntimeJava21}, {LayerName: aws.String("b"), CompatibleArchitecture: types.ArchitectureArm64},
	} {
		if out, err := h.ListLayerVersions(ctx, in); err != nil || len(out.LayerVersions) != 0 {
			t.Errorf("%+v: %+v, %v", in, out, err)
		}
	}
	_, err := h.ListLayerVersions(ctx, &lambda.ListLayerVersionsInput{LayerName: aws.String("b"), Marker: aws.String("eA")})
	want(t, "a foreign marker", err, 400, "InvalidParameterValueException", "The marker is not one that this operation returned.")
}

func TestLayerErrors(t *testing.T) {
	h, ctx := startHearth(t), t.Context()
	tools, zip := aws.String("tools"), &types.LayerVersionContentInput{ZipFile: archiveOf(t, "x")}
	const small = "Layer Version Cannot be less than 1"
	_, err := h.GetLayerVersion(ctx, &lambda.GetLayerVersionInput{LayerName: tools, VersionNumber: aws.Int64(0)})
	want(t, "layer-087", err, 400, "InvalidParameterValueException", small)
	_, err = h.DeleteLayerVersion(ctx, &lambda.DeleteLayerVersionInput{LayerName: tools, VersionNumber: aws.Int64(-1)})
	want(t, "delete 0", err, 400, "InvalidParameterValueException", small)
	_, err = h.GetLayerVersion(ctx, &lambda.GetLayerVersionInput{LayerName: tools, VersionNumber: aws.Int64(1)})
	want(t, "no such layer", err, 404, "ResourceNotFoundException", "The resource you requested does not exist.")
	_, err = h.GetLayerVersionByArn(ctx, &lambda.GetLayerVersionByArnInput{Arn: aws.String(toolsARN)})
	want(t, "no version", err, 400, "ValidationException", "")
	_, err = h.PublishLayerVersion(ctx, &lambda.PublishLayerVersionInput{LayerName: tools, Content: zip, CompatibleRuntimes: []types.Runtime{"cobol", "python3.11"}})
	want(t, "bad runtime", err, 400, "ValidationException", "")
	if err == nil || !strings.Contains(err.Error(), "1 validation error detected: Value '[cobol, python3.11]' at 'compatibleRuntimes' failed to satisfy constraint: Member must satisfy enum value set: [") {
		t.Errorf("bad runtime: %v", err)
	}
	_, err = h.PublishLayerVersion(ctx, &lambda.PublishLayerVersionInput{LayerName: tools, Content: zip, CompatibleRuntimes: slices.Repeat([]types.Runtime{"python3.11"}, 16)})
	want(t, "too many runtimes", err, 400, "ValidationException", "")
	_, err = h.PublishLayerVersion(ctx, &lambda.PublishLayerVersionInput{LayerName: aws.String("a.b"), Content: zip})
	want(t, "bad name", err, 400, "ValidationException", "")
	_, err = h.PublishLayerVersion(ctx, &lambda.PublishLayerVersionInput{LayerName: tools, Content: &types.LayerVersionContentInput{ZipFile: []byte("no zip")}})
	want(t, "bad zip", err, 400, "InvalidParameterValueException", "")
	_, err = h.ListLayers(ctx, &lambda.ListLayersInput{CompatibleRuntime: "cobol"})
	want(t, "bad filter", err, 400, "ValidationException", "")
	_, err = h.GetLayerVersionPolicy(ctx, &lambda.GetLayerVersionPolicyInput{LayerName: tools, VersionNumber: aws.Int64(1)})
	want(t, "policy of nothing", err, 404, "ResourceNotFoundException", "Layer version "+toolsARN+":1 does not exist.")
	_, err = h.AddLayerVersionPermission(ctx, &lambda.AddLayerVersionPermissionInput{
		LayerName: tools, VersionNumber: aws.Int64(1), StatementId: aws.String("s"), Action: aws.String("lambda:*"), Principal: aws.String("*"),
	})
	want(t, "bad action", err, 400, "ValidationException",
		"1 validation error detected: Value 'lambda:*' at 'action' failed to satisfy constraint: Member must satisfy regular expression pattern: lambda:GetLayerVersion")
}

func TestFunctionWithLayers(t *testing.T) {
	h, ctx := startHearth(t), t.Context()
	one, two := h.publishLayer("one", "1"), h.publishLayer("two", "22")
	h.create("hi")
	update := func(layers ...string) error {
		_, err := h.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("hi"), Layers: append([]string{}, layers...)})
		return err
	}
	missing := "arn:aws:lambda:us-east-1:000000000000:layer:doesnotexist:1"
	want(t, "layer-089", update(missing), 400, "InvalidParameterValueException", "Layer version "+missing+" does not exist.")
	if err := update(*two.LayerVersionArn, *one.LayerVersionArn); err != nil {
		t.Fatal(err)
	}
	h.settle("hi")
	got, err := h.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: aws.String("hi")})
	if err != nil || len(got.Layers) != 2 || *got.Layers[0].Arn != *two.LayerVersionArn || got.Layers[0].CodeSize != two.Content.CodeSize ||
		*got.Layers[1].Arn != *one.LayerVersionArn || got.Layers[1].CodeSize != one.Content.CodeSize {
		t.Errorf("layers %+v, %v", got.Layers, err)
	}
	if err := update(); err != nil {
		t.Fatal(err)
	}
	h.settle("hi")
	if got, err = h.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: aws.String("hi")}); err != nil || got.Layers != nil {
		t.Errorf("cleared: %+v, %v", got.Layers, err)
	}
}

// TestLayerOfAnotherAccount follows a layer from being nobody else's to being
// everybody's.
func TestLayerOfAnotherAccount(t *testing.T) {
	h, ctx := startHearth(t, twoAccounts), t.Context()
	one := h.publishLayer("tools", "1")
	get := func() error {
		_, err := h.GetLayerVersion(ctx, &lambda.GetLayerVersionInput{LayerName: aws.String(toolsARN), VersionNumber: aws.Int64(1)}, signedBy(strangerKey))
		_, err2 := h.GetLayerVersionByArn(ctx, &lambda.GetLayerVersionByArnInput{Arn: one.LayerVersionArn}, signedBy(strangerKey))
		if (err == nil) != (err2 == nil) {
			t.Errorf("by name: %v, by ARN: %v", err, err2)
		}
		return err
	}
	create := func(name, layer string) error {
		_, err := h.CreateFunction(ctx, &lambda.CreateFunctionInput{
			FunctionName: &name, Role: aws.String("arn:aws:iam::222222222222:role/r"), Runtime: types.RuntimePython311, Handler: aws.String("app.handler"),
			Code: &types.FunctionCode{ZipFile: archiveOf(t, name)}, Layers: []string{layer},
		}, signedBy(strangerKey))
		return err
	}
	refused := func(action, resource string) string {
		return "User: arn:aws:iam::222222222222:root is not authorized to perform: lambda:" + action + " on resource: " + resource +
			" because no resource-based policy allows the lambda:" + action + " action"
	}
	permit := func(sid, principal, organization string) {
		t.Helper()
		in := &lambda.AddLayerVersionPermissionInput{
			LayerName: aws.String("tools"), VersionNumber: aws.Int64(1), StatementId: &sid, Action: aws.String("lambda:GetLayerVersion"), Principal: &principal,
		}
		if organization != "" {
			in.OrganizationId = &organization
		}
		if out, err := h.AddLayerVersionPermission(ctx, in); err != nil || !strings.Contains(*out.Statement, `"Sid":"`+sid+`"`) || *out.RevisionId == "" {
			t.Fatalf("%+v, %v", out, err)
		}
	}
	want(t, "get", get(), 403, "AccessDeniedException", refused("GetLayerVersion", toolsARN+":1"))
	want(t, "use", create("f", toolsARN+":1"), 403, "AccessDeniedException", refused("GetLayerVersion", toolsARN+":1"))
	want(t, "use what is not there", create("f", toolsARN+":9"), 403, "AccessDeniedException", refused("GetLayerVersion", toolsARN+":9"))
	permit("organization", "*", "o-1234567890")
	want(t, "get, of no organization", get(), 403, "AccessDeniedException", "")
	permit("account", "333333333333", "")
	want(t, "get, another account", get(), 403, "AccessDeniedException", "")
	permit("all", strangerAccount, "")
	if err := get(); err != nil {
		t.Error(err)
	}
	if err := create("f", toolsARN+":1"); err != nil {
		t.Error(err)
	}
	elsewhere := "arn:aws:lambda:eu-west-1:000000000000:layer:tools:1"
	want(t, "another region's", create("g", elsewhere), 403, "AccessDeniedException", refused("GetLayerVersion", elsewhere))
	_, err := h.DeleteLayerVersion(ctx, &lambda.DeleteLayerVersionInput{LayerName: aws.String(toolsARN), VersionNumber: aws.Int64(1)}, signedBy(strangerKey))
	want(t, "delete", err, 403, "AccessDeniedException", "")
	_, err = h.PublishLayerVersion(ctx, &lambda.PublishLayerVersionInput{LayerName: aws.String(toolsARN), Content: &types.LayerVersionContentInput{ZipFile: archiveOf(t, "x")}}, signedBy(strangerKey))
	want(t, "publish", err, 403, "AccessDeniedException", "")
	_, err = h.ListLayerVersions(ctx, &lambda.ListLayerVersionsInput{LayerName: aws.String(toolsARN)}, signedBy(strangerKey))
	want(t, "list", err, 403, "AccessDeniedException", "")
	_, err = h.GetLayerVersionPolicy(ctx, &lambda.GetLayerVersionPolicyInput{LayerName: aws.String(toolsARN), VersionNumber: aws.Int64(1)}, signedBy(strangerKey))
	want(t, "policy", err, 403, "AccessDeniedException", "")

	if _, err := h.RemoveLayerVersionPermission(ctx, &lambda.RemoveLayerVersionPermissionInput{
		LayerName: aws.String("tools"), VersionNumber: aws.Int64(1), StatementId: aws.String("all"),
	}); err != nil {
		t.Fatal(err)
	}
	want(t, "get, after the permission went", get(), 403, "AccessDeniedException", "")
}

// noBucket has no object.
type noBucket struct{}

func (noBucket) Open(context.Context, string, string, string) (*s3.Object, error) {
	return nil, &s3.Error{Status: 404, Code: "NoSuchKey", Message: "The specified key does not exist."}
}

func TestCodeFromS3(t *testing.T) {
	content := &types.LayerVersionContentInput{S3Bucket: aws.String("bucket"), S3Key: aws.String("key")}
	publish := func(h hearth) error {
		_, err := h.PublishLayerVersion(t.Context(), &lambda.PublishLayerVersionInput{LayerName: aws.String("tools"), Content: content})
		return err
	}
	want(t, "no endpoint", publish(startHearth(t)), 400, "InvalidParameterValueException",
		"Code from S3 needs an S3 endpoint, and this Hearth has none. Start it with hearth up --s3-endpoint URL, or send the code as ZipFile.")
	h := startHearth(t, func(c *control.Config, _ *api.Config) { c.Buckets = noBucket{} })
	const words = "Error occurred while GetObject. S3 Error Code: NoSuchKey. S3 Error Message: The specified key does not exist."
	want(t, "layer", publish(h), 400, "InvalidParameterValueException", words)
	h.create("hi")
	_, err := h.UpdateFunctionCode(t.Context(), &lambda.UpdateFunctionCodeInput{FunctionName: aws.String("hi"), S3Bucket: content.S3Bucket, S3Key: content.S3Key})
	want(t, "update", err, 400, "InvalidParameterValueException", words)
}
