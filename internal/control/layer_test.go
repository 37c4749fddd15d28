package control

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/internal/archive"
	"hearth/internal/function"
	"hearth/internal/layer"
	"hearth/internal/policy"
	"hearth/internal/table"
)

func layerRequest(t testing.TB, name, body string) layer.PublishRequest {
	return layer.PublishRequest{Account: account, Name: name, Zip: zipOf(t, map[string]string{"python/m.py": body})}
}

func (st *stack) mustPublishLayer(t *testing.T, name, body string) *layer.Version {
	t.Helper()
	v, err := st.PublishLayer(t.Context(), layerRequest(t, name, body))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// withLayers changes a function's layers and waits until that serves.
func (st *stack) withLayers(t *testing.T, name string, arns ...string) *function.Record {
	t.Helper()
	if _, err := st.UpdateConfig(t.Context(), layerUpdate(name, arns...)); err != nil {
		t.Fatal(err)
	}
	return st.wait(t, name, settled)
}

func layerUpdate(name string, arns ...string) function.ConfigUpdate {
	return function.ConfigUpdate{Account: account, Name: name, Apply: func(cfg *function.Config) error {
		cfg.Layers = nil
		for _, a := range arns {
			cfg.Layers = append(cfg.Layers, function.Layer{ARN: a})
		}
		return nil
	}}
}

func TestLayerVersions(t *testing.T) {
	st := start(t, Config{})
	ctx := t.Context()
	for want := int64(1); want <= 3; want++ {
		if v := st.mustPublishLayer(t, "tools", fmt.Sprint(want)); v.Number != want {
			t.Errorf("version %d, want %d", v.Number, want)
		}
	}
	st.mustPublishLayer(t, "tools2", "")
	for _, n := range []int64{3, 1, 3, 9} { // a version that is gone is no error
		if err := st.DeleteLayerVersion(ctx, account, "tools", n); err != nil {
			t.Error(err)
		}
	}
	if v := st.mustPublishLayer(t, "tools", "4"); v.Number != 4 || v.ARN() != "arn:aws:lambda:us-east-1:000000000000:layer:tools:4" {
		t.Errorf("after deletes: %s", v.ARN())
	}
	_, err := st.LayerVersion(ctx, account, "tools", 3)
	wantCode(t, err, "ResourceNotFoundException", "The resource you requested does not exist.")
	versions, next, err := st.LayerVersions(ctx, account, "tools", layer.Filter{}, 0, 1)
	if err != nil || len(versions) != 1 || versions[0].Number != 4 || next != 4 {
		t.Fatalf("first page: %v, %d, %v", versions, next, err)
	}
	versions, next, err = st.LayerVersions(ctx, account, "tools", layer.Filter{}, next, 1)
	if err != nil || len(versions) != 1 || versions[0].Number != 2 || next != 0 {
		t.Errorf("second page: %v, %d, %v", versions, next, err)
	}
}

func TestLayersAreListed(t *testing.T) {
	st := start(t, Config{})
	ctx := t.Context()
	for _, tt := range []struct{ name, runtime string }{
		{"a", "python3.11"}, {"a", "nodejs20.x"}, {"b", ""}, {"c", "python3.11"}, {"gone", "python3.11"}, {"z", "python3.11"},
	} {
		req := layerRequest(t, tt.name, tt.runtime)
		if tt.runtime != "" {
			req.Runtimes = []string{tt.runtime}
		}
		if _, err := st.PublishLayer(ctx, req); err != nil {
			t.Fatal(err)
		}
	}
	if err := st.DeleteLayerVersion(ctx, account, "gone", 1); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		filter layer.Filter
		limit  int
		want   string
	}{
		{layer.Filter{}, 50, "a:2 b:1 c:1 z:1"},
		{layer.Filter{}, 4, "a:2 b:1 c:1 z:1"},
		{layer.Filter{}, 3, "a:2 b:1 c:1 | z:1"},
		{layer.Filter{}, 1, "a:2 | b:1 | c:1 | z:1"},
		{layer.Filter{Runtime: "python3.11"}, 1, "a:1 | c:1 | z:1"},
		{layer.Filter{Runtime: "java21"}, 1, ""},
	} {
		var pages []string
		for after := ""; ; {
			versions, next, err := st.Layers(ctx, account, tt.filter, after, tt.limit)
			if err != nil {
				t.Fatal(err)
			}
			var page []string
			for _, v := range versions {
				page = append(page, fmt.Sprintf("%s:%d", v.Name, v.Number))
			}
			pages = append(pages, strings.Join(page, " "))
			if after = next; next == "" {
				break
			}
		}
		if got := strings.Join(pages, " | "); got != tt.want {
			t.Errorf("%+v by %d: %q, want %q", tt.filter, tt.limit, got, tt.want)
		}
	}
}

