package testimage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"golang.org/x/sys/unix"

	"hearth/internal/managedruntime"
)

// cacheVersion is part of every key: raise it when the same recipe is built
// otherwise.
const cacheVersion = "1"

// kept is how many images of one name are kept: the newest, and the one before
// for a clone of another state.
const kept = 2

// cacheDir is where images are kept.
func cacheDir() (string, error) {
	dir, err := managedruntime.DefaultDir()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, "testimages")
	return dir, os.MkdirAll(dir, 0o755)
}

// cached returns the image of a name, without a dot, and a key, and has it built first, with
// an empty directory for what is needed meanwhile, if it is not there.
func cached(ctx context.Context, name, key string, build func(ctx context.Context, tmp string) (v1.Image, error)) (v1.Image, error) {
	dir, err := cacheDir()
	if err != nil {
		return nil, err
	}
	place := filepath.Join(dir, name+"."+key)
	if img, err := load(place); !errors.Is(err, os.ErrNotExist) {
		return img, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, ".lock-"+name), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	defer lock.Close() // ends the lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	if img, err := load(place); !errors.Is(err, os.ErrNotExist) {
		return img, err // another has built it
	}
	if err := removeAll(filepath.Join(dir, ".build-"+name+".*"), 0); err != nil { // of builds that were killed
		return nil, err
	}
	tmp, err := os.MkdirTemp(dir, ".build-"+name+".")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	img, err := build(ctx, tmp)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", name, err)
	}
	if err := save(img, filepath.Join(tmp, "layout"), place); err != nil {
		return nil, fmt.Errorf("keep image %s: %w", name, err)
	}
	if err := removeAll(filepath.Join(dir, name+".*"), kept); err != nil {
		return nil, err
	}
	return load(place)
}

// save writes an image and renames it into place when it is whole.
func save(img v1.Image, tmp, place string) error {
	l, err := layout.Write(tmp, empty.Index)
	if err != nil {
		return err
	}
	if err := l.AppendImage(img); err != nil {
		return err
	}
	return os.Rename(tmp, place)
}

func load(place string) (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(place)
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(manifest.Manifests) != 1 {
		return nil, fmt.Errorf("%s holds %d images, not one; remove it", place, len(manifest.Manifests))
	}
	return index.Image(manifest.Manifests[0].Digest)
}

// removeAll removes what a pattern matches, but for the newest.
func removeAll(pattern string, keep int) error {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	age := make(map[string]int64)
	for _, p := range paths {
		if info, err := os.Stat(p); err == nil {
			age[p] = info.ModTime().UnixNano()
		}
	}
	slices.SortFunc(paths, func(a, b string) int { return int(min(max(age[b]-age[a], -1), 1)) })
	for _, p := range paths[min(keep, len(paths)):] {
		if err := os.RemoveAll(p); err != nil {
			return err
		}
	}
	return nil
}
