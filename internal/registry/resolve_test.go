package registry

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"hearth/internal/ociimage"
	"hearth/internal/outbound"
)

var _ ociimage.Store = (*Store)(nil)

// TestResolve pushes an image as a user does, and finds it as Hearth does: in
// the store, and through the endpoint as another Hearth would.
func TestResolve(t *testing.T) {
	b := newBed(t, StoreOptions{})
	img := randomImage(t, 50<<10, 3)
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "arm64"
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	if err := crane.Push(img, b.host()+"/team/app:v1", asAlice); err != nil {
		t.Fatal(err)
	}
	guard, err := outbound.NewGuard([]string{"http://" + b.host()})
	if err != nil {
		t.Fatal(err)
	}
	r, err := ociimage.NewResolver(ociimage.Options{
		Guard: guard, Store: b.store, Own: func(host string) (string, bool) { return "", host == "hearth.local" },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	alices := func(key, secret string) authn.Keychain {
		return keychain{authn.FromConfig(authn.AuthConfig{Username: key, Password: secret})}
	}
	for _, c := range []struct {
		host string
		q    ociimage.Request
		want error
	}{
		{"hearth.local", ociimage.Request{Account: alice}, nil},
		{"hearth.local", ociimage.Request{Account: bob}, ociimage.ErrNotFound},
		{b.host(), ociimage.Request{Keychain: alices(aliceKey, aliceSecret)}, nil},
		{b.host(), ociimage.Request{Keychain: alices("AWS", Token(aliceKey, aliceSecret, ""))}, nil},
		{b.host(), ociimage.Request{Keychain: alices(bobKey, bobSecret)}, ociimage.ErrNotFound},
		{b.host(), ociimage.Request{Keychain: alices(bobKey, aliceSecret)}, ociimage.ErrUnauthorized},
		{b.host(), ociimage.Request{}, ociimage.ErrUnauthorized},
	} {
		c.q.Reference, c.q.Architecture = c.host+"/team/app:v1", "arm64"
		got, err := r.Resolve(context.Background(), c.q)
		if !errors.Is(err, c.want) || err != nil && strings.Contains(err.Error(), aliceSecret) {
			t.Errorf("%s %+v: %v, want %v", c.host, c.q, err, c.want)
		}
		if err != nil {
			continue
		}
		if got.Digest != digest(t, img) || len(got.Layers) != 3 {
			t.Errorf("%s: %+v", c.host, got)
		}
		for _, l := range got.Layers {
			layer, err := l.Open(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, layer)
			if err != nil || n != l.Size || layer.Close() != nil {
				t.Errorf("%s: %d bytes of %d: %v", c.host, n, l.Size, err)
			}
		}
	}
}

// keychain has the same for all.
type keychain struct{ authn.Authenticator }

func (k keychain) Resolve(authn.Resource) (authn.Authenticator, error) { return k.Authenticator, nil }
