package ociimage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"hearth/internal/outbound"
)

// load resolves an image and reads all of it.
func load(t *testing.T, r *Resolver, q Request) error {
	t.Helper()
	img, err := r.Resolve(context.Background(), q)
	if err != nil {
		return err
	}
	return readAll(t, img)
}

func isLayer(r *http.Request, m *v1.Manifest) bool {
	return strings.HasSuffix(r.URL.Path, "/blobs/"+m.Layers[0].Digest.String())
}

// drop ends the connection after the first n bytes of an answer.
func drop(w http.ResponseWriter, r *http.Request, data []byte, n int) bool {
	rec := httptest.NewRecorder()
	give(rec, r, data)
	maps.Copy(w.Header(), rec.Header())
	body := rec.Body.Bytes()
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(rec.Code)
	_, _ = w.Write(body[:min(n, len(body))])
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func TestHostileImages(t *testing.T) {
	long := strings.Repeat("x", maxConfig)
	for _, c := range []struct {
		name   string
		make   func(f *fake)
		want   error
		saying string
	}{
		{"fine", func(f *fake) { f.image(1000, nil) }, nil, ""},
		{"no such tag", func(*fake) {}, ErrNotFound, "check the name and the tag"},
		{"a manifest of another digest", func(f *fake) {
			d := f.put("child", types.OCIManifestSchema1, f.image(10, nil))
			f.manifests[d.Digest.String()] = []byte(`{"layers":[]}`)
			d.Platform = &v1.Platform{OS: "linux", Architecture: "amd64"}
			f.put("v1", types.OCIImageIndex, v1.IndexManifest{Manifests: []v1.Descriptor{d}})
		}, ErrInvalid, "another digest"},
		{"a configuration of another digest", func(f *fake) {
			m := f.image(10, nil)
			f.blobs[m.Config.Digest.String()][0] = ' '
		}, ErrInvalid, "another digest"},
		{"a layer of another digest", func(f *fake) {
			m := f.image(1000, nil)
			f.blobs[m.Layers[0].Digest.String()][500] ^= 1
		}, ErrInvalid, "another digest"},
		{"a layer that is longer", func(f *fake) {
			m := f.image(1000, nil)
			id := m.Layers[0].Digest.String()
			f.blobs[id] = append(f.blobs[id], 'x')
		}, ErrInvalid, "where the manifest promises"},
		{"a layer that is shorter", func(f *fake) {
			m := f.image(1000, nil)
			id := m.Layers[0].Digest.String()
			f.blobs[id] = f.blobs[id][:900]
		}, ErrInvalid, "where the manifest promises"},
		{"a layer that is not there", func(f *fake) {
			m := f.image(1000, nil)
			delete(f.blobs, m.Layers[0].Digest.String())
		}, ErrNotFound, ""},
		{"a long manifest", func(f *fake) {
			f.manifests["v1"] = []byte(`{"x":"` + strings.Repeat("x", maxManifest) + `"}`)
		}, ErrTooLarge, "manifest has more than 4194304"},
		{"a manifest of garbage", func(f *fake) { f.manifests["v1"] = []byte("<html>") }, ErrInvalid, "not JSON"},
		{"an image that is an index", func(f *fake) {
			f.manifests["v1"] = []byte(`{"manifests":[],"layers":[]}`)
		}, ErrInvalid, "both"},
		{"Docker's old format", func(f *fake) { f.manifests["v1"] = []byte(`{"schemaVersion":1}`) }, ErrInvalid, "push it again"},
		{"something else", func(f *fake) {
			f.manifests["v1"] = []byte(`{"mediaType":"application/wasm\u0007"}`)
		}, ErrInvalid, `"application/wasm?"`},
		{"a long configuration", func(f *fake) {
			f.image(10, func(_ *v1.Manifest, c *v1.ConfigFile) { c.Author = long })
		}, ErrTooLarge, "configuration"},
		{"a chart", func(f *fake) {
			f.image(10, func(m *v1.Manifest, _ *v1.ConfigFile) {
				m.Config.MediaType = "application/vnd.cncf.helm.config.v1+json"
			})
		}, ErrInvalid, "not a container image"},
		{"too many layers", func(f *fake) {
			f.image(10, func(m *v1.Manifest, _ *v1.ConfigFile) {
				for len(m.Layers) < 128 {
					m.Layers = append(m.Layers, m.Layers[0])
				}
			})
		}, ErrTooLarge, "128 layers"},
		{"too many bytes", func(f *fake) {
			f.image(10, func(m *v1.Manifest, _ *v1.ConfigFile) { m.Layers[0].Size = 10<<30 + 1 })
		}, ErrTooLarge, "more than 10737418240"},
		{"sizes that overflow", func(f *fake) {
			f.image(10, func(m *v1.Manifest, _ *v1.ConfigFile) {
				m.Layers = append(m.Layers, m.Layers[0])
				m.Layers[1].Size = 1<<63 - 1
			})
		}, ErrTooLarge, ""},
		{"a negative size", func(f *fake) {
			f.image(10, func(m *v1.Manifest, _ *v1.ConfigFile) { m.Layers[0].Size = -1 })
		}, ErrInvalid, "negative"},
		{"a layer elsewhere", func(f *fake) {
			f.image(10, func(m *v1.Manifest, _ *v1.ConfigFile) {
				m.Layers[0].MediaType, m.Layers[0].URLs = types.DockerForeignLayer, []string{"https://169.254.169.254/"}
			})
		}, ErrInvalid, "in the registry itself"},
		{"another digest's algorithm", func(f *fake) {
			f.image(10, func(m *v1.Manifest, _ *v1.ConfigFile) {
				m.Layers[0].Digest = v1.Hash{Algorithm: "sha512", Hex: strings.Repeat("a", 128)}
			})
		}, ErrInvalid, ""},
		{"fewer layers in the configuration", func(f *fake) {
			f.image(10, func(_ *v1.Manifest, c *v1.ConfigFile) { c.RootFS.DiffIDs = []v1.Hash{} })
		}, ErrInvalid, "layers"},
		{"another platform", func(f *fake) {
			f.image(10, func(_ *v1.Manifest, c *v1.ConfigFile) { c.Architecture = "arm64" })
		}, ErrInvalid, "linux/arm64, and linux/amd64 is wanted"},
		{"another system", func(f *fake) {
			f.image(10, func(_ *v1.Manifest, c *v1.ConfigFile) { c.OS = "windows" })
		}, ErrInvalid, "windows/amd64"},
		{"an index without the platform", func(f *fake) {
			f.put("v1", types.OCIImageIndex, v1.IndexManifest{Manifests: []v1.Descriptor{
				{Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}, Platform: &v1.Platform{OS: "linux", Architecture: "s390x"}},
				{Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("b", 64)}, Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}},
			}})
		}, ErrInvalid, "(it has: linux/s390x)"},
		{"indexes that are deep", func(f *fake) {
			d := f.put("x", types.OCIImageIndex, v1.IndexManifest{})
			for range 4 {
				d.Platform = &v1.Platform{OS: "linux", Architecture: "amd64"}
				d = f.put("v1", types.OCIImageIndex, v1.IndexManifest{Manifests: []v1.Descriptor{d}})
			}
		}, ErrInvalid, "deep"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t, nil)
			c.make(f)
			err := load(t, f.resolver(t, Options{}), Request{Reference: f.ref()})
			if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.saying) {
				t.Errorf("%v, want %v saying %q", err, c.want, c.saying)
			}
		})
	}
}

