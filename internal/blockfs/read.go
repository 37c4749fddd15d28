package blockfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"sync"
)

// maxRead is the longest read that the kernel asks for.
const maxRead = 1 << 20

// minBuffer is the size of the smallest buffers.
const minBuffer = 4 << 10

// buffers are pools of buffers by their size, each twice as large as the one
// before. Reads do not use those of the FUSE library: a source that has been
// given up on may still write to its buffer, which then must not be another
// read's.
var buffers [9]sync.Pool

type buffer struct {
	data []byte
	pool *sync.Pool
}

// getBuffer returns a buffer of n bytes, at most maxRead.
func getBuffer(n int) *buffer {
	class := bits.Len(uint((max(n, 1) - 1) / minBuffer))
	pool := &buffers[class]
	b, ok := pool.Get().(*buffer)
	if !ok {
		b = &buffer{data: make([]byte, minBuffer<<class), pool: pool}
	}
	b.data = b.data[:n]
	return b
}

func (b *buffer) free() {
	b.data = b.data[:cap(b.data)]
	b.pool.Put(b)
}

// errStalled says that a source has not answered in time.
var errStalled = errors.New("the source does not answer")

// errInterrupted says that who was to get the bytes does not wait any more.
var errInterrupted = errors.New("interrupted")

// read returns the bytes at an offset, fewer at the volume's end. The caller
// frees the buffer.
func (v *volume) read(interrupted <-chan struct{}, off int64, n int) (*buffer, error) {
	v.counts.reads.Add(1)
	if off < 0 || off >= v.size || n <= 0 {
		return getBuffer(0), nil
	}
	n = int(min(int64(n), maxRead, v.size-off))
	if ahead := v.touch(off, n); len(ahead) > 0 {
		v.follow(ahead)
	}
	b, err := v.bounded(interrupted, off, n)
	switch {
	case err == nil:
		v.counts.bytes.Add(int64(n))
		return b, nil
	case errors.Is(err, errInterrupted):
		return nil, err
	}
	v.failed(err)
	return nil, err
}

// bounded reads from the source, but no longer than the timeout.
func (v *volume) bounded(interrupted <-chan struct{}, off int64, n int) (*buffer, error) {
	ctx, cancel := context.WithTimeoutCause(v.ctx, v.timeout, errStalled)
	defer cancel()
	select {
	case v.slots <- struct{}{}:
	case <-interrupted:
		return nil, errInterrupted
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	b, result := getBuffer(n), make(chan error, 1)
	v.calls.Go(func() {
		defer func() { <-v.slots }()
		result <- fill(ctx, v.source, b.data, off)
	})
	select {
	case err := <-result:
		if err == nil {
			return b, nil
		}
		b.free()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	case <-interrupted:
		return nil, errInterrupted
	case <-ctx.Done():
		return nil, context.Cause(ctx) // the buffer is the source's for good
	}
}

func fill(ctx context.Context, source Volume, p []byte, off int64) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the source has panicked: %v", p)
		}
	}()
	n, err := source.ReadAt(ctx, p, off)
	if n == len(p) {
		return nil // also with io.EOF, as io.ReaderAt says
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = fmt.Errorf("the source has %d bytes at %d, not %d: %w", n, off, len(p), io.ErrUnexpectedEOF)
	}
	return err
}
