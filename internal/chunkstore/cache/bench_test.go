package cache

import (
	"crypto/rand"
	"encoding/binary"
	"testing"

	"hearth/internal/chunk"
	"hearth/internal/chunkstore/disk"
)

const working = 128 // chunks, 64 MiB

func fill(b *testing.B, memory int64) (*Cache, []chunk.Ref) {
	b.Helper()
	root, err := disk.OpenRoot(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	c, err := Open(Config{MemoryBytes: memory, DiskBytes: 1 << 30, QueueBytes: 1 << 30, Disk: root})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	plain := make([]byte, chunk.Size)
	_, _ = rand.Read(plain)
	salt := chunk.Salt{Epoch: 1}
	extra := chunk.NewExtra(&salt, 1, chunk.Common)
	refs := make([]chunk.Ref, working)
	for i := range refs {
		binary.BigEndian.PutUint64(plain, uint64(i))
		name, _, ciphertext := chunk.Seal(nil, extra, plain)
		refs[i] = chunk.Ref{Root: 1, Name: name}
		c.Put(refs[i], ciphertext)
	}
	c.Wait()
	return c, refs
}

func BenchmarkMemory(b *testing.B) {
	c, refs := fill(b, 1<<30)
	b.SetBytes(chunk.Size)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, ok := c.Memory(refs[i%working]); !ok {
			b.Fatal("not there")
		}
		i++
	}
}

// BenchmarkDisk reads files that are in the kernel's page cache, and checks
// them.
func BenchmarkDisk(b *testing.B) {
	c, refs := fill(b, 0)
	b.SetBytes(chunk.Size)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, ok := c.Read(refs[i%working]); !ok {
			b.Fatal("not there")
		}
		i++
	}
}

// BenchmarkCheck is the part of it that hashing takes.
func BenchmarkCheck(b *testing.B) {
	c, refs := fill(b, 1<<30)
	bytes, _ := c.Memory(refs[0])
	b.SetBytes(chunk.Size)
	for b.Loop() {
		if err := chunk.Check(refs[0].Name, bytes); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPut is what a reader pays for keeping what it fetched; writing goes
// on behind it.
func BenchmarkPut(b *testing.B) {
	c, refs := fill(b, 1<<30)
	bytes, _ := c.Memory(refs[0])
	b.SetBytes(chunk.Size)
	b.ReportAllocs()
	var ref chunk.Ref
	i := 0
	for b.Loop() {
		binary.BigEndian.PutUint64(ref.Name[8:], uint64(i))
		c.Put(ref, bytes)
		i++
	}
}

// BenchmarkPolicy references one of 100,000 chunks, a tenth of them resident.
func BenchmarkPolicy(b *testing.B) {
	p := newPolicy[int](10_000, 5)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		refer(p, ref(i*7919%100_000), 1, int64(i))
		i++
	}
}
