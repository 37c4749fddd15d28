package registry

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"hearth/internal/ociname"
)

func FuzzManifest(f *testing.F) {
	f.Add(imageType, []byte(manifest("config", "layer")))
	f.Add(indexType, []byte(`{"manifests":[{"digest":"x","size":-1}]}`))
	f.Fuzz(func(t *testing.T, mediaType string, data []byte) {
		p, err := parseManifest(mediaType, data)
		if err != nil {
			if !errors.As(err, new(*Error)) {
				t.Error(err)
			}
			return
		}
		for _, d := range append(p.blobs(), p.Manifests...) {
			if !ociname.IsDigest(d.Digest) || d.Size < 0 {
				t.Errorf("%+v was let through", d)
			}
		}
	})
}

func FuzzRoute(f *testing.F) {
	f.Add("/v2/a/b/blobs/uploads/X")
	f.Add("/v2/a/manifests/b/tags/list")
	f.Fuzz(func(t *testing.T, path string) {
		to, ok := parseRoute(path)
		if ok && strings.Contains(to.reference, "/") {
			t.Errorf("%q: reference %q", path, to.reference)
		}
		if ok && to.name != "" && !strings.HasPrefix(path, Prefix+to.name+"/") {
			t.Errorf("%q: name %q", path, to.name)
		}
	})
}

func FuzzContentRange(f *testing.F) {
	f.Add("0-9", int64(10))
	f.Add("bytes 5-9/*", int64(5))
	f.Fuzz(func(t *testing.T, value string, length int64) {
		offset, err := readContentRange(&http.Request{Header: http.Header{"Content-Range": {value}}, ContentLength: length})
		if err == nil && offset != AtEnd && (offset < 0 || length < 1) {
			t.Errorf("%q of %d: %d", value, length, offset)
		}
	})
}
