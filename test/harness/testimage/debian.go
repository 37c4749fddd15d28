package testimage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"path/filepath"
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
		found, err := scan(root, "")
		if err != nil {
			return nil, err
		}
		layer, err := treeLayer(found)
		if err != nil {
			return nil, err
		}
		return assemble(scratch(), v1.Config{}, layer)
	})
})

// overDebian returns the Debian image with two layers of what a recipe's tree
// has besides: of the system, and of what is below /usr/local. The key covers
// the Debian below, so that its layer is the one of all others.
func overDebian(ctx context.Context, name string, r runtimes.Recipe) (v1.Image, error) {
	base, err := debianImage()
	if err != nil {
		return nil, err
	}
	digest, err := base.Digest()
	if err != nil {
		return nil, err
	}
	key, err := recipeKey(r, []byte(digest.String()))
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
		found, err := scan(root, "")
		if err != nil {
			return nil, err
		}
		var system, local []entry
		for _, e := range found {
			switch {
			case e.same(below[e.name]):
			case strings.HasPrefix(e.name, "usr/local/"):
				local = append(local, e)
			default:
				system = append(system, e)
			}
		}
		var layers []v1.Layer
		for _, part := range [][]entry{system, local} {
			layer, err := treeLayer(part)
			if err != nil {
				return nil, err
			}
			layers = append(layers, layer)
		}
		return assemble(base, v1.Config{}, layers...)
	})
}