func TestChoosesPlatform(t *testing.T) {
	f := newFake(t, nil)
	var all []v1.Descriptor
	for _, p := range []v1.Platform{
		{OS: "unknown", Architecture: "unknown"}, {OS: "windows", Architecture: "amd64"}, {OS: "linux", Architecture: "amd64", Variant: "v3"},
		{OS: "linux", Architecture: "amd64"}, {OS: "linux", Architecture: "arm64", Variant: "v8"},
	} {
		m := f.image(10, func(_ *v1.Manifest, c *v1.ConfigFile) {
			c.OS, c.Architecture, c.Author = p.OS, p.Architecture, p.Variant
		})
		d := f.put(p.Architecture, types.OCIManifestSchema1, m)
		d.Platform = &p
		all = append(all, d)
	}
	f.put("v1", types.DockerManifestList, v1.IndexManifest{Manifests: all})
	r := f.resolver(t, Options{})
	for arch, want := range map[string]int{"": 3, "x86_64": 3, "arm64": 4} {
		img, err := r.Resolve(context.Background(), Request{Reference: f.ref(), Architecture: arch})
		if err != nil || img.Digest != all[want].Digest.String() {
			t.Errorf("%q: %v", arch, err)
		}
	}
	if _, err := r.Resolve(context.Background(), Request{Reference: f.ref(), Architecture: "riscv64"}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

// TestResumes has a registry that drops every connection, which honours ranges
// or does not.
func TestResumes(t *testing.T) {
	for _, ranges := range []bool{true, false} {
		var f *fake
		var m v1.Manifest
		var requests, longest int
		f = newFake(t, func(w http.ResponseWriter, r *http.Request) bool {
			if !isLayer(r, &m) {
				return false
			}
			requests++
			if !ranges {
				r.Header.Del("Range")
				longest += 5000
				return drop(w, r, f.blobs[m.Layers[0].Digest.String()], longest)
			}
			return drop(w, r, f.blobs[m.Layers[0].Digest.String()], 5000)
		})
		m = f.image(20000, nil)
		if err := load(t, f.resolver(t, Options{}), Request{Reference: f.ref()}); err != nil || requests < 4 {
			t.Errorf("ranges %v: %v after %d requests", ranges, err, requests)
		}
	}
}

func TestGivesUp(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(f *fake, m *v1.Manifest, w http.ResponseWriter, r *http.Request) bool
		want   error
		most   int64
		saying string
	}{
		"no progress": {func(f *fake, m *v1.Manifest, w http.ResponseWriter, r *http.Request) bool {
			return drop(w, r, f.blobs[m.Layers[0].Digest.String()], 0)
		}, ErrUnavailable, maxFruitless + 1, "try again"},
		"a byte each": {func(f *fake, m *v1.Manifest, w http.ResponseWriter, r *http.Request) bool {
			return drop(w, r, f.blobs[m.Layers[0].Digest.String()], 1)
		}, ErrUnavailable, maxResumes + 1, "try again"},
		"an end that looks well": {func(f *fake, m *v1.Manifest, w http.ResponseWriter, _ *http.Request) bool {
			_, _ = w.Write(f.blobs[m.Layers[0].Digest.String()][:500])
			return http.NewResponseController(w).Flush() == nil
		}, ErrUnavailable, maxFruitless + 2, "ends after 500 of"},
		"another part": {func(f *fake, m *v1.Manifest, w http.ResponseWriter, r *http.Request) bool {
			if r.Header.Get("Range") == "" {
				return drop(w, r, f.blobs[m.Layers[0].Digest.String()], 500)
			}
			r.Header.Set("Range", "bytes=0-")
			return give(w, r, f.blobs[m.Layers[0].Digest.String()])
		}, ErrInvalid, 2, "another part"},
		"errors of the server": {func(_ *fake, _ *v1.Manifest, w http.ResponseWriter, _ *http.Request) bool {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}, ErrUnavailable, maxFruitless + 1, "502"},
	} {
		t.Run(name, func(t *testing.T) {
			var f *fake
			var m v1.Manifest
			var requests atomic.Int64
			f = newFake(t, func(w http.ResponseWriter, r *http.Request) bool {
				if !isLayer(r, &m) {
					return false
				}
				requests.Add(1)
				return c.answer(f, &m, w, r)
			})
			m = f.image(20000, nil)
			err := load(t, f.resolver(t, Options{}), Request{Reference: f.ref()})
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.saying) || requests.Load() > c.most {
				t.Errorf("%v after %d requests, want %v after at most %d", err, requests.Load(), c.want, c.most)
			}
		})
	}
}

