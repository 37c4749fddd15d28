package flatten

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
)

var (
	// ErrInvalid says that a layer is damaged, or holds what none may hold.
	ErrInvalid = errors.New("layer is not valid")
	// ErrTooLarge says that layers exceed Limits, or what one image can hold.
	ErrTooLarge = errors.New("layers are too large")
)

// Limits bound what layers may hold, all together.
type Limits struct {
	// Bytes is the most that the contents of all files may have, also of those
	// that a later layer hides.
	Bytes int64
	// Entries is the most files, directories and links, implied ones included.
	Entries int
	// Names is the most bytes that names, targets of symbolic links and extended
	// attributes may have.
	Names int
	// Layers is the most layers.
	Layers int
}

// Default is AWS's limit for a container image, "10 GB uncompressed, including
// all layers", and bounds of ours where AWS documents none. The number of
// layers is that of container runtimes.
func Default() Limits {
	return Limits{Bytes: 10 << 30, Entries: 1 << 20, Names: 64 << 20, Layers: 127}
}

// Options are the caller's choices. None of them shows in the image.
type Options struct {
	// Dir is where the temporary file is; it must be on a disk with room for all
	// contents.
	Dir    string
	Limits Limits
}

// Layer is a Tar or a Zip.
type Layer interface {
	add(ctx context.Context, b *builder) error
}

// Stats tell what was flattened.
type Stats struct {
	// Files, Dirs and Links (symbolic) are what is in the image.
	Files, Dirs, Links int
	// Bytes is what was read of contents, Size is the image's length.
	Bytes, Size int64
	// Skipped is how many entries and extended attributes were left out:
	// devices below /dev, and attributes that mean nothing in a container.
	Skipped int
}

// builder is the state of one New.
type builder struct {
	tree    *tree
	spool   *spool
	limits  Limits
	layer   uint16
	cleared map[uint32]struct{}
	left    int64 // bytes of contents
	raw     int64 // bytes of unpacked tars
	skipped int
}

// New flattens layers, the lowest first. The Image must be closed.
func New(ctx context.Context, layers []Layer, o Options) (*Image, error) {
	l := o.Limits
	if len(layers) > min(l.Layers, math.MaxUint16) {
		return nil, fmt.Errorf("flatten: %w: %d layers, at most %d are allowed", ErrTooLarge, len(layers), l.Layers)
	}
	spool, err := newSpool(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("flatten: %w", err)
	}
	b := &builder{
		tree: newTree(l), spool: spool, limits: l, left: l.Bytes,
		raw: l.Bytes + int64(l.Entries)*tarOverhead,
	}
	image, err := b.build(ctx, layers)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("flatten: %w", err), spool.close())
	}
	return image, nil
}

func (b *builder) build(ctx context.Context, layers []Layer) (*Image, error) {
	for i, layer := range layers {
		b.layer = uint16(i + 1)
		b.cleared = make(map[uint32]struct{})
		if err := layer.add(ctx, b); err != nil {
			return nil, fmt.Errorf("layer %d of %d: %w", i+1, len(layers), err)
		}
	}
	return b.finish()
}

// Close gives the temporary file back to the disk.
func (m *Image) Close() error { return m.spool.close() }

// Size is the image's length in bytes, a multiple of the block size.
func (m *Image) Size() int64 { return m.stats.Size }

// Stats tells what is in the image.
func (m *Image) Stats() Stats { return m.stats }

var _ interface {
	ReadAt(p []byte, off int64) (int, error)
} = (*Image)(nil)

func temporary(dir string) (*os.File, error) {
	f, err := os.CreateTemp(dir, ".flatten-")
	if err != nil {
		return nil, err
	}
	// Without a name, nothing has to be swept after a crash.
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
