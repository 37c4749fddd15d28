package ociimage

import (
	"context"
	"reflect"
	"strings"
	"testing"
)

func TestResolve(t *testing.T) {
	f := newFar(t, nil)
	want := testImage(t, 100<<10, 3)
	ref := f.push(t, "team/app:v1", want)
	img, err := f.resolver(t, Options{}).Resolve(context.Background(), Request{Reference: ref})
	if err != nil {
		t.Fatal(err)
	}
	if img.Digest != digest(t, want) || img.Reference != f.host+"/team/app@"+img.Digest || img.Architecture != "amd64" || img.OS != "linux" {
		t.Errorf("%+v", img)
	}
	if c := (Config{[]string{"/run"}, []string{"app.handler"}, []string{"A=b"}, "/var/task", "1000"}); !reflect.DeepEqual(img.Config, c) {
		t.Errorf("configuration %+v, want %+v", img.Config, c)
	}
	layers, err := want.Layers()
	if err != nil {
		t.Fatal(err)
	}
	if len(img.Layers) != len(layers) {
		t.Fatalf("%d layers", len(img.Layers))
	}
	for i, l := range img.Layers {
		data, err := readLayer(l)
		id, idErr := layers[i].DiffID()
		if err != nil || idErr != nil || l.Digest != digest(t, layers[i]) || int64(len(data)) != l.Size || l.DiffID != id.String() {
			t.Errorf("layer %d: %d bytes of %+v: %v", i, len(data), l, err)
		}
	}
	// By digest, and once more from what it says itself.
	if again, err := f.resolver(t, Options{}).Resolve(context.Background(), Request{Reference: img.Reference, Architecture: "x86_64"}); err != nil ||
		again.Digest != img.Digest {
		t.Error(err)
	}
	if !strings.Contains(string(img.Manifest), img.Layers[0].Digest) {
		t.Error("the manifest is not the image's")
	}
}