// TestStalls has a registry that goes silent in each kind of answer.
func TestStalls(t *testing.T) {
	for _, part := range []string{"/token", "/manifests/", "/blobs/"} {
		t.Run(part, func(t *testing.T) {
			end := make(chan struct{})
			var f *fake
			f = newFake(t, func(w http.ResponseWriter, r *http.Request) bool {
				switch {
				case strings.Contains(r.URL.Path, part):
					_, _ = w.Write([]byte("{"))
					_ = http.NewResponseController(w).Flush()
					<-end
				case part == "/token":
					w.Header().Set("WWW-Authenticate", `Bearer realm="https://`+f.host+`/token"`)
					w.WriteHeader(http.StatusUnauthorized)
				default:
					return false
				}
				return true
			})
			f.image(1000, nil)
			defer close(end)
			err := load(t, f.resolver(t, Options{Stall: 50 * time.Millisecond}), Request{Reference: f.ref()})
			if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "nothing for too long") {
				t.Error(err)
			}
		})
	}
}

func TestStatuses(t *testing.T) {
	for status, want := range map[int]error{
		401: ErrUnauthorized, 403: ErrUnauthorized, 404: ErrNotFound, 429: ErrUnavailable, 500: ErrUnavailable, 503: ErrUnavailable,
		418: ErrInvalid, 204: ErrInvalid, 206: ErrInvalid,
	} {
		for _, path := range []string{"/v2/", "/v2/app/manifests/v1"} {
			if path == "/v2/" && (status == 401 || status < 400) {
				continue // a challenge, which is another test
			}
			f := newFake(t, func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == path {
					w.WriteHeader(status)
					if status >= 400 {
						_, _ = io.WriteString(w, `{"errors":[{"code":"DENIED","message":"secret words"}]}`)
					}
				}
				return r.URL.Path == path
			})
			err := load(t, f.resolver(t, Options{}), Request{Reference: f.ref()})
			if !errors.Is(err, want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s %d: %v, want %v", path, status, err, want)
			}
		}
	}
}

