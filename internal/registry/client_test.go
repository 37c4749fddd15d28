package registry

import (
	"slices"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func TestPushAndPull(t *testing.T) {
	b := newBed(t, StoreOptions{})
	img := randomImage(t, 300<<10, 3)
	ref := b.host() + "/team/app:v1"
	if err := crane.Push(img, ref, asAlice); err != nil {
		t.Fatal(err)
	}
	b.restart()
	ref = b.host() + "/team/app:v1"
	got, err := crane.Pull(ref, asAlice)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(got); err != nil {
		t.Fatal(err)
	}
	if digest(t, got) != digest(t, img) {
		t.Error("another image came back")
	}

	copied := b.host() + "/other/place:latest"
	if err := crane.Copy(ref, copied, asAlice); err != nil {
		t.Fatal(err)
	}
	if err := crane.Tag(copied, "again", asAlice); err != nil {
		t.Fatal(err)
	}
	tags, err := crane.ListTags(b.host()+"/other/place", asAlice)
	if err != nil || !slices.Equal(tags, []string{"again", "latest"}) {
		t.Errorf("tags %v, %v", tags, err)
	}
	repositories, err := crane.Catalog(b.host(), asAlice)
	if err != nil || !slices.Equal(repositories, []string{"other/place", "team/app"}) {
		t.Errorf("repositories %v, %v", repositories, err)
	}
	if err := crane.Delete(b.host()+"/other/place@"+digest(t, img), asAlice); err != nil {
		t.Fatal(err)
	}
	if tags, err := crane.ListTags(b.host()+"/other/place", asAlice); err != nil || len(tags) > 0 {
		t.Errorf("tags %v, %v", tags, err)
	}
	if _, err := crane.Manifest(ref, asAlice); err != nil {
		t.Errorf("the image of the other repository: %v", err)
	}
}

func TestIndex(t *testing.T) {
	b := newBed(t, StoreOptions{})
	index, err := random.Index(10<<10, 2, 3)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(b.host() + "/multi:1")
	if err != nil {
		t.Fatal(err)
	}
	auth := remote.WithAuth(&authn.Basic{Username: aliceKey, Password: aliceSecret})
	if err := remote.WriteIndex(ref, index, auth); err != nil {
		t.Fatal(err)
	}
	got, err := remote.Index(ref, auth)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(got); err != nil {
		t.Error(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	// What an index names goes after it.
	child := b.host() + "/multi@" + m.Manifests[0].Digest.String()
	if err := crane.Delete(child, asAlice); err == nil {
		t.Error("a manifest was deleted that an index names")
	}
	if err := crane.Delete(b.host()+"/multi@"+digest(t, index), asAlice); err != nil {
		t.Fatal(err)
	}
	if err := crane.Delete(child, asAlice); err != nil {
		t.Error(err)
	}
}
