package deploy

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		mode := os.FileMode(0o644)
		if filepath.Base(name) == "bootstrap" {
			mode = 0o700
		}
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func names(t *testing.T, archive []byte) string {
	t.Helper()
	r, err := zip.NewReader(bytes.NewReader(archive), int64(len(archive)))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range r.File {
		all = append(all, f.Name+":"+f.Mode().String())
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, in); err != nil {
			t.Fatal(err)
		}
	}
	return strings.Join(all, " ")
}

func TestLoad(t *testing.T) {
	tests := []struct {
		name                          string
		files                         map[string]string
		wantRuntime, wantHandler, zip string
	}{
		{
			"python", map[string]string{"app.py": "import os\n\ndef handler(event, context):\n    pass\n", "sub/x.py": "", "__pycache__/app.pyc": "", ".git/HEAD": ""},
			"python3.11", "app.handler", "app.py:-rw-r--r-- sub/x.py:-rw-r--r--",
		},
		{
			"python as AWS's console names it", map[string]string{"lambda_function.py": "def lambda_handler(e, c): pass", "a.py": "def handler(): pass"},
			"python3.11", "lambda_function.lambda_handler", "a.py:-rw-r--r-- lambda_function.py:-rw-r--r--",
		},
		{"node", map[string]string{"index.mjs": ""}, "nodejs20.x", "index.handler", "index.mjs:-rw-r--r--"},
		{
			"node with main", map[string]string{"package.json": `{"main":"./src/app.js"}`, "src/app.js": ""},
			"nodejs20.x", "src/app.handler", "package.json:-rw-r--r-- src/app.js:-rw-r--r--",
		},
		{"ready bootstrap", map[string]string{"bootstrap": "#!/bin/sh"}, "provided.al2023", "bootstrap", "bootstrap:-rwxr-xr-x"},
		{"go", map[string]string{"go.mod": "module x\n", "main.go": "package main\nfunc main(){}\n"}, "provided.al2023", "bootstrap", "bootstrap:-rwxr-xr-x"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := write(t, tt.files)
			p, err := Load(t.Context(), dir, "", "")
			if err != nil {
				t.Fatal(err)
			}
			if p.Runtime != tt.wantRuntime || p.Handler != tt.wantHandler || names(t, p.Zip) != tt.zip {
				t.Fatalf("got %s, %s, %s\nwant %s, %s, %s", p.Runtime, p.Handler, names(t, p.Zip), tt.wantRuntime, tt.wantHandler, tt.zip)
			}
			again, err := Load(t.Context(), dir, "", "")
			if err != nil || !bytes.Equal(p.Zip, again.Zip) {
				t.Fatalf("a second archive of the same files differs (%v)", err)
			}
		})
	}
}

func TestLoadErrors(t *testing.T) {
	tests := []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"empty", nil, "--runtime"},
		{"python without a handler", map[string]string{"x.py": "pass"}, "--handler"},
		{"node without a main", map[string]string{"package.json": "{}"}, "--handler"},
		{"go that does not compile", map[string]string{"go.mod": "module x\n", "main.go": "package main\n"}, "main"},
		{"broken package.json", map[string]string{"package.json": "{"}, "package.json"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Load(t.Context(), write(t, tt.files), "", "")
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want an error that mentions %q", err, tt.want)
			}
		})
	}
	if _, err := Load(t.Context(), "/dev/null", "", ""); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Fatalf("a file: got %v", err)
	}
}

func TestOverride(t *testing.T) {
	p, err := Load(t.Context(), write(t, map[string]string{"x.py": "pass"}), "python3.11", "x.run")
	if err != nil || p.Handler != "x.run" || p.Runtime != "python3.11" {
		t.Fatalf("got %+v, %v", p, err)
	}
}
