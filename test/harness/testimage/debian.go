package testimage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"hearth/internal/managedruntime"
	"hearth/runtimes"
)

// debianRecipe is a small Debian, with the packages that are asked for. It is
// more like Debian's own image than like a managed runtime's, but has neither
// its package manager nor documentation.
func debianRecipe(name string, packages ...string) runtimes.Recipe {
	return runtimes.Recipe{
		Name:  "test image " + name,
		Suite: "bookworm",
		Packages: append([]string{
			"base-files", "base-passwd", "bash", "ca-certificates", "coreutils", "dash", "findutils", "grep",
			"libc-bin", "libgcc-s1", "libstdc++6", "mawk", "netbase", "sed", "tzdata",
		}, packages...),
		Move: []runtimes.Pair{ // as the package's script would
			{From: "/usr/share/base-passwd/passwd.master", To: "/etc/passwd"},
			{From: "/usr/share/base-passwd/group.master", To: "/etc/group"},
		},
		Remove: []string{
			"/usr/share/doc", "/usr/share/man", "/usr/share/info", "/usr/share/locale", "/usr/share/lintian",
			"/etc/apt", "/var/lib/apt", "/var/lib/dpkg", "/var/cache/*", "/var/log/*", "/dev/*",
			"/usr/bin/perl*", "/usr/lib/x86_64-linux-gnu/perl*",
		},
		Dirs: []string{"/dev", "/proc", "/sys", "/run", "/tmp", "/var/tmp", "/var/task"},
		Links: []runtimes.Pair{
			{From: "/usr/bin/awk", To: "mawk"},
			{From: "/usr/lib/ssl/cert.pem", To: "/etc/ssl/certs/ca-certificates.crt"},
		},
	}
}

// recipeKey names what a recipe and more bytes make. Recipes of this package
// have no Files.
func recipeKey(r runtimes.Recipe, more ...[]byte) (string, error) {
	text, err := json.Marshal(r) //nolint:musttag // hashed, never read back
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n", cacheVersion, text)
	for _, b := range more {
		fmt.Fprintf(h, "%x\n", sha256.Sum256(b))
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// makeTree makes a recipe's tree below tmp.
func makeTree(ctx context.Context, r runtimes.Recipe, tmp string) (root string, err error) {
	root = filepath.Join(tmp, "root")
	_, err = managedruntime.Tree(ctx, r, tmp, root, func(string) {})
	return root, err
}

// debianImage is the layer that images have in common. One process asks for
// it many times.
var debianImage = sync.OnceValues(func() (v1.Image, error) {
	r := debianRecipe("debian")
	key, err := recipeKey(r)
	if err != nil {
		return nil, err
	}
	return cached(context.Background(), "debian", key, func(ctx context.Context, tmp string) (v1.Image, error) {
		root, err := makeTree(ctx, r, tmp)
		if err != nil {
			return nil, err
		}
		layer, err := treeLayer(root, func(entry) bool { return true })
		if err != nil {
			return nil, err
		}
		return assemble(scratch(), v1.Config{}, layer)
	})
})

// overDebian returns the Debian image with layers of what a recipe's tree has
// besides: one of the system, one of what is below /usr/local. More are put
// upon them by extra, which gets tmp. The key covers the recipe, the Debian
// below, and more.
func overDebian(ctx context.Context, name string, r runtimes.Recipe, more [][]byte, extra func(ctx context.Context, tmp string) ([]v1.Layer, error)) (v1.Image, error) {
	base, err := debianImage()
	if err != nil {
		return nil, err
	}
	digest, err := base.Digest()
	if err != nil {
		return nil, err
	}
	key, err := recipeKey(r, append(slices.Clone(more), []byte(digest.String()))...)
	if err != nil {
		return nil, err
	}
	return cached(ctx, name, key, func(ctx context.Context, tmp string) (v1.Image, error) {
		root, err := makeTree(ctx, r, tmp)
		if err != nil {
			return nil, err
		}
		below, err := entries(base)
		if err != nil {
			return nil, err
		}
		var layers []v1.Layer
		for _, local := range []bool{false, true} {
			layer, err := treeLayer(root, func(e entry) bool {
				return below[e.name] != e && strings.HasPrefix(e.name, "usr/local/") == local
			})
			if err != nil {
				return nil, err
			}
			layers = append(layers, layer)
		}
		upper, err := extra(ctx, tmp)
		if err != nil {
			return nil, err
		}
		return assemble(base, v1.Config{}, append(layers, upper...)...)
	})
}
