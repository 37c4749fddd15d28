package managedruntime

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"hearth/runtimes"
)

func TestSources(t *testing.T) {
	const oneLine = `# deb http://a bookworm main
deb http://a/debian bookworm main contrib # trailing
deb-src http://a/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] http://b/security bookworm-security main
deb http://vendor/apt bookworm stable
deb http://a/debian trixie main
deb [broken http://a bookworm main
`
	const stanzas = `Types: deb deb-src
# a comment in between
URIs: http://a/debian
Suites: bookworm bookworm-updates
 bookworm-backports
Components: main
Signed-By: /usr/share/keyrings/k.gpg

Types: deb
URIs: http://b
Suites: bookworm-security
Components: main
Enabled: no

Types: deb
URIs: http://vendor
Suites: nodistro
Components: main
`
	for _, c := range []struct {
		name string
		got  []string
		want []string
	}{
		{"one line", oneLineSources(oneLine, "bookworm"), []string{
			"deb http://a/debian bookworm main",
			"deb [arch=amd64 signed-by=/k.gpg] http://b/security bookworm-security main",
		}},
		{"deb822", deb822Sources(stanzas, "bookworm"), []string{
			"deb [signed-by=/usr/share/keyrings/k.gpg] http://a/debian bookworm main",
			"deb [signed-by=/usr/share/keyrings/k.gpg] http://a/debian bookworm-updates main",
		}},
		{"another release", deb822Sources(stanzas, "trixie"), nil},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, c.got, c.want)
		}
	}
}

func FuzzSources(f *testing.F) {
	f.Add("Types: deb\nURIs: u\nSuites: bookworm\nComponents: main\n")
	f.Add("deb [a=b] u bookworm main")
	f.Fuzz(func(t *testing.T, text string) {
		for _, line := range append(oneLineSources(text, "bookworm"), deb822Sources(text, "bookworm")...) {
			if !strings.HasPrefix(line, "deb ") || strings.Contains(line, "\n") {
				t.Errorf("got %q", line)
			}
		}
	})
}

func zipOf(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, content := range files {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestWheels checks that only what the recipe pins is unpacked, and only into
// the image.
func TestWheels(t *testing.T) {
	good, escaping := zipOf(t, map[string]string{"p/__init__.py": "X = 1\n"}), zipOf(t, map[string]string{"../../../../x": "out"})
	sum := func(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }
	known := map[string]bool{sum(good): true, sum(escaping): true}
	for _, c := range []struct {
		name    string
		content []byte
		want    string // part of the error
	}{
		{"good", good, ""},
		{"tampered", append(slices.Clone(good), 'x'), "is not in the recipe"},
		{"escaping", escaping, "escapes"},
	} {
		root := t.TempDir()
		tree, err := os.OpenRoot(root)
		if err != nil {
			t.Fatal(err)
		}
		wheel := filepath.Join(t.TempDir(), "p.whl")
		if err := os.WriteFile(wheel, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		err = unpackWheel(wheel, known, "/lib", tree)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
		if _, err := os.Stat(filepath.Join(root, "lib/p/__init__.py")); (err == nil) != (c.want == "") {
			t.Errorf("%s: unpacked: %v", c.name, err)
		}
		if err := tree.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNPMArchive(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for name, mode := range map[string]int64{"package/bin/node": 0o4755, "package/README": 0o644} {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "a.tgz")
	if err := os.WriteFile(archive, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512(b.Bytes())
	integrity := "sha512-" + base64.StdEncoding.EncodeToString(sum[:])
	bin := runtimes.Pair{From: "bin/node", To: "/var/lang/bin/node"}
	for _, c := range []struct {
		name string
		pkg  runtimes.NPMPackage
		want string
	}{
		{"good", runtimes.NPMPackage{Integrity: integrity, Files: []runtimes.Pair{bin}}, ""},
		{"tampered", runtimes.NPMPackage{Integrity: "sha512-x", Files: []runtimes.Pair{bin}}, "not the recipe's"},
		{"lacking", runtimes.NPMPackage{Integrity: integrity, Files: []runtimes.Pair{bin, {From: "none", To: "/none"}}}, "lacks 1"},
	} {
		root := t.TempDir()
		tree, err := os.OpenRoot(root)
		if err != nil {
			t.Fatal(err)
		}
		err = unpackNPM(archive, c.pkg, tree)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
		if c.want == "" {
			info, err := os.Stat(filepath.Join(root, "var/lang/bin/node"))
			if err != nil || info.Mode() != 0o755 {
				t.Errorf("%s: got %v, %v", c.name, info, err)
			}
		}
		if err := tree.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestKeyCoversEverything changes each part of a recipe and wants another key.
func TestKeyCoversEverything(t *testing.T) {
	seen := make(map[string]string)
	for _, r := range runtimes.All() {
		k, err := key(r)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[k]; ok {
			t.Errorf("%s and %s have the same key", r.Name, other)
		}
		seen[k] = r.Name
		changes := map[string]func(*runtimes.Recipe){
			"version":  func(r *runtimes.Recipe) { r.Version += "x" },
			"packages": func(r *runtimes.Recipe) { r.Packages = append(slices.Clone(r.Packages), "x") },
			"wheels":   func(r *runtimes.Recipe) { r.Wheels = append(slices.Clone(r.Wheels), runtimes.Wheel{}) },
			"files":    func(r *runtimes.Recipe) { r.Files = append(slices.Clone(r.Files), os.DirFS(".")) },
			"links":    func(r *runtimes.Recipe) { r.Links = nil },
		}
		for what, change := range changes {
			changed := r
			change(&changed)
			if other, err := key(changed); err != nil || other == k {
				t.Errorf("%s: the key does not cover %s (%v)", r.Name, what, err)
			}
		}
	}
}

func TestSeal(t *testing.T) {
	root := t.TempDir()
	for name, mode := range map[string]os.FileMode{"plain": 0o600, "setuid": os.ModeSetuid | 0o755, "tool": 0o700} {
		p := filepath.Join(root, name)
		if err := os.WriteFile(p, []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
	}
	first, _, err := seal(root)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{"plain": 0o644, "setuid": 0o755, "tool": 0o755} {
		info, err := os.Stat(filepath.Join(root, name))
		if err != nil || info.Mode() != want || info.ModTime().Unix() != imageTime {
			t.Errorf("%s: got %v %v, want %v", name, info.Mode(), info.ModTime(), want)
		}
	}
	if again, _, _ := seal(root); again != first {
		t.Error("sealing twice gives two digests")
	}
	if err := os.WriteFile(filepath.Join(root, "plain"), []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	if other, _, _ := seal(root); other == first {
		t.Error("the digest does not cover contents")
	}
}
