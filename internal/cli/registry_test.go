package cli

import (
	"bytes"
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"
)

func TestRegistryToken(t *testing.T) {
	dir := t.TempDir()
	const id, secret = "AKIAAAAAAAAAAAAAAAAA", "ssssssssssssssssssssssssssssssssssssssss"
	content := `{"accountId":"000000000000","accessKeyId":"` + id + `","secretAccessKey":"` + secret + `"}`
	if err := os.WriteFile(filepath.Join(dir, "credentials"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ key, session, want string }{
		{"", "", id + ":" + secret},
		{"", "stray", id + ":" + secret},
		{"AKIAOTHER", "", "AKIAOTHER:other"},
		{"ASIAOTHER", "token", "ASIAOTHER:other:token"},
	} {
		t.Setenv("AWS_ACCESS_KEY_ID", c.key)
		t.Setenv("AWS_SECRET_ACCESS_KEY", "other")
		t.Setenv("AWS_SESSION_TOKEN", c.session)
		var out bytes.Buffer
		cmd := newRoot()
		cmd.SetArgs([]string{"registry", "token", "--data", dir})
		cmd.SetOut(&out)
		if err := cmd.Execute(); err != nil {
			t.Fatal(err)
		}
		if want := base64.StdEncoding.EncodeToString([]byte(c.want)) + "\n"; out.String() != want {
			t.Errorf("%+v: %q, want %q", c, out.String(), want)
		}
	}
}
