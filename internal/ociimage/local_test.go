package ociimage

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"hearth/internal/ociname"
)

// loadLocal opens an image, reads all of it and closes it.
func loadLocal(t *testing.T, q LocalRequest) (*Image, error) {
	t.Helper()
	l, err := OpenLocal(context.Background(), q)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	return l.Image, readAll(t, l.Image)
}

func writeLayout(t *testing.T, images map[string]v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for name, img := range images {
		options := []layout.Option{}
		if name != "" {
			options = append(options, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": name}))
		}
		if err := p.AppendImage(img, options...); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// pack makes a tar of files.
func pack(t *testing.T, entries []tar.Header, contents map[string][]byte) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		h.Size, h.Mode = int64(len(contents[h.Name])), 0o600
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(contents[h.Name]); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func packDir(t *testing.T, dir string) string {
	t.Helper()
	var entries []tar.Header
	contents := map[string][]byte{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		entries = append(entries, tar.Header{Name: "./" + path, Typeflag: tar.TypeReg})
		contents["./"+path], err = os.ReadFile(filepath.Join(dir, path))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return pack(t, entries, contents)
}

func TestLayout(t *testing.T) {
	one, two := testImage(t, 1000, 2), testImage(t, 2000, 3)
	single := writeLayout(t, map[string]v1.Image{"": one})
	double := writeLayout(t, map[string]v1.Image{"v1": one, "v2": two})
	for _, c := range []struct {
		path, name string
		want       v1.Image
	}{
		{single, "", one}, {packDir(t, single), "", one}, {double, "v1", one}, {double, "v2", two}, {packDir(t, double), "v2", two},
	} {
		img, err := loadLocal(t, LocalRequest{Path: c.path, Name: c.name})
		if err != nil || img.Digest != digest(t, c.want) || img.Reference != img.Digest || img.Config.User != "1000" {
			t.Errorf("%q: %v", c.name, err)
		}
	}
	if _, err := loadLocal(t, LocalRequest{Path: double, Name: "v3"}); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "v1, v2") {
		t.Error(err)
	}
	if _, err := loadLocal(t, LocalRequest{Path: single, Architecture: "arm64"}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

func TestDamagedLayout(t *testing.T) {
	img := testImage(t, 1000, 1)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	layer, manifest := blobFile(digest(t, layers[0])), blobFile(digest(t, img))
	flip := func(file string) func(dir string) error {
		return func(dir string) error {
			data, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				return err
			}
			data[len(data)/2] ^= 1
			return os.WriteFile(filepath.Join(dir, file), data, 0o600)
		}
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		damage func(dir string) error
		want   error
	}{
		"layer": {flip(layer), ErrInvalid}, "manifest": {flip(manifest), ErrInvalid}, "configuration": {flip(blobFile(config.String())), ErrInvalid},
		"no layer":    {func(dir string) error { return os.Remove(filepath.Join(dir, layer)) }, ErrNotFound},
		"no manifest": {func(dir string) error { return os.Remove(filepath.Join(dir, manifest)) }, ErrNotFound},
		"short layer": {func(dir string) error { return os.Truncate(filepath.Join(dir, layer), 10) }, ErrInvalid},
		"no version":  {func(dir string) error { return os.Remove(filepath.Join(dir, layoutVersion)) }, ErrInvalid},
		"no index":    {func(dir string) error { return os.Remove(filepath.Join(dir, layoutIndex)) }, ErrNotFound},
		"a link out": {func(dir string) error {
			return errors.Join(os.Remove(filepath.Join(dir, layoutIndex)), os.Symlink(secret, filepath.Join(dir, layoutIndex)))
		}, ErrInvalid},
		"a long index": {func(dir string) error { return os.Truncate(filepath.Join(dir, layoutIndex), maxManifest+1) }, ErrTooLarge},
		"an index of nothing": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, layoutIndex), []byte("{}"), 0o600)
		}, ErrInvalid},
	} {
		dir := writeLayout(t, map[string]v1.Image{"": img})
		if err := c.damage(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := loadLocal(t, LocalRequest{Path: dir}); !errors.Is(err, c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// TestSaved reads what the library saves, with packed layers.
func TestSaved(t *testing.T) {
	img := testImage(t, 3000, 3)
	file := filepath.Join(t.TempDir(), "saved.tar")
	tag, err := name.NewTag("example.com/app:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(file, tag, img); err != nil {
		t.Fatal(err)
	}
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"", "v1", "example.com/app:v1"} {
		got, err := loadLocal(t, LocalRequest{Path: file, Name: n})
		if err != nil || len(got.Layers) != len(layers) || got.Layers[2].Digest != digest(t, layers[2]) || got.Config.User != "1000" {
			t.Errorf("%q: %v", n, err)
		}
	}
	if _, err := loadLocal(t, LocalRequest{Path: file, Name: "v2"}); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

// TestSavedByDocker reads archives as docker save made them until version 25:
// plain layers, and links to those that there are already.
func TestSavedByDocker(t *testing.T) {
	plain := append(bytes.Repeat([]byte("x"), 1000), 'y')
	id, _, err := v1.SHA256(bytes.NewReader(plain))
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{DiffIDs: []v1.Hash{id, id}}})
	if err != nil {
		t.Fatal(err)
	}
	list := func(config string, layers ...string) []byte {
		data, err := json.Marshal([]saved{{Config: config, Layers: layers}})
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	entries := []tar.Header{
		{Name: "a/layer.tar", Typeflag: tar.TypeReg},
		{Name: "b/layer.tar", Typeflag: tar.TypeSymlink, Linkname: "../a/layer.tar"},
		{Name: "c.json", Typeflag: tar.TypeReg}, {Name: "manifest.json", Typeflag: tar.TypeReg},
	}
	for name, c := range map[string]struct {
		layer, list []byte
		want        error
	}{
		"fine":             {plain, list("c.json", "a/layer.tar", "b/layer.tar"), nil},
		"another layer":    {plain[1:], list("c.json", "a/layer.tar", "b/layer.tar"), ErrInvalid},
		"fewer layers":     {plain, list("c.json", "a/layer.tar"), ErrInvalid},
		"no such layer":    {plain, list("c.json", "a/layer.tar", "/etc/passwd"), ErrInvalid},
		"no configuration": {plain, list("../../etc/passwd", "a/layer.tar", "b/layer.tar"), ErrNotFound},
		"no image":         {plain, []byte("[]"), ErrInvalid},
		"garbage":          {plain, []byte("x"), ErrInvalid},
	} {
		file := pack(t, entries, map[string][]byte{"a/layer.tar": c.layer, "c.json": config, "manifest.json": c.list})
		img, err := loadLocal(t, LocalRequest{Path: file})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if c.want == nil && (err != nil || img.Layers[1].Digest != id.String()) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCalled(t *testing.T) {
	for _, c := range []struct {
		whole, name string
		want        bool
	}{
		{"v1", "v1", true}, {"app:v1", "app:v1", true}, {"app:v1", "v1", true}, {"docker.io/library/app:v1", "app:v1", true},
		{"host:5000/app:v1", "v1", true}, {"host:5000/app:v1", "app:v1", true},
		{"host:5000/app", "5000/app", false}, {"app:v1", "pp:v1", false}, {"app:v1", "1", false}, {"app", "v1", false}, {"", "v1", false},
	} {
		if called(c.whole, c.name) != c.want {
			t.Errorf("%q by %q: not %v", c.whole, c.name, c.want)
		}
	}
}

func TestNoArchive(t *testing.T) {
	dir := t.TempDir()
	garbage := filepath.Join(dir, "garbage")
	if err := os.WriteFile(garbage, bytes.Repeat([]byte("garbage "), 100), 0o600); err != nil {
		t.Fatal(err)
	}
	many := make([]tar.Header, maxEntries+1)
	for i := range many {
		many[i] = tar.Header{Name: "x", Typeflag: tar.TypeReg}
	}
	for path, want := range map[string]error{
		dir: ErrInvalid, garbage: ErrInvalid, filepath.Join(dir, "nothing"): ErrNotFound, pack(t, nil, nil): ErrInvalid, pack(t, many, nil): ErrTooLarge,
	} {
		if _, err := loadLocal(t, LocalRequest{Path: path}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
}

// memory is a store of one repository.
type memory struct {
	manifests, blobs map[string][]byte
	asked            []string
}

func (m *memory) Manifest(_ context.Context, account, repository, reference string) ([]byte, string, error) {
	m.asked = append(m.asked, account+" "+repository)
	if data, ok := m.manifests[reference]; ok {
		return data, "", nil
	}
	return nil, "", fs.ErrNotExist
}

func (m *memory) Blob(_ context.Context, account, repository, digest string) (io.ReadSeekCloser, int64, error) {
	m.asked = append(m.asked, account+" "+repository)
	if data, ok := m.blobs[digest]; ok {
		return struct {
			io.ReadSeeker
			io.Closer
		}{bytes.NewReader(data), io.NopCloser(nil)}, int64(len(data)), nil
	}
	return nil, 0, fs.ErrNotExist
}

func TestOwn(t *testing.T) {
	img := mutate.MediaType(testImage(t, 1000, 2), "application/vnd.oci.image.manifest.v1+json")
	store := &memory{manifests: map[string][]byte{}, blobs: map[string][]byte{}}
	raw, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	store.manifests["v1"], store.blobs[ociname.Digest(config)] = raw, config
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		r, err := l.Compressed()
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		store.blobs[digest(t, l)] = data
	}
	r, err := NewResolver(Options{Store: store, Own: func(host string) (string, bool) {
		account, ecr := strings.CutSuffix(host, ".dkr.ecr.us-east-1.amazonaws.com")
		if ecr {
			return account, true
		}
		return "", host == "hearth.local:8080"
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		reference, account string
		want               error
	}{
		{"hearth.local:8080/team/app:v1", "111111111111", nil},
		{"111111111111.dkr.ecr.us-east-1.amazonaws.com/team/app:v1", "111111111111", nil},
		{"111111111111.dkr.ecr.us-east-1.amazonaws.com/team/app:v1", "222222222222", ErrUnauthorized},
		{"hearth.local:8080/team/app:v1", "", ErrUnauthorized},
		{"hearth.local:8080/team/app:v2", "111111111111", ErrNotFound},
	} {
		store.asked = nil
		err := load(t, r, Request{Reference: c.reference, Account: c.account})
		if !errors.Is(err, c.want) {
			t.Errorf("%s for %s: %v, want %v", c.reference, c.account, err, c.want)
		}
		for _, asked := range store.asked {
			if asked != "111111111111 team/app" {
				t.Errorf("%s for %s: asked for %s", c.reference, c.account, asked)
			}
		}
		if (c.want == nil) == (store.asked == nil) && !errors.Is(c.want, ErrNotFound) {
			t.Errorf("%s for %s: asked for %v", c.reference, c.account, store.asked)
		}
	}
	account, repository, own := r.Own("hearth.local:8080/team/app:v1", "333333333333")
	if account != "333333333333" || repository != "team/app" || !own {
		t.Error(account, repository, own)
	}
}
