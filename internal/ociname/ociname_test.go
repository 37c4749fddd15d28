package ociname

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	for name, want := range map[string]bool{
		"a": true, "team/app": true, "a.b/c_d/e__f/g---h/0": true, strings.Repeat("a", 255): true,
		"": false, "/": false, "/a": false, "a/": false, "a//b": false, ".": false, "..": false, "a/../b": false, ".a": false, "a.": false,
		"A": false, "a b": false, "a\x00": false, "a\n": false, "a___b": false, "a..b": false, "a+b": false, "a%2fb": false, "ä": false,
		strings.Repeat("a", 256): false,
	} {
		if IsRepository(name) != want {
			t.Errorf("repository %q: not %v", name, want)
		}
	}
	for name, want := range map[string]bool{
		"latest": true, "V1.0-rc_1": true, "_": true, strings.Repeat("a", 128): true,
		"": false, ".": false, "..": false, "-a": false, ".a": false, "a/b": false, "a:b": false, "a\n": false, "a b": false, strings.Repeat("a", 129): false,
	} {
		if IsTag(name) != want {
			t.Errorf("tag %q: not %v", name, want)
		}
	}
	for name, want := range map[string]bool{
		Digest(nil): true, "sha256:" + strings.Repeat("0", 64): true,
		"": false, "sha256:": false, strings.ToUpper(Digest(nil)): false, Digest(nil) + "0": false, Digest(nil) + "\n": false,
		"sha512:" + strings.Repeat("0", 128): false, "sha256:../" + strings.Repeat("0", 61): false,
	} {
		if IsDigest(name) != want {
			t.Errorf("digest %q: not %v", name, want)
		}
	}
	if got := Digest([]byte("abc")); got != "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" {
		t.Error(got)
	}
}
