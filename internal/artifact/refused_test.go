package artifact_test

import (
	"archive/tar"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hearth/internal/artifact"
	"hearth/internal/flatten"
)

// TestRefused gives what cannot be a volume. Reasons are for whoever sent it.
func TestRefused(t *testing.T) {
	b := startWith(t, plainKeys{})
	whole := zipOf(t, "app.py", strings.Repeat("code", 1000))
	for name, c := range map[string]struct {
		archive []byte
		layers  []flatten.Layer
		says    []string
	}{
		"no zip":           {archive: []byte("#!/bin/sh\n"), says: []string{"archive", "zip"}},
		"a cut zip":        {archive: whole[:len(whole)/2], says: []string{"archive", "zip"}},
		"a zip above root": {archive: zipOf(t, "../../etc/passwd", "x"), says: []string{"archive", "../../etc/passwd"}},
		"a damaged zip":    {archive: append([]byte{whole[0], whole[1], whole[2], 0xff}, whole[4:40]...), says: []string{"archive"}},
		"a layer above root": {
			layers: []flatten.Layer{layer(t, tar.Header{Typeflag: tar.TypeDir, Name: "../../etc", Mode: 0o755})},
			says:   []string{"image", "layer 1", "../../etc"},
		},
		"a link to nothing": {
			layers: []flatten.Layer{
				layer(t, tar.Header{Typeflag: tar.TypeDir, Name: "bin", Mode: 0o755}),
				layer(t, tar.Header{Typeflag: tar.TypeLink, Name: "bin/x", Linkname: "etc/shadow"}),
			},
			says: []string{"image", "layer 2", "bin/x"},
		},
		"a device": {
			layers: []flatten.Layer{layer(t, tar.Header{Typeflag: tar.TypeBlock, Name: "disk", Devmajor: 8})},
			says:   []string{"image", "layer 1", "disk"},
		},
	} {
		ref := artifact.Ref{Account: account, Object: "code/" + strings.ReplaceAll(name, " ", "-")}
		if c.layers != nil {
			ref.Image = name
			b.images[name] = &artifact.Image{Layers: c.layers}
		} else {
			b.put(t, ref.Object, c.archive)
		}
		v, err := b.Find(t.Context(), ref, nil)
		refused, ok := errors.AsType[*artifact.RefusedError](err)
		if !ok {
			t.Errorf("%s: got %v, %v, want a refusal", name, v, err)
			continue
		}
		t.Logf("%s: %s", name, refused.Reason)
		for _, word := range c.says {
			if !strings.Contains(refused.Reason, word) {
				t.Errorf("%s: reason %q does not say %q", name, refused.Reason, word)
			}
		}
		if strings.Contains(refused.Reason, b.data) || refused.NotFound || refused.NoAccess {
			t.Errorf("%s: got %+v, which tells of this machine or of another fault", name, refused)
		}
	}
	if objects, err := b.Objects(t.Context(), ""); err != nil || len(objects) > 0 {
		t.Errorf("visible: %v, %v", objects, err)
	}
}

// TestNotRefused: what is wrong with the machine is not the archive's fault.
func TestNotRefused(t *testing.T) {
	b := startWith(t, plainKeys{})
	b.put(t, "code/f.zip", zipOf(t, "app.py", "code"))
	ref := artifact.Ref{Account: account, Object: "code/f.zip"}
	builds := filepath.Join(b.data, "builds")
	if err := os.Remove(builds); err != nil {
		t.Fatal(err)
	}
	v, err := b.Find(t.Context(), ref, nil)
	if _, ok := errors.AsType[*artifact.RefusedError](err); ok || err == nil {
		t.Errorf("got %v, %v, want an error of the machine", v, err)
	}
	if err := os.Mkdir(builds, 0o700); err != nil {
		t.Fatal(err)
	}
	b.find(t, ref)

	// What finds images knows why there is none.
	gone := artifact.Refuse(nil, "It is gone.")
	gone.NotFound = true
	b.err = gone
	_, err = b.Find(t.Context(), artifact.Ref{Account: account, Object: "code/i", Image: "gone"}, nil)
	if refused, ok := errors.AsType[*artifact.RefusedError](err); !ok || refused != gone {
		t.Errorf("got %v, want %v", err, gone)
	}
}
