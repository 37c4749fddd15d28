// Package runtimes holds the recipes of the managed runtimes and the files
// that go into their images: one directory per runtime with its bootstrap,
// and the base that all of them share. It is data; package managedruntime
// builds images from it.
//
// Everything that decides what is in an image is here or is pinned from here
// (wheels and npm packages by digest; Debian packages by name and suite, so
// that a rebuild takes in security updates). The files are embedded, so the
// one binary can build every runtime.
package runtimes

import (
	"embed"
	"io/fs"
)

//go:embed base/rootfs python3.11/rootfs nodejs20.x/rootfs
var files embed.FS

// Recipe says how to build the root file system of one runtime. Steps are
// done in the order of the fields.
type Recipe struct {
	// Name is AWS's identifier, for instance python3.11.
	Name string
	// Version is what log lines call this build of the runtime, for instance
	// python:3.11.v1. Raise it with every change of the recipe.
	Version string
	// Suite and Packages say which Debian packages are unpacked. Their
	// maintainer scripts are not run: see the later steps.
	Suite    string
	Packages []string
	// Wheels are unpacked into WheelDir.
	Wheels   []Wheel
	WheelDir string
	// NPM packages are unpacked file by file.
	NPM []NPMPackage
	// Move renames files and directories, in order.
	Move []Pair
	// Remove deletes what the patterns (path.Match) name; a pattern that
	// names nothing is no error.
	Remove []string
	// Dirs are made, owned by root and readable by all.
	Dirs []string
	// Files are copied in order over what is there.
	Files []fs.FS
	// Links maps a symbolic link's path to its target, replacing what is
	// there.
	Links []Pair
	// Commands are run inside the image at the end, for what is to be computed
	// once: the root is read-only later.
	Commands [][]string
}

// Pair is a source and a destination, both paths inside the image.
type Pair struct{ From, To string }

// Wheel pins a Python package.
type Wheel struct{ Name, Version, SHA256 string }

// NPMPackage pins an npm package; Integrity is the registry's sha512 in the
// form of a lock file. Files maps a path in the package to one in the image.
type NPMPackage struct {
	Name, Version, Integrity string
	Files                    []Pair
}

// All returns the recipes, in the order in which they are listed to users.
func All() []Recipe {
	return []Recipe{python311(), node20(), providedAL2023()}
}

// rootfs returns the embedded files of one directory.
func rootfs(dir string) fs.FS {
	sub, err := fs.Sub(files, dir+"/rootfs")
	if err != nil {
		panic(err) // a constant path, checked by every test
	}
	return sub
}
