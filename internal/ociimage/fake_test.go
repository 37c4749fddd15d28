package ociimage

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"hearth/internal/ociname"
)

// fake is a repository whose every byte a test decides about.
type fake struct {
	*far
	manifests map[string][]byte // by tag or digest
	kinds     map[string]string // their Content-Types
	blobs     map[string][]byte
}

// newFake starts a registry with the repository "app".
func newFake(t *testing.T, before func(w http.ResponseWriter, r *http.Request) bool) *fake {
	f := &fake{manifests: map[string][]byte{}, kinds: map[string]string{}, blobs: map[string][]byte{}}
	f.far = newFar(t, func(w http.ResponseWriter, r *http.Request) bool {
		return before != nil && before(w, r) || f.serve(w, r)
	})
	return f
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) bool {
	if name, ok := strings.CutPrefix(r.URL.Path, "/v2/app/manifests/"); ok {
		w.Header().Set("Content-Type", f.kinds[name])
		return give(w, r, f.manifests[name])
	}
	if name, ok := strings.CutPrefix(r.URL.Path, "/v2/app/blobs/"); ok {
		return give(w, r, f.blobs[name])
	}
	return false
}

func give(w http.ResponseWriter, r *http.Request, data []byte) bool {
	if data == nil {
		http.NotFound(w, r)
		return true
	}
	var offset int
	if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &offset); err == nil {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", offset, len(data)-1, len(data)))
		w.WriteHeader(http.StatusPartialContent)
	}
	_, _ = w.Write(data[offset:])
	return true
}

// blob adds a blob and describes it.
func (f *fake) blob(data []byte, kind types.MediaType) v1.Descriptor {
	f.blobs[ociname.Digest(data)] = data
	hash, err := v1.NewHash(ociname.Digest(data))
	if err != nil {
		panic(err)
	}
	return v1.Descriptor{MediaType: kind, Digest: hash, Size: int64(len(data))}
}

// put adds a manifest under a tag and its digest, and describes it.
func (f *fake) put(tag string, kind types.MediaType, m any) v1.Descriptor {
	data, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	d := f.blob(data, kind)
	for _, name := range []string{tag, d.Digest.String()} {
		f.manifests[name], f.kinds[name] = data, string(kind)
	}
	return d
}

func (f *fake) ref() string { return f.host + "/app:v1" }

// layer is a packed layer of some size.
func layer(size int) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.NoCompression)
	_, _ = w.Write(bytes.Repeat([]byte("layer "), size/6))
	_ = w.Close()
	return b.Bytes()
}

// image adds an image with one layer of some size; change may change what
// describes it before it is stored.
func (f *fake) image(size int, change func(*v1.Manifest, *v1.ConfigFile)) v1.Manifest {
	config := v1.ConfigFile{OS: "linux", Architecture: "amd64"}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{f.blob(layer(size), types.OCILayer)}}
	m.Config.MediaType = types.OCIConfigJSON
	if change != nil {
		change(&m, &config)
	}
	if config.RootFS.DiffIDs == nil {
		for i := range m.Layers {
			config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, m.Layers[i].Digest)
		}
	}
	if m.Config.Digest.Hex == "" {
		data, err := json.Marshal(config)
		if err != nil {
			panic(err)
		}
		m.Config = f.blob(data, m.Config.MediaType)
	}
	f.put("v1", types.OCIManifestSchema1, m)
	return m
}