// TestNumbersAreNeverSharedByPublishers publishes many versions at once.
func TestNumbersAreNeverSharedByPublishers(t *testing.T) {
	st := start(t, Config{})
	const publishers = 12
	numbers := make([]int64, publishers)
	var wg sync.WaitGroup
	for i := range publishers {
		wg.Go(func() {
			v, err := st.PublishLayer(t.Context(), layerRequest(t, "tools", fmt.Sprint(i)))
			if err != nil {
				t.Error(err)
				return
			}
			numbers[i] = v.Number
		})
	}
	wg.Wait()
	seen := make(map[int64]bool)
	for _, n := range numbers {
		seen[n] = true
	}
	if len(seen) != publishers || !seen[1] || !seen[publishers] {
		t.Errorf("numbers %v", numbers)
	}
	st.wantObjects(t, publishers)
}

func TestFunctionUsesLayers(t *testing.T) {
	var prepared []function.Layer
	st := start(t, Config{Preparer: preparer(func(_ context.Context, _ *function.Record, cfg *function.Config) error {
		prepared = cfg.Layers
		return nil
	})})
	one, two := st.mustPublishLayer(t, "one", "1"), st.mustPublishLayer(t, "two", "2")
	req := createRequest(t, "f", "x")
	req.Config.Layers = []function.Layer{{ARN: two.ARN()}, {ARN: one.ARN()}}
	if _, err := st.Create(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	r := st.wait(t, "f", settled)
	want := []function.Layer{{ARN: two.ARN(), Code: two.Code}, {ARN: one.ARN(), Code: one.Code}}
	for name, got := range map[string][]function.Layer{"latest": r.Latest.Layers, "serving": r.Serving.Layers, "prepared": prepared} {
		if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
			t.Errorf("%s: %+v, want %+v", name, got, want)
		}
	}
	// A change of something else leaves them, also when one is gone.
	if err := st.DeleteLayerVersion(t.Context(), account, "one", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := st.UpdateConfig(t.Context(), function.ConfigUpdate{Account: account, Name: "f", Apply: func(c *function.Config) error {
		c.Timeout = 9
		return nil
	}}); err != nil {
		t.Fatal(err)
	}
	if r = st.wait(t, "f", settled); len(r.Serving.Layers) != 2 || r.Serving.Timeout != 9 {
		t.Errorf("after another change: %+v", r.Serving)
	}
	if r = st.withLayers(t, "f"); len(r.Serving.Layers) != 0 {
		t.Errorf("cleared: %+v", r.Serving.Layers)
	}
}

func TestLayersThatAreRefused(t *testing.T) {
	st := start(t, Config{Limits: Limits{Archive: archive.Limits{Bytes: 1000, Entries: 100}}})
	big := strings.Repeat("x", 600)
	a, b := st.mustPublishLayer(t, "a", big), st.mustPublishLayer(t, "b", big)
	a2, small := st.mustPublishLayer(t, "a", "2"), st.mustPublishLayer(t, "small", "")
	st.mustCreate(t, "f", strings.Repeat("y", 500))
	missing := "arn:aws:lambda:us-east-1:000000000000:layer:nope:1"
	for _, tt := range []struct {
		name          string
		layers        []string
		code, message string
	}{
		{"no such layer", []string{missing}, "InvalidParameterValueException", "Layer version " + missing + " does not exist."},
		{"no such version", []string{a.LayerARN() + ":9"}, "InvalidParameterValueException", "Layer version " + a.LayerARN() + ":9 does not exist."},
		{"another region", []string{"arn:aws:lambda:eu-west-1:000000000000:layer:a:1"}, "InvalidParameterValueException",
			"Layers are not in the same region as the function. Layers are expected to be in region us-east-1."},
		{"no version", []string{a.LayerARN()}, "InvalidParameterValueException", "Layer version " + a.LayerARN() + " does not exist."},
		{"no ARN", []string{"a"}, "InvalidParameterValueException", ""},
		{"two versions of one", []string{a.ARN(), a2.ARN()}, "InvalidParameterValueException",
			"Two different versions of the same layer are not allowed to be referenced in the same function. " + a.ARN() + " and " + a2.ARN() + " are versions of the same layer."},
		{"six", []string{a.ARN(), a.ARN(), a.ARN(), a.ARN(), a.ARN(), a.ARN()}, "InvalidParameterValueException", "Cannot reference more than 5 layers."},
		{"layers too large", []string{a.ARN(), b.ARN()}, "InvalidParameterValueException", "Layers consume more than the available size of 1000 bytes"},
		{"function and layer too large", []string{a.ARN()}, "InvalidParameterValueException",
			"Function code combined with layers exceeds the maximum allowed size of 1000 bytes. The actual size is 1100 bytes."},
	} {
		_, err := st.UpdateConfig(t.Context(), layerUpdate("f", tt.layers...))
		t.Run(tt.name, func(t *testing.T) { wantCode(t, err, tt.code, tt.message) })
	}
	st.withLayers(t, "f", small.ARN(), a2.ARN())
	_, err := st.UpdateCode(t.Context(), function.CodeUpdate{Account: account, Name: "f", Zip: zipOf(t, map[string]string{"app.py": big + big[:399]})})
	if err != nil {
		t.Errorf("999 bytes of code over 1 of layers: %v", err)
	}
	st.wait(t, "f", settled)
	st.withLayers(t, "f")
	if _, err := st.UpdateCode(t.Context(), function.CodeUpdate{Account: account, Name: "f", Zip: zipOf(t, map[string]string{"app.py": big[:400]})}); err != nil {
		t.Fatal(err)
	}
	st.wait(t, "f", settled)
	st.withLayers(t, "f", a.ARN())
	_, err = st.UpdateCode(t.Context(), function.CodeUpdate{Account: account, Name: "f", Zip: zipOf(t, map[string]string{"app.py": big})})
	wantCode(t, err, "InvalidParameterValueException",
		"Function code combined with layers exceeds the maximum allowed size of 1000 bytes. The actual size is 1200 bytes.")
}

// TestLayerDeletedMeanwhile deletes a layer between its being found for a
// function and the function's being stored: the function must not be, as the
// archive may be garbage by then.
func TestLayerDeletedMeanwhile(t *testing.T) {
	st := start(t, Config{})
	v := st.mustPublishLayer(t, "tools", "1")
	st.mustCreate(t, "f", "x")
	cfg := &function.Config{Layers: []function.Layer{{ARN: v.ARN()}}}
	_, err := st.changeWith(t.Context(), account, "f", func(now *function.Record) (*function.Record, []table.Op, error) {
		ops, err := st.useLayers(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := st.DeleteLayerVersion(t.Context(), account, "tools", 1); err != nil {
			t.Fatal(err)
		}
		next := st.beginUpdate(now)
		next.Latest.Layers = cfg.Layers
		return next, ops, nil
	})
	wantCode(t, layerGone(err, cfg), "ResourceConflictException", "")
	if r, _ := st.Get(t.Context(), account, "f"); len(r.Latest.Layers) != 0 {
		t.Errorf("stored with %+v", r.Latest.Layers)
	}
}

// waitObjects waits until exactly the archives with these keys are stored.
func (st *stack) waitObjects(t *testing.T, want ...string) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		stored, err := st.objects.List(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		var keys []string
		for _, o := range stored {
			keys = append(keys, o.Key)
		}
		same := len(keys) == len(want)
		for _, k := range want {
			same = same && strings.Contains(strings.Join(keys, " "), k)
		}
		if same {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("stored: %v\nwant %v", keys, want)
		}
		select {
		case <-t.Context().Done():
		case <-time.After(time.Millisecond):
		}
	}
}

// TestLayerGarbage follows one archive through all that can name it.
func TestLayerGarbage(t *testing.T) {
	st := start(t, Config{ObjectGrace: time.Millisecond})
	ctx := t.Context()
	v := st.mustPublishLayer(t, "tools", "1")
	unused := st.mustPublishLayer(t, "unused", "1")
	f := st.mustCreate(t, "f", "x")
	g := st.mustCreate(t, "g", "x")
	st.withLayers(t, "f", v.ARN())
	st.withLayers(t, "g", v.ARN())
	if _, err := st.Publish(ctx, function.PublishRequest{Account: account, Name: "f"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tools", "unused"} {
		if err := st.DeleteLayerVersion(ctx, account, name, 1); err != nil {
			t.Fatal(err)
		}
	}
	st.waitObjects(t, v.Code.Object, f.Latest.Code.Object, g.Latest.Code.Object)
	_ = unused
	st.withLayers(t, "f") // its version still has it
	if err := st.Delete(ctx, account, "g"); err != nil {
		t.Fatal(err)
	}
	st.waitObjects(t, v.Code.Object, f.Latest.Code.Object)
	if err := st.DeleteVersion(ctx, account, "f", "1"); err != nil {
		t.Fatal(err)
	}
	st.waitObjects(t, f.Latest.Code.Object)
}

// TestSweepKeepsLayers restarts a control plane over layers in every state.
func TestSweepKeepsLayers(t *testing.T) {
	dir := t.TempDir()
	st := startIn(t, dir, Config{})
	kept, used := st.mustPublishLayer(t, "kept", "1"), st.mustPublishLayer(t, "used", "1")
	st.mustCreate(t, "f", "x")
	f := st.withLayers(t, "f", used.ARN())
	if err := st.DeleteLayerVersion(t.Context(), account, "used", 1); err != nil {
		t.Fatal(err)
	}
	if err := st.objects.Put(t.Context(), layerPrefix+account+"/kept/orphan.zip", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	if err := st.close(); err != nil {
		t.Fatal(err)
	}
	st = startIn(t, dir, Config{})
	st.waitObjects(t, kept.Code.Object, used.Code.Object, f.Latest.Code.Object)
	if v := st.mustPublishLayer(t, "used", "2"); v.Number != 2 {
		t.Errorf("after a restart the next version is %d", v.Number)
	}
}

func TestLayersCountTowardsTheQuota(t *testing.T) {
	size := int64(len(layerRequest(t, "tools", "1").Zip))
	st := start(t, Config{Limits: Limits{CodeBytes: 2 * size}})
	for range 2 {
		st.mustPublishLayer(t, "tools", "1")
	}
	if u, _ := st.Usage(t.Context(), account); u.CodeBytes != 2*size {
		t.Errorf("%d bytes are used, want %d", u.CodeBytes, 2*size)
	}
	_, err := st.PublishLayer(t.Context(), layerRequest(t, "tools", "1"))
	wantCode(t, err, "CodeStorageExceededException", "Code storage limit exceeded.")
	st.wantObjects(t, 2)
	if err := st.DeleteLayerVersion(t.Context(), account, "tools", 1); err != nil {
		t.Fatal(err)
	}
	st.mustPublishLayer(t, "tools", "1")
}

func TestLayerPolicy(t *testing.T) {
	st := start(t, Config{})
	ctx := t.Context()
	v := st.mustPublishLayer(t, "tools", "1")
	permit := func(revision string, p policy.Permission) (policy.Statement, string, error) {
		p.Action = "lambda:GetLayerVersion"
		return st.PermitLayer(ctx, account, "tools", 1, revision, p)
	}
	forbid := func(revision, sid string) error { return st.ForbidLayer(ctx, account, "tools", 1, revision, sid) }
	const stale = "The Revision Id provided does not match the latest Revision Id. Call the GetLayerPolicy API to retrieve the latest Revision Id"
	const none = "No policy is associated with the given resource."

	_, err := st.LayerPolicy(ctx, account, "tools", 1)
	wantCode(t, err, "ResourceNotFoundException", none)
	_, _, err = permit("no-such-revision", policy.Permission{StatementID: "s", Principal: "*"})
	wantCode(t, err, "PreconditionFailedException", stale)
	statement, revision, err := permit("", policy.Permission{StatementID: "s", Principal: "222222222222"})
	text, merr := json.Marshal(&statement)
	want := `{"Sid":"s","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::222222222222:root"},"Action":"lambda:GetLayerVersion","Resource":"` + v.ARN() + `"}`
	if err != nil || merr != nil || string(text) != want {
		t.Fatalf("%s, %v\nwant %s", text, err, want)
	}
	if p, err := st.LayerPolicy(ctx, account, "tools", 1); err != nil || p.RevisionID != revision ||
		p.Document != `{"Version":"2012-10-17","Id":"default","Statement":[`+want+`]}` {
		t.Errorf("policy: %+v, %v", p, err)
	}
	_, _, err = permit(revision, policy.Permission{StatementID: "s", Principal: "*"})
	wantCode(t, err, "ResourceConflictException", "The statement id (s) provided already exists. Please provide a new statement id, or remove the existing statement.")
	_, after, err := permit(revision, policy.Permission{StatementID: "t", Principal: "*", PrincipalOrgID: "o-1234567890"})
	if err != nil || after == revision {
		t.Errorf("revision %s after %s, %v", after, revision, err)
	}
	wantCode(t, forbid(revision, "s"), "PreconditionFailedException", stale)
	wantCode(t, forbid("", "x"), "ResourceNotFoundException", "Statement x is not found in resource policy.")
	for _, sid := range []string{"s", "t"} {
		if err := forbid("", sid); err != nil {
			t.Error(err)
		}
	}
	_, err = st.LayerPolicy(ctx, account, "tools", 1)
	wantCode(t, err, "ResourceNotFoundException", none)

	_, _, err = st.PermitLayer(ctx, account, "tools", 9, "", policy.Permission{StatementID: "s", Action: "lambda:GetLayerVersion", Principal: "*"})
	wantCode(t, err, "ResourceNotFoundException", "Layer version "+v.LayerARN()+":9 does not exist.")
	err = nil
	for i := 0; err == nil && i < 200; i++ {
		_, _, err = permit("", policy.Permission{StatementID: strings.Repeat("x", 90) + fmt.Sprint(i), Principal: "*"})
	}
	wantCode(t, err, "PolicyLengthExceededException", "")
}
