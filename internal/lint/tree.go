package lint

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Package is what the rules want to know of a Go package, from go list.
type Package struct {
	ImportPath  string   `json:"ImportPath"`
	Name        string   `json:"Name"`
	Imports     []string `json:"Imports"`
	GoFiles     []string `json:"GoFiles"`
	TestGoFiles []string `json:"TestGoFiles"`
	Dir         string   `json:"Dir"`
}

// File is a text file of the tree, its path relative to the top.
type File struct {
	Path string
	Text []byte
}

// Root returns the top of the tree that the working directory is in.
func Root() (string, error) {
	out, err := goCommand(".", "list", "-m", "-f", "{{.Dir}}")
	return strings.TrimSpace(string(out)), err
}

// Packages lists the packages of the module at root.
func Packages(root string) ([]Package, error) {
	out, err := goCommand(root, "list", "-json=ImportPath,Name,Imports,GoFiles,TestGoFiles,Dir", "./...")
	if err != nil {
		return nil, err
	}
	var list []Package
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p Package
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		list = append(list, p)
	}
}

// Closure lists everything that a package imports, directly or not.
func Closure(root, pkg string) ([]string, error) {
	out, err := goCommand(root, "list", "-deps", pkg)
	return strings.Fields(string(out)), err
}

// Files reads the text files below root that are written by hand or checked
// in: not what make has built, nor what the version control keeps.
func Files(root string) ([]File, error) {
	built := map[string]bool{".git": true, "bin": true, "build": true}
	var list []File
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() && built[rel] {
			return fs.SkipDir
		}
		if !d.Type().IsRegular() || built[rel] { // .git is a file in a linked work tree
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !bytes.Contains(text, []byte{0}) {
			list = append(list, File{Path: filepath.ToSlash(rel), Text: text})
		}
		return nil
	})
	return list, err
}

func goCommand(dir string, args ...string) ([]byte, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}
	return out, nil
}
