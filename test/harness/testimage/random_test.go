package testimage_test

import (
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hearth/test/harness/testimage"
)

// digests are those of an image's layers.
func digests(t *testing.T, img v1.Image) []v1.Hash {
	t.Helper()
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	var all []v1.Hash
	for _, layer := range manifest.Layers {
		all = append(all, layer.Digest)
	}
	return all
}

// TestIncompressible reads random data through the flattened image, the
// function being its own judge, and in the image's next two versions.
func TestIncompressible(t *testing.T) {
	const size, touched = 150 << 20, 1<<20 + 5
	img, err := testimage.Incompressible(t.Context(), size, touched)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := testimage.Incompressible(t.Context(), size, touched); err != nil || !equal(t, img, again) {
		t.Errorf("the same image again: %v", err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var packed int64
	for _, layer := range layers {
		n, err := layer.Size()
		if err != nil {
			t.Fatal(err)
		}
		packed += n
	}
	if packed < size || packed > size*11/10 {
		t.Errorf("packed size %d, want a little more than %d", packed, size)
	}
	for range 2 {
		former := digests(t, img)
		if img, err = testimage.NextVersion(t.Context(), img); err != nil {
			t.Fatal(err)
		}
		next := digests(t, img)
		changed := 0
		for i := range next {
			if next[i] != former[i] {
				changed++
			}
		}
		if len(next) != len(former) || changed != 1 {
			t.Errorf("%d layers of %d are others, want 1", changed, len(next))
		}
	}
	if got := invoke(t, img, `{}`); got != `{"touched":1048581}` {
		t.Errorf("got %s", got)
	}
	if _, err := testimage.NextVersion(t.Context(), testimage.Go(t)); err == nil {
		t.Error("an image without random data has a next version")
	}
}

func equal(t *testing.T, a, b v1.Image) bool {
	t.Helper()
	x, err := a.Digest()
	if err != nil {
		t.Fatal(err)
	}
	y, err := b.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return x == y
}

// TestImages is about what the images are, not what runs in them.
func TestImages(t *testing.T) {
	base := digests(t, testimage.GoOnDebian(t))[0]
	for name, test := range map[string]struct {
		image  func(testing.TB) v1.Image
		layers int
		shared bool
	}{
		"go":           {testimage.Go, 1, false},
		"go on Debian": {testimage.GoOnDebian, 4, true},
		"python":       {testimage.Python, 4, true},
		"node":         {testimage.Node, 5, true},
	} {
		img := test.image(t)
		all := digests(t, img)
		if len(all) != test.layers || (all[0] == base) != test.shared {
			t.Errorf("%s: got layers %v, want %d, the lowest shared: %v", name, all, test.layers, test.shared)
		}
		if !equal(t, img, test.image(t)) {
			t.Errorf("%s: two images, not one", name)
		}
	}
}
