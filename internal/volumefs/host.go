package volumefs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"hearth/internal/artifact"
	"hearth/internal/blockfs"
	"hearth/internal/chunk"
	"hearth/internal/function"
)

// Finder finds volumes.
type Finder interface {
	// Find calls hold with the root of the manifest that it reads, before the
	// volume can be moved to another.
	Find(ctx context.Context, ref artifact.Ref, hold func(chunk.Root)) (*artifact.Volume, error)
	Record(ctx context.Context, ref artifact.Ref, touched []uint32) error
}

// Host mounts volumes on this machine.
type Host struct {
	finder Finder
	client *blockfs.Client
	dir    string
	log    *slog.Logger

	mu sync.Mutex
	// reading counts, for each root, the volumes that are open.
	reading map[chunk.Root]int
	// shown are the volumes that blockfs shows, by their ids.
	shown map[string]*shown
}

// shown is what is known of a volume that is open: of which objects it is, and
// how many of its reads had failed when that was last looked at.
type shown struct {
	objects map[string]int // how often it is open as each
	failed  int64
}

// manifestPrefix begins the names of the files by which blockfs is given
// manifests.
const manifestPrefix = "manifest-"

// NewHost makes a Host over a started client. Short-lived files are in dir,
// where it removes those that a killed Host has left.
func NewHost(finder Finder, client *blockfs.Client, dir string, log *slog.Logger) (*Host, error) {
	left, err := filepath.Glob(filepath.Join(dir, manifestPrefix+"*"))
	if err != nil {
		return nil, fmt.Errorf("volumefs: %w", err)
	}
	for _, file := range left {
		if err := os.Remove(file); err != nil {
			return nil, fmt.Errorf("volumefs: %w", err)
		}
	}
	return &Host{finder: finder, client: client, dir: dir, log: log, reading: make(map[chunk.Root]int), shown: make(map[string]*shown)}, nil
}

// Volume is a volume that is open on this machine.
type Volume struct {
	host    *Host
	ref     artifact.Ref
	id      string
	root    chunk.Root
	held    bool // it is counted in Host.reading
	lease   *blockfs.Lease
	image   *function.ImageConfig
	release sync.Once
}

// Open finds a volume, or has it built, and has blockfs show it.
func (h *Host) Open(ctx context.Context, ref artifact.Ref) (_ *Volume, err error) {
	v := &Volume{host: h, ref: ref}
	defer func() {
		if err != nil {
			v.letGo()
		}
	}()
	found, err := h.finder.Find(ctx, ref, v.hold)
	if err != nil {
		return nil, err
	}
	v.id, v.image = found.Manifest.ID.String(), found.Image
	file, err := h.manifest(found.Encoded)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.Remove(file)) }()
	s, err := json.Marshal(spec{Manifest: file, DataKey: found.DataKey, Extra: found.Extra[:]})
	if err != nil {
		return nil, fmt.Errorf("volumefs: %w", err)
	}
	if v.lease, err = h.client.Open(ctx, v.id, s); err != nil {
		return nil, err
	}
	h.show(v)
	h.prefetch(ctx, v, found.Profile)
	return v, nil
}

// prefetch has blockfs fetch what starts touch. That it cannot costs time only.
func (h *Host) prefetch(ctx context.Context, v *Volume, profile []uint32) {
	if len(profile) == 0 {
		return
	}
	chunks := make([]int, len(profile))
	for i, c := range profile {
		chunks[i] = int(c)
	}
	if _, err := h.client.Prefetch(ctx, v.id, chunks); err != nil {
		h.log.LogAttrs(ctx, slog.LevelWarn, "volumefs: nothing is fetched ahead",
			slog.String("object", v.ref.Object), slog.Any("error", err))
	}
}

// manifest writes a manifest where blockfs can read it.
func (h *Host) manifest(encoded []byte) (path string, err error) {
	f, err := os.CreateTemp(h.dir, manifestPrefix)
	if err != nil {
		return "", fmt.Errorf("volumefs: %w", err)
	}
	_, err = f.Write(encoded)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("volumefs: %w", err), os.Remove(f.Name()))
	}
	return f.Name(), nil
}

func (h *Host) count(root chunk.Root, n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reading[root] += n; h.reading[root] == 0 {
		delete(h.reading, root)
	}
}

// hold counts the volume for a root, and no longer for another.
func (v *Volume) hold(root chunk.Root) {
	v.host.count(root, 1)
	v.letGo()
	v.root, v.held = root, true
}

func (v *Volume) letGo() {
	if v.held {
		v.host.count(v.root, -1)
	}
	v.held = false
}

// Reading says whether volumes of a root are open, or being opened.
func (h *Host) Reading(root chunk.Root) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reading[root] > 0
}

// Mount mounts the volume, read-only, at a directory that it makes.
func (v *Volume) Mount(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("volumefs: %w", err)
	}
	if err := v.lease.Mount(dir); err != nil {
		return errors.Join(err, os.Remove(dir))
	}
	return nil
}

// Size is the volume's, in bytes.
func (v *Volume) Size() int64 { return v.lease.Size() }

// Image is what a container image says itself; nil for an archive.
func (v *Volume) Image() *function.ImageConfig { return v.image }

// Lost is closed when what is mounted of the volume cannot be read any more.
func (v *Volume) Lost() <-chan struct{} { return v.lease.Lost() }

// Started is called when a function has been started from the volume: what was
// read up to now is what the next start is likely to read.
func (v *Volume) Started(ctx context.Context) {
	err := v.record(ctx)
	if err != nil && !errors.Is(err, blockfs.ErrLost) {
		v.host.log.LogAttrs(ctx, slog.LevelWarn, "volumefs: a start is not recorded",
			slog.String("object", v.ref.Object), slog.Any("error", err))
	}
}

func (v *Volume) record(ctx context.Context) error {
	stats, err := v.host.client.Stats(ctx, v.id)
	if err != nil {
		return err
	}
	touched := make([]uint32, 0, len(stats.Touched))
	for _, c := range stats.Touched {
		touched = append(touched, uint32(c)) //nolint:gosec // a chunk's number
	}
	return v.host.finder.Record(ctx, v.ref, touched)
}

// Release gives the volume back; whatever was mounted of it must be unmounted.
// It may be repeated.
func (v *Volume) Release(ctx context.Context) error {
	err := v.lease.Release(ctx)
	v.release.Do(func() {
		v.host.hide(v)
		v.letGo()
	})
	return err
}
