package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"hearth/internal/chunk"
)

// Refetcher is a Source that has further tiers to ask.
type Refetcher interface {
	chunk.Source

	// Refetch is called after ReadChunk or Refetch returned what is not the
	// chunk: it drops that copy and brings one from the next tier. Each call
	// goes further; an error ends it.
	Refetch(ctx context.Context, ref chunk.Ref) ([]byte, error)
}

// maxRefetches is how many further tiers are asked for one chunk.
const maxRefetches = 4

// Options are of one Volume.
type Options struct {
	// Cached is how many decrypted chunks are kept, 8 by default: callers read
	// less than a chunk at once, and mostly what follows.
	Cached int
	// Checked says that the source returns nothing that has not passed
	// chunk.Check, but what is kept on this machine: chunk.OpenChecked is enough
	// for both, and costs half.
	Checked bool
	// FirstTouch, if there is one, is called before a stored chunk is read for
	// the first time.
	FirstTouch func(index int)
}

// Volume is a volume that is read chunk by chunk, as far as it is read. It can
// be used by many at once.
type Volume struct {
	manifest *Manifest
	keys     *Keys
	extra    *chunk.Extra
	source   chunk.Source
	options  Options

	mu sync.Mutex
	// plain has the chunks that are decrypted, being decrypted, or in use.
	plain   map[int]*plain
	recent  []*plain // those that are kept though not in use, the oldest first
	free    [][]byte
	touched []bool
	order   []uint32

	fetched, fetchedBytes, integrity atomic.Int64
}

// plain is a decrypted chunk.
type plain struct {
	index int
	ready chan struct{} // closed when bytes or err are there
	bytes []byte
	err   error
	buf   []byte
	users int
}

// Open returns the volume of a manifest. keys must be those that Unseal gave
// for it, and extra that of its Place. src is not trusted.
func Open(m *Manifest, keys *Keys, extra *chunk.Extra, src chunk.Source, o Options) (*Volume, error) {
	if keys.id != m.ID || len(keys.keys) != len(m.Entries) {
		return nil, fmt.Errorf("%w: the keys are of another volume", ErrRefused)
	}
	if !extra.Matches(m.Root, m.Epoch, m.Domain) {
		return nil, fmt.Errorf("%w: its chunks are of another root, epoch or domain", ErrRefused)
	}
	if o.Cached < 1 {
		o.Cached = 8
	}
	return &Volume{
		manifest: m, keys: keys, extra: extra, source: src, options: o,
		plain: make(map[int]*plain), touched: make([]bool, len(m.Entries)),
	}, nil
}

// Size is the volume's length in bytes.
func (v *Volume) Size() int64 { return v.manifest.Size }

// Manifest is what the volume was opened by; it must not be changed.
func (v *Volume) Manifest() *Manifest { return v.manifest }

// Counters tell what reading has cost so far.
type Counters struct {
	// Fetched is how many chunks the source was asked for, FetchedBytes how many
	// bytes it returned, Integrity how often they were not the chunk.
	Fetched, FetchedBytes, Integrity int64
}

// Counters returns the counters.
func (v *Volume) Counters() Counters {
	return Counters{v.fetched.Load(), v.fetchedBytes.Load(), v.integrity.Load()}
}

// Touched lists the stored chunks that were read, in the order of their first
// reads: a recording of Merge.
func (v *Volume) Touched() []uint32 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return append([]uint32(nil), v.order...)
}

// ReadAt reads as io.ReaderAt does. What it does not need, it does not fetch.
func (v *Volume) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("volume: read before the beginning")
	}
	n := 0
	for n < len(p) && off+int64(n) < v.Size() {
		at := off + int64(n)
		index := int(at / int64(v.manifest.ChunkSize))
		within := int(at % int64(v.manifest.ChunkSize))
		part := p[n:min(len(p), n+v.manifest.Length(index)-within)]
		if err := v.readChunk(ctx, part, index, within); err != nil {
			return n, fmt.Errorf("volume: chunk %d: %w", index, err)
		}
		n += len(part)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (v *Volume) readChunk(ctx context.Context, p []byte, index, within int) error {
	if v.manifest.Entries[index].Zero {
		clear(p)
		return nil
	}
	for {
		c, mine := v.take(index)
		if mine {
			v.load(ctx, c)
		}
		select {
		case <-c.ready:
		case <-ctx.Done():
			v.release(c)
			return context.Cause(ctx)
		}
		err := c.err
		if err == nil {
			copy(p, c.bytes[within:])
		}
		v.release(c)
		// Who loads it may have been called off; that is no matter of ours.
		if !mine && ctx.Err() == nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
			continue
		}
		return err
	}
}

