package origin

import (
	"context"
	"fmt"
	"sync"

	"hearth/internal/chunk"
)

// Bulk stores many chunks in a Dir, as a build does, and syncs them a batch at
// a time. Nothing it has taken is promised before Flush has returned nil. It may
// be used concurrently, except that Flush and Close come after all puts.
type Bulk struct {
	dir  *Dir
	size int

	mu      sync.Mutex
	taken   map[chunk.Ref]bool // not yet committed
	pending []*pending
	err     error
}

// NewBulk begins to store chunks, size of them at a time; 64 if zero. Up to so
// many are on disk twice after a crash, until the next OpenDir.
func (d *Dir) NewBulk(size int) *Bulk {
	if size <= 0 {
		size = 64
	}
	return &Bulk{dir: d, size: size, taken: make(map[chunk.Ref]bool)}
}

// ReadChunk implements chunk.Source. Chunks that are not flushed yet may be
// missing.
func (b *Bulk) ReadChunk(ctx context.Context, ref chunk.Ref) ([]byte, error) {
	return b.dir.ReadChunk(ctx, ref)
}

// Distrust has the directory look at a chunk again; see Dir.Distrust.
func (b *Bulk) Distrust(ctx context.Context, ref chunk.Ref) (set bool, err error) {
	return b.dir.Distrust(ctx, ref)
}

// PutChunk implements chunk.Store but for what Flush promises. After an error
// all further ones fail.
func (b *Bulk) PutChunk(ctx context.Context, ref chunk.Ref, ciphertext []byte) (stored bool, err error) {
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if err := check(ref, ciphertext); err != nil {
		return false, fmt.Errorf("put chunk: %w", err)
	}
	b.mu.Lock()
	err, taken := b.err, b.taken[ref]
	b.taken[ref] = true
	b.mu.Unlock()
	if err != nil || taken {
		return false, err
	}
	p := &pending{ref: ref}
	there, err := b.dir.there(ref, len(ciphertext))
	if err == nil && !there {
		err = b.dir.write(p, ciphertext)
	}
	if err != nil || there {
		b.mu.Lock()
		delete(b.taken, ref)
		if b.err == nil {
			b.err = err
		}
		b.mu.Unlock()
		return false, err
	}
	b.mu.Lock()
	b.pending = append(b.pending, p)
	enough := len(b.pending) >= b.size
	b.mu.Unlock()
	if enough {
		return true, b.Flush(ctx)
	}
	return true, nil
}

// Flush makes all chunks that were put durable and visible.
func (b *Bulk) Flush(context.Context) error {
	b.mu.Lock()
	batch, err := b.pending, b.err
	b.pending = nil
	b.mu.Unlock()
	if len(batch) == 0 || err != nil {
		b.drop(batch)
		return err
	}
	b.dir.commits.Lock()
	err = b.dir.commit(batch)
	b.dir.commits.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range batch {
		delete(b.taken, p.ref)
	}
	if b.err == nil {
		b.err = err
	}
	return b.err
}

// Close gives up what was not flushed.
func (b *Bulk) Close() {
	b.mu.Lock()
	batch := b.pending
	b.pending = nil
	b.mu.Unlock()
	b.drop(batch)
}

func (b *Bulk) drop(batch []*pending) {
	for _, p := range batch {
		_ = b.dir.disk.Remove(p.temp) // or else the next OpenDir does it
	}
}
