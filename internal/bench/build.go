package bench

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"hearth/internal/chunk"
	"hearth/internal/chunkstore/origin"
	"hearth/internal/flatten"
	"hearth/internal/volume"
)

// Built is what making volumes of images has cost. A process of its own makes
// them, so that its memory is theirs.
type Built struct {
	MB int `json:"mb"`
	// Took is one build whose chunks are thrown away, Durable one that writes
	// them to the disk.
	Took    time.Duration `json:"took"`
	Durable time.Duration `json:"durable"`
	// Chunks are those of the image, Again those that a second build of it has
	// stored, Changed those that a version with another file has.
	Chunks  int `json:"chunks"`
	Again   int `json:"again"`
	Changed int `json:"changed"`
	// PeakMB is the most resident memory.
	PeakMB int `json:"peakMB"`
}

// Rate is megabytes a second.
func (b *Built) Rate(took time.Duration) float64 { return float64(b.MB) / took.Seconds() }

// names remembers which chunks were stored, and forgets the chunks.
type names struct {
	mu   sync.Mutex
	have map[chunk.Name]struct{}
}

// ReadChunk implements chunk.Store.
func (*names) ReadChunk(context.Context, chunk.Ref) ([]byte, error) { return nil, chunk.ErrNotFound }

// PutChunk implements chunk.Store.
func (n *names) PutChunk(_ context.Context, ref chunk.Ref, _ []byte) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, had := n.have[ref.Name]
	n.have[ref.Name] = struct{}{}
	return !had, nil
}

// buildVolume flattens, cuts and encrypts an image.
func buildVolume(ctx context.Context, p picture, store chunk.Store, temp string) (volume.Stats, error) {
	image, err := flatten.New(ctx, []flatten.Layer{flatten.Tar{Open: p.open}}, flatten.Options{Dir: temp, Limits: flatten.Default()})
	if err != nil {
		return volume.Stats{}, err
	}
	place := volume.Place{Root: 1, Domain: chunk.AccountDomain("000000000000")}
	_, _, stats, err := volume.Build(ctx, image, image.Size(), volume.Params{
		Place: place, Extra: chunk.NewExtra(&chunk.Salt{}, place.Root, place.Domain), Store: store,
	})
	return stats, errors.Join(err, image.Close())
}

// Build makes volumes of images of some MB, and measures that.
func Build(ctx context.Context, mb int) (_ *Built, err error) {
	temp, err := os.MkdirTemp("", "hearth-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	p := picture{files: mb << 20 / fileSize}
	b := &Built{MB: mb}
	store := &names{have: make(map[chunk.Name]struct{})}
	stats, took, err := timed(func() (volume.Stats, error) { return buildVolume(ctx, p, store, temp) })
	if err != nil {
		return nil, err
	}
	b.Took, b.Chunks = took, stats.Chunks-stats.Zero
	if stats, err = buildVolume(ctx, p, store, temp); err != nil {
		return nil, err
	}
	b.Again = stats.Stored
	changed := p
	changed.changed = p.files / 2
	if stats, err = buildVolume(ctx, changed, store, temp); err != nil {
		return nil, err
	}
	b.Changed = stats.Stored
	if b.Durable, err = buildDurably(ctx, p, temp); err != nil {
		return nil, err
	}
	b.PeakMB, err = statusMB(os.Getpid(), "VmHWM:")
	return b, err
}

func buildDurably(ctx context.Context, p picture, temp string) (took time.Duration, err error) {
	chunks := filepath.Join(temp, "chunks")
	if err := os.Mkdir(chunks, 0o700); err != nil {
		return 0, err
	}
	dir, err := origin.OpenDir(chunks)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	bulk := dir.NewBulk(0)
	defer bulk.Close()
	_, took, err = timed(func() (volume.Stats, error) {
		stats, err := buildVolume(ctx, p, bulk, temp)
		if err != nil {
			return stats, err
		}
		return stats, bulk.Flush(ctx)
	})
	return took, err
}

func timed[T any](do func() (T, error)) (T, time.Duration, error) {
	clock := time.Now()
	v, err := do()
	return v, time.Since(clock), err
}
