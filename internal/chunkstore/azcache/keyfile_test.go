package azcache

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeyFile(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "key")
	if err := NewKeyFile(name); err != nil {
		t.Fatal(err)
	}
	key, err := LoadKey(name)
	if again, err2 := LoadKey(name); err != nil || err2 != nil || key != again || key == (Key{}) {
		t.Errorf("%v, %v", err, err2)
	}
	if err := NewKeyFile(name); err == nil {
		t.Error("a key was replaced")
	}
	if now, err := LoadKey(name); err != nil || now != key {
		t.Errorf("the key has changed: %v", err)
	}
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for what, bad := range map[string]struct {
		content string
		mode    os.FileMode
	}{
		"empty": {"", 0o600}, "short": {string(good[:62]), 0o600}, "long": {strings.TrimSpace(string(good)) + "00", 0o600},
		"no digits": {strings.Repeat("secret", 11)[:64], 0o600}, "of the group": {string(good), 0o640}, "of all": {string(good), 0o604},
		"huge": {strings.Repeat("0", 1<<20), 0o600},
	} {
		name := filepath.Join(dir, "bad")
		if err := os.WriteFile(name, []byte(bad.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, bad.mode); err != nil {
			t.Fatal(err)
		}
		key, err := LoadKey(name)
		if err == nil || key != (Key{}) {
			t.Errorf("%s: accepted", what)
		} else if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), string(good[:16])) {
			t.Errorf("%s: the error tells the key: %v", what, err)
		}
	}
	if _, err := LoadKey(filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "hearth cache key") {
		t.Errorf("no file: %v", err)
	}
}
