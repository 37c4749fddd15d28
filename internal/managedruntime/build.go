package managedruntime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"hearth/runtimes"
)

// spaceNeeded is what a build may take at its height: the packages, the
// unpacked tree and the image beside it.
const spaceNeeded = 1 << 30

// kept is how many images of a runtime are kept: the newest and the one
// before, which a Hearth of the former version may still want.
const kept = 2

// build makes the image of a recipe. The caller is the only builder of it.
func (s *Store) build(ctx context.Context, r runtimes.Recipe, say func(string, ...any)) (Image, error) {
	if err := s.prepare(r.Name); err != nil {
		return Image{}, err
	}
	tmp, err := os.MkdirTemp(s.dir, tempPrefix(r.Name))
	if err != nil {
		return Image{}, err
	}
	defer os.RemoveAll(tmp)

	root := filepath.Join(tmp, "root")
	t, err := makeTree(ctx, r, tmp, root, say)
	if err != nil {
		return Image{}, err
	}
	say("writing the ext4 image")
	file := filepath.Join(tmp, "image")
	if err := writeExt4(ctx, file, root, t.digest, t.usage); err != nil {
		return Image{}, err
	}
	img := Image{Name: r.Name, Version: r.Version, Digest: t.digest, Packages: t.packages}
	if err := s.publish(&img, r, file); err != nil {
		return Image{}, err
	}
	s.prune(r.Name)
	return img, nil
}

// Tree makes the root file system of a recipe in root, which must not exist:
// what an image of the recipe would hold, with the same owners, modes and
// times. Tmp is an existing directory for what is needed only meanwhile, on
// whose disk the caller has seen to it that there is room. It returns the
// Debian packages that were unpacked, as name_version.
func Tree(ctx context.Context, r runtimes.Recipe, tmp, root string, progress func(string)) (packages []string, err error) {
	t, err := makeTree(ctx, r, tmp, root, func(format string, args ...any) {
		progress(r.Name + ": " + fmt.Sprintf(format, args...))
	})
	return t.packages, err
}

// tree is a finished root file system.
type tree struct {
	digest   string
	usage    usage
	packages []string
}

// makeTree does the steps of a recipe.
func makeTree(ctx context.Context, r runtimes.Recipe, tmp, root string, say func(string, ...any)) (tree, error) {
	if err := os.Mkdir(root, 0o755); err != nil {
		return tree{}, err
	}
	say("fetching and unpacking %d Debian packages and what they need", len(r.Packages))
	packages, err := unpackDebian(ctx, r, tmp, root)
	if err != nil {
		return tree{}, err
	}
	if err := addPackages(ctx, r, tmp, root, say); err != nil {
		return tree{}, err
	}
	say("arranging files")
	if err := arrange(root, r); err != nil {
		return tree{}, err
	}
	if err := finishTree(ctx, root, r, say); err != nil {
		return tree{}, err
	}
	digest, u, err := seal(root)
	return tree{digest: digest, usage: u, packages: packages}, err
}

// tempPrefix begins the names of a runtime's temporary directories.
func tempPrefix(name string) string { return ".build-" + name + "-" }

// prepare removes what killed builds left and checks what a build needs.
func (s *Store) prepare(name string) error {
	leftovers, err := filepath.Glob(filepath.Join(s.dir, tempPrefix(name)+"*"))
	if err != nil {
		return err
	}
	for _, dir := range leftovers {
		s.log.Info("removing an unfinished build", "dir", dir)
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove unfinished build: %w", err)
		}
	}
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("the recipes are for x86_64; this machine is %s", runtime.GOARCH)
	}
	if os.Geteuid() != 0 {
		return errors.New("files of an image belong to root, so building one needs root: run as root, or `sudo make runtimes`")
	}
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		return fmt.Errorf("free space of %s: %w", s.dir, err)
	}
	free := st.Bavail * uint64(st.Bsize) //nolint:gosec // a block's size is positive
	if free < spaceNeeded {
		return fmt.Errorf("%s has %d MB free and a build needs %d MB: free some, or set %s to a directory on a larger disk",
			s.dir, free>>20, spaceNeeded>>20, CacheEnv)
	}
	return nil
}

// finishTree does what the packages' maintainer scripts would have done and
// the image needs.
func finishTree(ctx context.Context, root string, r runtimes.Recipe, say func(string, ...any)) error {
	if err := bundleCertificates(root); err != nil {
		return err
	}
	if err := run(ctx, command{name: "ldconfig", args: []string{"-r", root}, pkg: "libc-bin"}); err != nil {
		return err
	}
	// What ldconfig notes for its next run here holds inode numbers.
	if err := os.RemoveAll(filepath.Join(root, "var/cache/ldconfig")); err != nil {
		return err
	}
	for _, argv := range r.Commands {
		say("running %s in the image", filepath.Base(argv[0]))
		err := run(ctx, command{
			name: "chroot", args: append([]string{root}, argv...), pkg: "coreutils",
			env: []string{"PATH=/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE=1", "PYTHONHASHSEED=0"},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// publish makes a finished file an image of the store.
func (s *Store) publish(img *Image, r runtimes.Recipe, file string) error {
	k, err := key(r)
	if err != nil {
		return err
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	img.Size = info.Size()
	base := filepath.Join(s.dir, r.Name+"-"+k)
	img.Path = base + ".ext4"
	text, err := json.MarshalIndent(img, "", "  ")
	if err != nil {
		return err
	}
	description := file + ".json"
	if err := os.WriteFile(description, append(text, '\n'), 0o644); err != nil {
		return err
	}
	// The description is what makes an image exist, so it comes last.
	for _, step := range []func() error{
		func() error { return syncPath(file) },
		func() error { return syncPath(description) },
		func() error { return os.Rename(file, img.Path) },
		func() error { return syncPath(s.dir) },
		func() error { return os.Rename(description, base+".json") },
		func() error { return syncPath(s.dir) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	return nil
}

// syncPath makes a file's or directory's content durable.
func syncPath(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// prune removes images that no Hearth is likely to want. A mounted one lives
// on, without its name, until it is unmounted.
func (s *Store) prune(name string) {
	images, err := filepath.Glob(filepath.Join(s.dir, name+"-*.ext4"))
	if err != nil {
		return
	}
	age := func(path string) int64 {
		info, err := os.Stat(path)
		if err != nil {
			return 0
		}
		return info.ModTime().UnixNano()
	}
	sort.Slice(images, func(i, j int) bool { return age(images[i]) > age(images[j]) })
	for i, path := range images {
		if i < kept {
			continue
		}
		err := errors.Join(os.Remove(strings.TrimSuffix(path, ".ext4")+".json"), os.Remove(path))
		s.log.Info("removed an old runtime image", "path", path, "error", err)
	}
}
