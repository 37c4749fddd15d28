package managedruntime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"hearth/runtimes"
)

// CacheEnv names the variable that moves the directory of DefaultDir.
const CacheEnv = "HEARTH_RUNTIME_CACHE"

// builderVersion is part of every image's key: raise it when the builder
// makes another image of the same recipe.
const builderVersion = "1"

// ErrUnknown is the error for a name that is not in Names.
var ErrUnknown = errors.New("runtime is not available here")

// Image is a built runtime.
type Image struct {
	// Name is AWS's identifier, for instance python3.11.
	Name string `json:"name"`
	// Version is this build's name in log lines, for instance
	// python:3.11.v1.
	Version string `json:"version"`
	// Digest is the SHA-256, in hexadecimal, of the image's tree: names,
	// modes, links and contents. Equal trees have equal digests wherever
	// they were built.
	Digest string `json:"digest"`
	// Packages are the Debian packages in the image, as name_version.
	Packages []string `json:"packages"`
	// Size is the length of the file in bytes.
	Size int64 `json:"size"`
	// Path is the image's file: plain ext4, to be mounted read-only.
	Path string `json:"-"`
}

// Store is a directory of images.
type Store struct {
	dir     string
	log     *slog.Logger
	recipes map[string]runtimes.Recipe
	names   []string

	// building holds a token for each runtime: who has it builds. The map
	// itself never changes.
	building map[string]chan struct{}
}

// DefaultDir is where images are kept when nobody says otherwise: what
// CacheEnv names, or a directory in the user's cache.
func DefaultDir() (string, error) {
	if dir := os.Getenv(CacheEnv); dir != "" {
		return dir, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place for runtime images: %w; set %s to a directory", err, CacheEnv)
	}
	return filepath.Join(cache, "hearth", "runtimes"), nil
}

// Open returns the store in dir, which is made if it is not there.
func Open(dir string, log *slog.Logger) (*Store, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("open runtime store: %w", err)
	}
	s := &Store{
		dir: dir, log: log,
		recipes:  make(map[string]runtimes.Recipe),
		building: make(map[string]chan struct{}),
	}
	for _, r := range runtimes.All() {
		s.recipes[r.Name] = r
		s.names = append(s.names, r.Name)
		s.building[r.Name] = make(chan struct{}, 1)
	}
	return s, nil
}

// Names are the runtimes that can be had, in the order to show them in.
func (s *Store) Names() []string { return slices.Clone(s.names) }

// Lookup returns the image of a runtime if it has been built.
func (s *Store) Lookup(name string) (Image, bool) {
	r, ok := s.recipes[name]
	if !ok {
		return Image{}, false
	}
	img, err := s.load(r)
	return img, err == nil
}

// Ensure returns the image of a runtime and builds it first if need be, which
// takes seconds and the network. It calls progress, if that is not nil, with
// one line of text for each step. Callers for the same runtime wait for the
// one that builds.
func (s *Store) Ensure(ctx context.Context, name string, progress func(string)) (Image, error) {
	r, ok := s.recipes[name]
	if !ok {
		return Image{}, fmt.Errorf("%w: %q; available: %s", ErrUnknown, name, strings.Join(s.names, ", "))
	}
	if img, err := s.load(r); err == nil {
		return img, nil
	}
	if progress == nil {
		progress = func(string) {}
	}
	say := func(format string, args ...any) { progress(name + ": " + fmt.Sprintf(format, args...)) }
	release, err := s.acquire(ctx, name, say)
	if err != nil {
		return Image{}, fmt.Errorf("build runtime %s: %w", name, err)
	}
	defer release()
	if img, err := s.load(r); err == nil {
		return img, nil // another caller or process has built it
	}
	began := time.Now()
	img, err := s.build(ctx, r, say)
	if err != nil {
		return Image{}, fmt.Errorf("build runtime %s: %w", name, err)
	}
	say("ready: %d MB in %.1f s", img.Size>>20, time.Since(began).Seconds())
	return img, nil
}

// acquire makes the caller the only builder of a runtime: in this process by
// a token, among processes by a lock on a file.
func (s *Store) acquire(ctx context.Context, name string, say func(string, ...any)) (release func(), err error) {
	token := s.building[name]
	select {
	case token <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	lock, err := os.OpenFile(filepath.Join(s.dir, name+".lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err != nil {
		<-token
		return nil, err
	}
	release = func() {
		_ = lock.Close() // ends the lock
		<-token
	}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for waited := false; ; waited = true {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return release, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			release()
			return nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
		}
		if !waited {
			say("another process builds it; waiting")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			release()
			return nil, context.Cause(ctx)
		}
	}
}

// key names an image by everything that decides what is in it, but for the
// versions of Debian's packages.
func key(r runtimes.Recipe) (string, error) {
	h := sha256.New()
	plain := r
	plain.Files = nil
	text, err := json.Marshal(plain) //nolint:musttag // hashed, never read back
	if err != nil {
		return "", err
	}
	fmt.Fprintf(h, "%s\n%s\n", builderVersion, text)
	for _, tree := range r.Files {
		err := fs.WalkDir(tree, ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			content, err := fs.ReadFile(tree, path)
			fmt.Fprintf(h, "%q %x\n", path, sha256.Sum256(content))
			return err
		})
		if err != nil {
			return "", err
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// load returns the finished image of a recipe.
func (s *Store) load(r runtimes.Recipe) (Image, error) {
	k, err := key(r)
	if err != nil {
		return Image{}, err
	}
	base := filepath.Join(s.dir, r.Name+"-"+k)
	text, err := os.ReadFile(base + ".json")
	if err != nil {
		return Image{}, err
	}
	var img Image
	if err := json.Unmarshal(text, &img); err != nil {
		return Image{}, fmt.Errorf("%s.json: %w", base, err)
	}
	img.Path = base + ".ext4"
	info, err := os.Stat(img.Path)
	if err != nil {
		return Image{}, err
	}
	if info.Size() != img.Size || img.Name != r.Name {
		return Image{}, fmt.Errorf("%s does not fit its description", img.Path)
	}
	return img, nil
}
