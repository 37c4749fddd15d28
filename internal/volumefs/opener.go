package volumefs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"hearth/internal/blockfs"
	"hearth/internal/chunk"
	"hearth/internal/volume"
)

// spec tells the blockfs process how to open a volume.
type spec struct {
	// Manifest is the path of a file with the encoded manifest. It is read once.
	Manifest string `json:"manifest"`
	DataKey  []byte `json:"dataKey"`
	Extra    []byte `json:"extra"`
}

// decrypted is how many chunks of a volume are kept decrypted: for reads of a
// part of a chunk, which the next read follows. The kernel caches what it was
// given, and there can be hundreds of volumes.
const decrypted = 2

// Opener opens volumes whose chunks come from a Source.
type Opener struct {
	Source chunk.Source
	// Checked says that the source checks what it returns, as volume.Options has
	// it.
	Checked bool
}

// Open implements blockfs.Opener.
func (o Opener) Open(ctx context.Context, raw json.RawMessage) (blockfs.Volume, error) {
	var s spec
	if err := json.Unmarshal(raw, &s); err != nil || len(s.Extra) != chunk.ExtraSize {
		return nil, errors.New("volumefs: the volume's description cannot be read")
	}
	encoded, err := os.ReadFile(s.Manifest)
	if err != nil {
		return nil, fmt.Errorf("volumefs: %w", err)
	}
	m, err := volume.Decode(encoded)
	if err != nil {
		return nil, err
	}
	keys, err := m.Unseal(ctx, dataKey(s.DataKey))
	if err != nil {
		return nil, err
	}
	extra := chunk.Extra(s.Extra)
	v, err := volume.Open(m, keys, &extra, o.Source, volume.Options{Cached: decrypted, Checked: o.Checked})
	if err != nil {
		return nil, err
	}
	return &opened{Volume: v, source: o.Source}, nil
}

// dataKey is a volume.Sealer for one manifest, whose data key has been
// unwrapped by who may.
type dataKey []byte

// Seal implements volume.Sealer.
func (dataKey) Seal(context.Context, []byte, []byte) ([]byte, error) {
	return nil, errors.ErrUnsupported
}

// Open implements volume.Sealer.
func (k dataKey) Open(context.Context, []byte, []byte) ([]byte, error) { return k, nil }

// opened offers a volume to blockfs.
type opened struct {
	*volume.Volume
	source chunk.Source
}

// ChunkSize implements blockfs.Chunked.
func (o *opened) ChunkSize() int64 { return int64(o.Manifest().ChunkSize) }

// Prefetch implements blockfs.Prefetcher: it brings a chunk into the tiers that
// are near.
func (o *opened) Prefetch(ctx context.Context, index int) error {
	m := o.Manifest()
	if index < 0 || index >= len(m.Entries) || m.Entries[index].Zero {
		return nil
	}
	_, err := o.source.ReadChunk(ctx, chunk.Ref{Root: m.Root, Name: m.Entries[index].Name})
	return err
}

// Close implements blockfs.Volume.
func (*opened) Close() error { return nil }
