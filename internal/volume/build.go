package volume

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"hearth/internal/chunk"
)

// Params say how a volume is built. Zero values of the numbers mean defaults.
type Params struct {
	Place

	// Extra must be of Place.
	Extra *chunk.Extra
	Store chunk.Store
	// ChunkSize is chunk.Size by default.
	ChunkSize int
	// Sealers is how many chunks are read and encrypted at once, GOMAXPROCS by
	// default; Puts is how many are stored at once, 8 by default. Each holds a
	// chunk in memory.
	Sealers, Puts int
	// Progress, if there is one, is called after each chunk with its bytes, and
	// how many of them the store did not have before, by several goroutines.
	Progress func(done, stored int)
}

// Stats tell what was built.
type Stats struct {
	// Bytes is the volume's size.
	Bytes int64
	// Chunks is how many it has, Zero how many are of zeros, Stored how many the
	// store did not have before, StoredBytes how long those are encrypted.
	Chunks, Zero, Stored int
	StoredBytes          int64
}

// Build cuts what image holds into chunks, encrypts them and stores them. The
// image is read by several goroutines, each chunk once. The store must not
// keep a ciphertext that it was given after it has returned.
//
// Chunks that were stored stay when Build fails: they are garbage of their
// root like others.
func Build(ctx context.Context, image io.ReaderAt, size int64, p Params) (*Manifest, *Keys, Stats, error) {
	p.setDefaults()
	g := Geometry{ChunkSize: p.ChunkSize, Size: size}
	err := g.check()
	if err == nil && (len(p.Domain) < 1 || len(p.Domain) > maxDomain) {
		err = fmt.Errorf("a domain of %d bytes", len(p.Domain))
	}
	if err == nil && !p.Extra.Matches(p.Root, p.Epoch, p.Domain) {
		err = errors.New("the extra is of another place")
	}
	if err != nil {
		return nil, nil, Stats{}, fmt.Errorf("volume: build: %w", err)
	}
	b := &build{
		Params: p, image: image,
		manifest: &Manifest{Geometry: g, Place: p.Place, Entries: make([]Entry, g.Chunks())},
		keys:     &Keys{keys: make([]chunk.Key, g.Chunks())},
	}
	if err := b.run(ctx); err != nil {
		return nil, nil, Stats{}, fmt.Errorf("volume: build: %w", err)
	}
	b.manifest.ID = b.manifest.computeID()
	b.keys.id = b.manifest.ID
	return b.manifest, b.keys, Stats{
		Bytes: size, Chunks: len(b.manifest.Entries), Zero: int(b.zero.Load()),
		Stored: int(b.stored.Load()), StoredBytes: b.storedBytes.Load(),
	}, nil
}

func (p *Params) setDefaults() {
	if p.ChunkSize == 0 {
		p.ChunkSize = chunk.Size
	}
	if p.Sealers < 1 {
		p.Sealers = runtime.GOMAXPROCS(0)
	}
	if p.Puts < 1 {
		p.Puts = 8
	}
}

type build struct {
	Params

	image    io.ReaderAt
	manifest *Manifest
	keys     *Keys

	next                      atomic.Int64
	zero, stored, storedBytes atomic.Int64
}

type sealed struct {
	name       chunk.Name
	ciphertext []byte
	buf        []byte
}

// run has sealers take chunk after chunk, and putters take what they sealed.
// Buffers go round: there is one for each of them. The first error calls the
// others off.
func (b *build) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	buffers := make(chan []byte, b.Sealers+b.Puts)
	for range cap(buffers) {
		buffers <- nil // made when first used
	}
	ready := make(chan sealed)
	var sealers, putters sync.WaitGroup
	for range b.Sealers {
		sealers.Go(func() {
			for b.sealNext(ctx, cancel, buffers, ready) {
			}
		})
	}
	for range b.Puts {
		putters.Go(func() {
			for s := range ready {
				if ctx.Err() == nil {
					b.put(ctx, cancel, s)
				}
				buffers <- s.buf
			}
		})
	}
	sealers.Wait()
	close(ready)
	putters.Wait()
	return context.Cause(ctx)
}

// sealNext seals a chunk and says whether there may be more.
func (b *build) sealNext(ctx context.Context, cancel context.CancelCauseFunc, buffers chan []byte, ready chan<- sealed) bool {
	var buf []byte
	select {
	case buf = <-buffers:
	case <-ctx.Done():
		return false
	}
	if buf == nil {
		buf = make([]byte, b.ChunkSize+chunk.Overhead)
	}
	s, err := b.seal(int(b.next.Add(1)-1), buf)
	if err != nil {
		cancel(err)
	}
	if err != nil || s.buf == nil {
		return false
	}
	if s.ciphertext == nil {
		buffers <- buf
		return true
	}
	select {
	case ready <- s:
		return true
	case <-ctx.Done():
		return false
	}
}

// seal reads a chunk and encrypts it, unless it is of zeros. Past the last one,
// it returns nothing.
func (b *build) seal(index int, buf []byte) (sealed, error) {
	if index >= len(b.manifest.Entries) {
		return sealed{}, nil
	}
	length := b.manifest.Length(index)
	room := buf[:chunk.ExtraSize+length]
	plain := room[chunk.ExtraSize:]
	if err := readFull(b.image, plain, int64(index)*int64(b.ChunkSize)); err != nil {
		return sealed{}, err
	}
	if isZero(plain) {
		b.manifest.Entries[index].Zero = true
		b.zero.Add(1)
		b.progress(length, 0)
		return sealed{buf: buf}, nil
	}
	name, key, ciphertext := chunk.SealInPlace(room, b.Extra)
	b.manifest.Entries[index].Name, b.keys.keys[index] = name, key
	return sealed{name, ciphertext, buf}, nil
}

func (b *build) put(ctx context.Context, cancel context.CancelCauseFunc, s sealed) {
	isNew, err := b.Store.PutChunk(ctx, chunk.Ref{Root: b.Root, Name: s.name}, s.ciphertext)
	if err != nil {
		cancel(fmt.Errorf("store chunk %s: %w", s.name, err))
		return
	}
	length, stored := len(s.ciphertext)-chunk.Overhead, 0
	if isNew {
		b.stored.Add(1)
		b.storedBytes.Add(int64(len(s.ciphertext)))
		stored = length
	}
	b.progress(length, stored)
}

func (b *build) progress(done, stored int) {
	if b.Progress != nil {
		b.Progress(done, stored)
	}
}

func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	switch {
	case n == len(p):
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return io.ErrUnexpectedEOF
	default:
		return err
	}
}

var zeros [64 << 10]byte

func isZero(p []byte) bool {
	for len(p) > 0 {
		n := min(len(p), len(zeros))
		if !bytes.Equal(p[:n], zeros[:n]) {
			return false
		}
		p = p[n:]
	}
	return true
}