// take returns a chunk for use. Who is told that it is theirs must load it.
func (v *Volume) take(index int) (c *plain, mine bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if c := v.plain[index]; c != nil {
		if c.users == 0 {
			v.forget(c)
		}
		c.users++
		return c, false
	}
	c = &plain{index: index, ready: make(chan struct{}), users: 1}
	v.plain[index] = c
	if last := len(v.free) - 1; last >= 0 {
		c.buf, v.free = v.free[last], v.free[:last]
	}
	return c, true
}

// forget takes a chunk from those that are kept.
func (v *Volume) forget(c *plain) {
	for i := range v.recent {
		if v.recent[i] == c {
			v.recent = append(v.recent[:i], v.recent[i+1:]...)
			return
		}
	}
}

// release ends a use. The last user's chunk is kept, and the oldest is dropped.
func (v *Volume) release(c *plain) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if c.users--; c.users > 0 {
		return
	}
	if v.plain[c.index] != c { // it could not be loaded
		v.reuse(c)
		return
	}
	v.recent = append(v.recent, c)
	if len(v.recent) > v.options.Cached {
		oldest := v.recent[0]
		v.recent = append(v.recent[:0], v.recent[1:]...)
		delete(v.plain, oldest.index)
		v.reuse(oldest)
	}
}

func (v *Volume) reuse(c *plain) {
	if c.buf != nil && len(v.free) < v.options.Cached {
		v.free = append(v.free, c.buf)
	}
	c.buf, c.bytes = nil, nil
}

// load fetches and decrypts a chunk for all who wait for it.
func (v *Volume) load(ctx context.Context, c *plain) {
	defer close(c.ready)
	v.touch(c.index)
	if c.buf == nil {
		c.buf = make([]byte, chunk.ExtraSize+v.manifest.ChunkSize)
	}
	c.bytes, c.err = v.fetch(ctx, c.index, c.buf)
	if c.err != nil {
		v.mu.Lock()
		delete(v.plain, c.index)
		v.mu.Unlock()
	}
}

func (v *Volume) touch(index int) {
	v.mu.Lock()
	first := !v.touched[index]
	if first {
		v.touched[index] = true
		v.order = append(v.order, uint32(index)) //nolint:gosec // less than MaxChunks
	}
	v.mu.Unlock()
	if first && v.options.FirstTouch != nil {
		v.options.FirstTouch(index)
	}
}

// fetch asks the source's tiers for a chunk until one has it unharmed.
func (v *Volume) fetch(ctx context.Context, index int, buf []byte) ([]byte, error) {
	ref := chunk.Ref{Root: v.manifest.Root, Name: v.manifest.Entries[index].Name}
	ciphertext, err := v.source.ReadChunk(ctx, ref)
	for tries := 0; ; tries++ {
		if err != nil {
			return nil, err
		}
		v.fetched.Add(1)
		v.fetchedBytes.Add(int64(len(ciphertext)))
		open := chunk.OpenIn
		if v.options.Checked {
			open = chunk.OpenChecked
		}
		plain, err2 := open(buf, ref.Name, &v.keys.keys[index], v.extra, ciphertext)
		if err2 == nil && len(plain) != v.manifest.Length(index) {
			err2 = fmt.Errorf("%w: %s has %d bytes, want %d", chunk.ErrIntegrity, ref.Name, len(plain), v.manifest.Length(index))
		}
		if err2 == nil {
			return plain, nil
		}
		v.integrity.Add(1)
		further, ok := v.source.(Refetcher)
		if !ok || tries == maxRefetches {
			return nil, err2
		}
		if ciphertext, err = further.Refetch(ctx, ref); err != nil {
			return nil, errors.Join(err2, err)
		}
	}
}
