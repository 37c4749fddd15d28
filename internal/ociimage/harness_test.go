package ociimage

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"go.uber.org/goleak"

	"hearth/internal/outbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// far is a registry of the library's own, behind what a test puts before it.
type far struct {
	server *httptest.Server
	host   string
}

// newFar starts a registry over TLS. The test's handler may answer a request
// itself, by returning true.
func newFar(t *testing.T, before func(w http.ResponseWriter, r *http.Request) bool) *far {
	t.Helper()
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if before == nil || !before(w, r) {
			inner.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return &far{server, strings.TrimPrefix(server.URL, "https://")}
}

// resolver makes a resolver that trusts the registry and may dial it.
func (f *far) resolver(t *testing.T, o Options) *Resolver {
	t.Helper()
	if o.Guard == nil {
		guard, err := outbound.NewGuard([]string{f.host})
		if err != nil {
			t.Fatal(err)
		}
		o.Guard = guard
	}
	r, err := NewResolver(o)
	if err != nil {
		t.Fatal(err)
	}
	r.transport.TLSClientConfig = f.server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	r.pause = func(ctx context.Context, _ int) error { return context.Cause(ctx) }
	t.Cleanup(r.Close)
	return r
}

func (f *far) push(t *testing.T, path string, img v1.Image) string {
	t.Helper()
	ref, err := name.ParseReference(f.host + "/" + path)
	if err != nil {
		t.Fatal(err)
	}
	transport := f.server.Client().Transport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	if err := remote.Write(ref, img, remote.WithTransport(transport)); err != nil {
		t.Fatal(err)
	}
	return ref.Name()
}

// testImage is a random image with a configuration.
func testImage(t *testing.T, size, layers int64) v1.Image {
	t.Helper()
	img, err := random.Image(size, layers)
	if err != nil {
		t.Fatal(err)
	}
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c = c.DeepCopy()
	c.OS, c.Architecture = "linux", "amd64"
	c.Config = v1.Config{Entrypoint: []string{"/run"}, Cmd: []string{"app.handler"}, Env: []string{"A=b"}, WorkingDir: "/var/task", User: "1000"}
	if img, err = mutate.ConfigFile(img, c); err != nil {
		t.Fatal(err)
	}
	return img
}

// readAll reads all layers of an image.
func readAll(t *testing.T, img *Image) error {
	t.Helper()
	for _, l := range img.Layers {
		if _, err := readLayer(l); err != nil {
			return err
		}
	}
	return nil
}

func readLayer(l Layer) ([]byte, error) {
	r, err := l.Open(context.Background())
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(r)
	if closed := r.Close(); err == nil {
		err = closed
	}
	return data, err
}

func digest(t testing.TB, of interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := of.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}
