package origin

import (
	"crypto/rand"
	"encoding/binary"
	"testing"

	"hearth/internal/chunk"
)

// chunks makes chunks of full size that differ. Sealing is not measured.
func chunks(b *testing.B, n int) ([]chunk.Ref, [][]byte) {
	b.Helper()
	plain := make([]byte, chunk.Size)
	_, _ = rand.Read(plain)
	salt := chunk.Salt{Epoch: 1}
	extra := chunk.NewExtra(&salt, 1, chunk.Common)
	refs, ciphertexts := make([]chunk.Ref, n), make([][]byte, n)
	for i := range n {
		binary.BigEndian.PutUint64(plain, uint64(i))
		name, _, c := chunk.Seal(nil, extra, plain)
		refs[i], ciphertexts[i] = chunk.Ref{Root: 1, Name: name}, c
	}
	return refs, ciphertexts
}

const working = 256 // chunks, 128 MiB

func benchmarkPut(b *testing.B, store func(*Dir) (put func(int) error, flush func() error)) {
	b.Helper()
	d, err := OpenDir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	put, flush := store(d)
	b.SetBytes(chunk.Size)
	i := 0
	for b.Loop() {
		if i == working {
			b.StopTimer()
			if err := d.DeleteRoot(b.Context(), 1); err != nil {
				b.Fatal(err)
			}
			i = 0
			b.StartTimer()
		}
		if err := put(i); err != nil {
			b.Fatal(err)
		}
		if i++; i%64 == 0 {
			if err := flush(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkPut stores chunks one after the other, each synced by itself.
func BenchmarkPut(b *testing.B) {
	refs, ciphertexts := chunks(b, working)
	benchmarkPut(b, func(d *Dir) (func(int) error, func() error) {
		return func(i int) error {
			_, err := d.PutChunk(b.Context(), refs[i], ciphertexts[i])
			return err
		}, func() error { return nil }
	})
}

// BenchmarkBulk stores them as a build does, 64 at a time.
func BenchmarkBulk(b *testing.B) {
	refs, ciphertexts := chunks(b, working)
	benchmarkPut(b, func(d *Dir) (func(int) error, func() error) {
		bulk := d.NewBulk(64)
		return func(i int) error {
			_, err := bulk.PutChunk(b.Context(), refs[i], ciphertexts[i])
			return err
		}, func() error { return bulk.Flush(b.Context()) }
	})
}

// BenchmarkFound puts chunks that are stored already.
func BenchmarkFound(b *testing.B) {
	refs, ciphertexts := chunks(b, 1)
	d, err := OpenDir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	b.SetBytes(chunk.Size)
	for b.Loop() {
		if _, err := d.PutChunk(b.Context(), refs[0], ciphertexts[0]); err != nil {
			b.Fatal(err)
		}
	}
}
