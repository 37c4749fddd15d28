package flatten

import (
	"bufio"
	"bytes"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// zstdMemory bounds what the window of a zstd frame may take; zstd itself
// makes windows of up to 8 MiB, and of 128 MiB only when asked for.
const zstdMemory = 128 << 20

// unpack finds out how a layer is packed.
func unpack(r *bufio.Reader) (unpacked io.Reader, stop func(), err error) {
	first, err := r.Peek(4)
	if err != nil && err != io.EOF {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(first, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, nil, damaged(err)
		}
		return z, func() { _ = z.Close() }, nil
	case bytes.Equal(first, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdMemory))
		if err != nil {
			return nil, nil, damaged(err)
		}
		return z, z.Close, nil
	default:
		return r, func() {}, nil
	}
}
