package datadir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecretFile(t *testing.T) {
	f := SecretFile{dir: t.TempDir(), name: "keyring"}
	if _, err := f.Load(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing there: %v", err)
	}
	for _, text := range []string{"one", "two"} {
		if err := f.Save([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if b, err := f.Load(); err != nil || string(b) != text {
			t.Errorf("loaded %q, %v", b, err)
		}
	}
	info, err := os.Stat(f.Name())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if left, err := filepath.Glob(filepath.Join(f.dir, "*")); err != nil || len(left) != 1 {
		t.Errorf("left %v, %v", left, err)
	}
	if err := os.Chmod(f.Name(), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Load(); !errors.Is(err, ErrUnsafe) || !strings.Contains(err.Error(), "chmod 600 "+f.Name()) {
		t.Errorf("readable by others: %v", err)
	}
	if err := os.Remove(f.Name()); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hostname", f.Name()); err != nil {
		t.Fatal(err)
	}
	if b, err := f.Load(); err == nil {
		t.Errorf("followed a link: %q", b)
	}
}
