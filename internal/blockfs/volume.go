package blockfs

import (
	"context"
	"encoding/json"
)

// Opener makes volumes of what clients say about them.
type Opener interface {
	// Open makes a volume. The spec is what a client has sent, not checked by
	// anybody. It may hold keys: no error may tell of its content.
	Open(ctx context.Context, spec json.RawMessage) (Volume, error)
}

// Volume is an immutable range of bytes. Its methods are called concurrently.
// One that is also a Chunked, Prefetcher or Toucher is used as such.
type Volume interface {
	// Size is in bytes, a multiple of SectorSize, and never changes.
	Size() int64
	// ReadAt fills p, as io.ReaderAt does. A context that ends says that
	// nobody waits any more.
	ReadAt(ctx context.Context, p []byte, off int64) (int, error)
	// Close is called once, when no call of another method is under way.
	Close() error
}

// Chunked volumes say how large their chunks are; others count by
// DefaultChunkSize.
type Chunked interface{ ChunkSize() int64 }

// Prefetcher volumes can be asked for a chunk that nobody has read yet.
type Prefetcher interface {
	Prefetch(ctx context.Context, chunk int) error
}

// Toucher volumes are told when a chunk is read for the first time. Touched
// must not wait.
type Toucher interface{ Touched(chunk int) }

const (
	// SectorSize divides the size of each volume: it is that of the devices.
	SectorSize = 512
	// DefaultChunkSize is the size of chunks of volumes that are not Chunked.
	DefaultChunkSize = 512 << 10
	// MaxSize bounds volumes, and with it what is kept to count chunks.
	MaxSize = 1 << 44
)