// TestLeadsNowhere has a registry that leads to an address that may not be
// dialled, in each of the ways that a registry has.
func TestLeadsNowhere(t *testing.T) {
	var reached atomic.Bool
	victim := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	defer victim.Close()
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Store(true) }))
	defer plain.Close()
	// A name passes what looks at addresses in URLs.
	named := strings.Replace(victim.URL, "127.0.0.1", "localhost", 1)
	redirect := func(part, to string) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != part && (part == "/v2/" || !strings.Contains(r.URL.Path, part)) {
				return false
			}
			http.Redirect(w, r, to+"/?X-Amz-Signature=secret", http.StatusTemporaryRedirect)
			return true
		}
	}
	realm := func(to string) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("WWW-Authenticate", `Bearer realm="`+to+`/token?secret",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return true
		}
	}
	for name, before := range map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"ping": redirect("/v2/", named), "manifest": redirect("/manifests/", named), "blob": redirect("/blobs/", named),
		"plain ping": redirect("/v2/", plain.URL), "plain manifest": redirect("/manifests/", plain.URL), "plain blob": redirect("/blobs/", plain.URL),
		"realm": realm(named), "realm's address": realm(victim.URL), "plain realm": realm(plain.URL),
		"metadata": redirect("/blobs/", "http://169.254.169.254"), "metadata over TLS": redirect("/blobs/", "https://169.254.169.254"),
		"file": redirect("/manifests/", "file:///etc/passwd"),
	} {
		f := newFake(t, before)
		f.image(10, nil)
		err := load(t, f.resolver(t, Options{}), Request{Reference: f.ref()})
		if err == nil || reached.Swap(false) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// In the clear, to where it might go over TLS.
	guard, err := outbound.NewGuard([]string{"127.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"/v2/", "/manifests/", "/blobs/"} {
		f := newFake(t, redirect(part, plain.URL))
		f.image(10, nil)
		if err := load(t, f.resolver(t, Options{Guard: guard}), Request{Reference: f.ref()}); !errors.Is(err, ErrInvalid) || reached.Swap(false) {
			t.Errorf("%s in the clear: %v", part, err)
		}
	}
	// And with nothing before it.
	f := newFake(t, nil)
	f.image(10, nil)
	r := f.resolver(t, Options{Guard: &outbound.Guard{}})
	for _, ref := range []string{f.ref(), strings.Replace(f.ref(), "127.0.0.1", "localhost", 1), "169.254.169.254/a/b:c", "[::1]:443/a:b", "10.0.0.1/a:b"} {
		if err := load(t, r, Request{Reference: ref}); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", ref, err)
		}
	}
}

func TestRedirectsEndlessly(t *testing.T) {
	var requests atomic.Int64
	f := newFake(t, func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/manifests/") {
			requests.Add(1)
			http.Redirect(w, r, r.URL.Path, http.StatusFound)
			return true
		}
		return false
	})
	if err := load(t, f.resolver(t, Options{}), Request{Reference: f.ref()}); !errors.Is(err, ErrInvalid) || requests.Load() > maxRedirects+1 {
		t.Errorf("%v after %d", err, requests.Load())
	}
}

// TestCredentials logs in by a token; the registry sends blobs elsewhere.
func TestCredentials(t *testing.T) {
	const user, password, token = "registry-user", "pass:word", "a-token"
	var storage *httptest.Server
	var f *fake
	f = newFake(t, func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/token":
			u, p, _ := r.BasicAuth()
			if u != user || p != password {
				w.WriteHeader(http.StatusUnauthorized)
				return true
			}
			_ = json.NewEncoder(w).Encode(map[string]string{"token": token})
		case r.Header.Get("Authorization") != "Bearer "+token:
			w.Header().Set("WWW-Authenticate", `Bearer realm="https://`+f.host+`/token",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		case strings.Contains(r.URL.Path, "/blobs/"):
			http.Redirect(w, r, storage.URL+r.URL.Path, http.StatusTemporaryRedirect)
		default:
			return false
		}
		return true
	})
	storage = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			t.Error("credentials went elsewhere")
		}
		f.serve(w, r)
	}))
	storage.TLS = f.server.TLS.Clone()
	storage.StartTLS()
	defer storage.Close()
	f.image(1000, nil)
	guard, err := outbound.NewGuard([]string{"127.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	k, err := parseKeychain([]byte(`{"auths":{"https://` + f.host + `/v2/":{"username":"` + user + `","password":"` + password + `"}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := load(t, f.resolver(t, Options{Guard: guard, Keychain: k}), Request{Reference: f.ref()}); err != nil {
		t.Error(err)
	}
	for name, k := range map[string]authn.Keychain{
		"none": nil, "another registry's": keychain{"other.example": {Username: user, Password: password}},
		"wrong": keychain{f.host: {Username: user, Password: "wrong-secret"}},
	} {
		err := load(t, f.resolver(t, Options{Guard: guard, Keychain: k}), Request{Reference: f.ref()})
		if !errors.Is(err, ErrUnauthorized) || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), user) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestLongAnswers has answers without end where nobody expects a long one.
func TestLongAnswers(t *testing.T) {
	for _, path := range []string{"/v2/", "/token", "/v2/app/manifests/v1"} {
		var sent atomic.Int64
		var f *fake
		f = newFake(t, func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case r.URL.Path == path:
				for range 64 {
					n, err := w.Write(make([]byte, 1<<20))
					sent.Add(int64(n))
					if err != nil {
						break
					}
				}
			case path == "/token":
				w.Header().Set("WWW-Authenticate", `Bearer realm="https://`+f.host+`/token"`)
				w.WriteHeader(http.StatusUnauthorized)
			default:
				return false
			}
			return true
		})
		if err := load(t, f.resolver(t, Options{}), Request{Reference: f.ref()}); err == nil || sent.Load() == 64<<20 {
			t.Errorf("%s: %v after %d bytes", path, err, sent.Load())
		}
	}
}

func TestCancelled(t *testing.T) {
	f := newFake(t, nil)
	f.image(10, nil)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(cause)
	if _, err := f.resolver(t, Options{}).Resolve(ctx, Request{Reference: f.ref()}); !errors.Is(err, cause) {
		t.Error(err)
	}
}
