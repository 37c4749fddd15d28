package api_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestChurn does what an infrastructure tool does with a large account, twice:
// it creates, changes and deletes 500 functions, each with a layer of its own,
// in parallel. Nothing of them is left in etcd or in the object store.
func TestChurn(t *testing.T) {
	h := startHearth(t)
	for range 2 {
		h.each(500, h.apply)
		if n := h.keys("hearth/versions/"); n != 1000 {
			t.Errorf("%d versions, want 1000", n)
		}
		h.each(500, h.destroy)
	}
	for _, prefix := range []string{"hearth/functions/", "hearth/versions/", "hearth/layer-versions/"} {
		if n := h.keys(prefix); n != 0 {
			t.Errorf("%d keys are left under %s", n, prefix)
		}
	}
	// What stays is how many versions each layer has had: no number comes twice.
	if n := h.keys("hearth/layers/"); n != 500 {
		t.Errorf("%d counters of layers, want 500", n)
	}
	h.plane.Stop() // what is due is deleted before it ends
	left, err := h.objects.List(t.Context(), "")
	if err != nil || len(left) != 0 {
		t.Errorf("%d objects are left, %v", len(left), err)
	}
}

// each runs f for n names, 16 at once, until one fails.
func (h hearth) each(n int64, f func(name string) error) {
	h.t.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := next.Add(1); i <= n && !h.t.Failed(); i = next.Add(1) {
				if err := f(fmt.Sprintf("f%03d", i)); err != nil {
					h.t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func (h hearth) keys(prefix string) int64 {
	h.t.Helper()
	resp, err := h.store.Client().Get(h.t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		h.t.Fatal(err)
	}
	return resp.Count
}

// apply makes a layer, and a function with it that has two versions, an alias
// and a permission.
func (h hearth) apply(name string) error {
	ctx, f := h.t.Context(), &name
	layer, err := h.PublishLayerVersion(ctx, &lambda.PublishLayerVersionInput{
		LayerName: f, Content: &types.LayerVersionContentInput{ZipFile: archiveOf(h.t, name+"'s layer")},
	})
	if err != nil {
		return err
	}
	_, err = h.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: f, Role: aws.String(role), Runtime: types.RuntimePython311, Handler: aws.String("app.handler"),
		Code: &types.FunctionCode{ZipFile: archiveOf(h.t, name)}, Publish: true, Tags: map[string]string{"by": "churn"},
		Layers: []string{*layer.LayerVersionArn},
	})
	if err != nil {
		return err
	}
	if err := h.ready(name); err != nil {
		return err
	}
	_, err = h.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: f, MemorySize: aws.Int32(256)})
	if err != nil {
		return err
	}
	if err := h.ready(name); err != nil {
		return err
	}
	if _, err = h.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{FunctionName: f, ZipFile: archiveOf(h.t, name+"!"), Publish: true}); err != nil {
		return err
	}
	if err := h.ready(name); err != nil {
		return err
	}
	if _, err = h.CreateAlias(ctx, &lambda.CreateAliasInput{FunctionName: f, Name: aws.String("live"), FunctionVersion: aws.String("1")}); err != nil {
		return err
	}
	if _, err = h.UpdateAlias(ctx, &lambda.UpdateAliasInput{FunctionName: f, Name: aws.String("live"), FunctionVersion: aws.String("2")}); err != nil {
		return err
	}
	_, err = h.AddPermission(ctx, &lambda.AddPermissionInput{
		FunctionName: f, Qualifier: aws.String("live"), StatementId: aws.String("s"), Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("events.amazonaws.com"),
	})
	return err
}

func (h hearth) destroy(name string) error {
	ctx := h.t.Context()
	if _, err := h.DeleteAlias(ctx, &lambda.DeleteAliasInput{FunctionName: &name, Name: aws.String("live")}); err != nil {
		return err
	}
	if _, err := h.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: &name}); err != nil {
		return err
	}
	return h.destroyLayers(name)
}

func (h hearth) destroyLayers(name string) error {
	ctx := h.t.Context()
	out, err := h.ListLayerVersions(ctx, &lambda.ListLayerVersionsInput{LayerName: &name})
	if err != nil {
		return err
	}
	if len(out.LayerVersions) != 1 {
		return fmt.Errorf("layer %s has %d versions, want 1", name, len(out.LayerVersions))
	}
	_, err = h.DeleteLayerVersion(ctx, &lambda.DeleteLayerVersionInput{LayerName: &name, VersionNumber: &out.LayerVersions[0].Version})
	return err
}
