package ociimage

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"hearth/internal/ociname"
)

// typed says whether an error is one that callers can tell from others.
func typed(err error) bool {
	for _, kind := range []error{ErrNotFound, ErrUnauthorized, ErrInvalid, ErrTooLarge, ErrUnavailable} {
		if errors.Is(err, kind) {
			return true
		}
	}
	return false
}

// says is a source that answers the same to everything.
type says struct {
	data []byte
	kind string
}

func (s says) manifest(context.Context, string) ([]byte, string, error) { return s.data, s.kind, nil }

func (s says) blob(context.Context, descriptor, int64) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.data)), nil
}

func FuzzManifest(f *testing.F) {
	digest := ociname.Digest([]byte("{}"))
	f.Add([]byte(`{"layers":[{"digest":"`+digest+`","size":2}]}`), "")
	f.Add([]byte(`{"manifests":[{"digest":"`+digest+`","platform":{"os":"linux","architecture":"amd64"}}]}`), "")
	f.Add([]byte(`{"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"`+digest+`","size":2}}`),
		"application/vnd.oci.image.manifest.v1+json; charset=utf-8")
	f.Fuzz(func(t *testing.T, data []byte, kind string) {
		limits := Limits{}
		limits.fill()
		search := finder{source: says{data, kind}, limits: limits, arch: "amd64", pause: func(context.Context, int) error { return nil }}
		if img, err := search.find(context.Background(), "r.example/a", "v1"); err == nil || !typed(err) {
			t.Errorf("%+v, %v", img, err) // no manifest holds its own digest
		}
	})
}

func FuzzReference(f *testing.F) {
	f.Add("docker.io/library/debian:12")
	f.Add("[::1]:5000/a/../b@sha256:x")
	r, err := NewResolver(Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, reference string) {
		ref, err := r.parse(reference)
		if err != nil {
			if !typed(err) {
				t.Error(err)
			}
			return
		}
		if id := ref.Identifier(); !ociname.IsRepository(ref.Context().RepositoryStr()) || !ociname.IsTag(id) && !ociname.IsDigest(id) {
			t.Errorf("%q is %q %q", reference, ref.Context().RepositoryStr(), id)
		}
	})
}

func FuzzArchive(f *testing.F) {
	f.Add([]byte("garbage"))
	name := filepath.Join(f.TempDir(), "image.tar")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := OpenLocal(context.Background(), LocalRequest{Path: name})
		if err == nil {
			err = l.Close()
		} else if typed(err) {
			err = nil
		}
		if err != nil {
			t.Error(err)
		}
	})
}
