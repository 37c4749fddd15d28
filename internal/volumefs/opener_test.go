package volumefs_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hearth/internal/artifact"
	"hearth/internal/chunk"
	"hearth/internal/volume"
	"hearth/internal/volumefs"
)

// TestOpener gives the blockfs process's side what it can be given. Errors
// tell nothing of the keys.
func TestOpener(t *testing.T) {
	b := start(t, untrusted)
	b.put(t, "code/f.zip", 1<<20)
	found, err := b.finder.Find(t.Context(), artifact.Ref{Account: account, Object: "code/f.zip"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	manifest := filepath.Join(t.TempDir(), "manifest")
	damaged := filepath.Join(t.TempDir(), "damaged")
	if err := errors.Join(os.WriteFile(manifest, found.Encoded, 0o600), os.WriteFile(damaged, found.Encoded[:50], 0o600)); err != nil {
		t.Fatal(err)
	}
	elsewhere := chunk.NewExtra(&chunk.Salt{Epoch: 1, Secret: [32]byte{1}}, 2, chunk.AccountDomain(account))
	whole := func(change func(map[string]any)) string {
		spec := map[string]any{"manifest": manifest, "dataKey": found.DataKey, "extra": found.Extra[:]}
		change(spec)
		raw, err := json.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	o := volumefs.Opener{Source: untrusted(t, b.chunks)}
	good := whole(func(map[string]any) {})
	v, err := o.Open(t.Context(), json.RawMessage(good))
	if err != nil {
		t.Fatal(err)
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
	keys := []string{base64.StdEncoding.EncodeToString(found.DataKey), base64.StdEncoding.EncodeToString(found.Extra[:]),
		string(found.DataKey), string(found.Extra[16:48])}
	for name, c := range map[string]struct {
		raw string
		is  error
	}{
		"nothing":             {raw: ""},
		"no object":           {raw: `"` + keys[0] + `"`},
		"cut":                 {raw: good[:len(good)-2]},
		"a key of no base64":  {raw: whole(func(s map[string]any) { s["dataKey"] = keys[0] + "?" })},
		"a key of other type": {raw: whole(func(s map[string]any) { s["dataKey"] = 17 })},
		"a short key":         {raw: whole(func(s map[string]any) { s["dataKey"] = found.DataKey[:31] }), is: volume.ErrRefused},
		"a wrong key":         {raw: whole(func(s map[string]any) { s["dataKey"] = make([]byte, 32) }), is: volume.ErrRefused},
		"no key":              {raw: whole(func(s map[string]any) { delete(s, "dataKey") }), is: volume.ErrRefused},
		"a short extra":       {raw: whole(func(s map[string]any) { s["extra"] = found.Extra[:79] })},
		"another's extra":     {raw: whole(func(s map[string]any) { s["extra"] = elsewhere[:] }), is: volume.ErrRefused},
		"no manifest":         {raw: whole(func(s map[string]any) { delete(s, "manifest") }), is: os.ErrNotExist},
		"a directory":         {raw: whole(func(s map[string]any) { s["manifest"] = t.TempDir() })},
		"a damaged manifest":  {raw: whole(func(s map[string]any) { s["manifest"] = damaged }), is: volume.ErrManifest},
	} {
		v, err := o.Open(t.Context(), json.RawMessage(c.raw))
		if err == nil {
			t.Errorf("%s: opened %v", name, v)
			continue
		}
		if c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: got %v, want %v", name, err, c.is)
		}
		for _, key := range keys {
			if strings.Contains(err.Error(), key) {
				t.Errorf("%s: the error tells a key: %v", name, err)
			}
		}
	}
}
