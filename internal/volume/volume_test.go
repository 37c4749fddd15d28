package volume_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"

	"hearth/internal/chunk"
	"hearth/internal/volume"
)

// TestReadAt reads ranges of random volumes, by a cache of any size.
func TestReadAt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		length := rapid.IntRange(1, 6*size).Draw(rt, "length")
		b := content(length)
		for i := range (length + size - 1) / size {
			if rapid.Bool().Draw(rt, "zero") {
				clear(b[i*size : min(length, (i+1)*size)])
			}
		}
		s := newStore()
		m, keys := built(t, s, b)
		v := opened(t, s, m, keys, volume.Options{Cached: rapid.IntRange(1, 4).Draw(rt, "cached")})
		want := make(map[chunk.Name]bool)
		var order []uint32
		for range rapid.IntRange(1, 8).Draw(rt, "reads") {
			off := rapid.IntRange(0, length+10).Draw(rt, "off")
			p := make([]byte, rapid.IntRange(0, 3*size).Draw(rt, "n"))
			n, err := v.ReadAt(t.Context(), p, int64(off))
			end := min(length, off+len(p))
			if wantN := max(0, end-off); n != wantN || errors.Is(err, io.EOF) != (n < len(p)) || err != nil && !errors.Is(err, io.EOF) || n > 0 && !bytes.Equal(p[:n], b[off:end]) {
				rt.Fatalf("%d bytes at %d of %d: got %d, %v", len(p), off, length, n, err)
			}
			for at := off; at < end; at = at/size*size + size {
				if i := uint32(at / size); !m.Entries[i].Zero {
					want[m.Entries[i].Name] = true
					if !slices.Contains(order, i) {
						order = append(order, i)
					}
				}
			}
		}
		for _, ref := range s.asked {
			if !want[ref.Name] {
				rt.Errorf("%s was fetched and not needed", ref)
			}
		}
		if got := v.Touched(); !slices.Equal(got, order) {
			rt.Errorf("touched %v, want %v", got, order)
		}
	})
}

// TestBadChunks spoils what the first tiers return.
func TestBadChunks(t *testing.T) {
	b := content(2*size, 1)
	for what, spoil := range map[string]func([]byte) []byte{
		"flipped":   func(c []byte) []byte { c[len(c)/2] ^= 1; return c },
		"truncated": func(c []byte) []byte { return c[:len(c)-1] },
		"empty":     func([]byte) []byte { return nil },
		"longer":    func(c []byte) []byte { return append(c, 0) },
		"huge":      func([]byte) []byte { return make([]byte, chunk.MaxSize+chunk.Overhead+1) },
	} {
		for tiers := range 4 {
			s := newStore()
			m, keys := built(t, s, b)
			s.spoil = func(tier int, c []byte) []byte {
				if tier < tiers {
					return spoil(c)
				}
				return c
			}
			v := opened(t, tiered{s}, m, keys, volume.Options{})
			p := make([]byte, size)
			n, err := v.ReadAt(t.Context(), p, 0)
			if tiers < 3 {
				if err != nil || !bytes.Equal(p, b[:size]) {
					t.Errorf("%s in %d tiers: got %v", what, tiers, err)
				}
			} else if !errors.Is(err, chunk.ErrIntegrity) || !errors.Is(err, errNoMore) || n != 0 || !bytes.Equal(p, make([]byte, size)) {
				t.Errorf("%s in all tiers: got %d, %v", what, n, err)
			}
			if got := v.Counters().Integrity; got != int64(tiers) {
				t.Errorf("%s in %d tiers: %d integrity failures were counted", what, tiers, got)
			}
			s.spoil = nil
			if _, err := v.ReadAt(t.Context(), p, 0); err != nil || !bytes.Equal(p, b[:size]) {
				t.Errorf("%s: it was not asked for again: %v", what, err)
			}
			// Without further tiers it is an error at once.
			s.spoil = func(_ int, c []byte) []byte { return spoil(c) }
			v = opened(t, s, m, keys, volume.Options{})
			if _, err := v.ReadAt(t.Context(), p, 0); !errors.Is(err, chunk.ErrIntegrity) {
				t.Errorf("%s without tiers: got %v", what, err)
			}
		}
	}
}

// TestChecked: what a source has checked is not hashed again, but what the key
// does not open is refused all the same.
func TestChecked(t *testing.T) {
	b := content(2*size, 1)
	s := newStore()
	m, keys := built(t, s, b)
	v := opened(t, s, m, keys, volume.Options{Checked: true})
	p := make([]byte, size)
	if _, err := v.ReadAt(t.Context(), p, 0); err != nil || !bytes.Equal(p, b[:size]) {
		t.Errorf("got %v", err)
	}
	for what, spoil := range map[string]func([]byte) []byte{
		"flipped": func(c []byte) []byte { c[len(c)/2] ^= 1; return c },
		"empty":   func([]byte) []byte { return nil },
		"huge":    func([]byte) []byte { return make([]byte, chunk.MaxSize+chunk.Overhead+1) },
	} {
		s.spoil = func(_ int, c []byte) []byte { return spoil(c) }
		v = opened(t, s, m, keys, volume.Options{Checked: true})
		if _, err := v.ReadAt(t.Context(), p, 0); !errors.Is(err, chunk.ErrIntegrity) {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

// TestSwappedChunks: every chunk is a good one, of somewhere else.
func TestSwappedChunks(t *testing.T) {
	s := newStore()
	b := content(3*size - 100)
	m, keys := built(t, s, b)
	one, two := chunk.Ref{Root: root, Name: m.Entries[0].Name}, chunk.Ref{Root: root, Name: m.Entries[1].Name}
	s.all[one], s.all[two] = s.all[two], s.all[one]
	v := opened(t, s, m, keys, volume.Options{})
	if n, err := v.ReadAt(t.Context(), make([]byte, size), 0); !errors.Is(err, chunk.ErrIntegrity) || n != 0 {
		t.Errorf("swapped: got %d, %v", n, err)
	}
	// What is good until then is read.
	s.all[one], s.all[two] = s.all[two], s.all[one]
	delete(s.all, two)
	p := make([]byte, 2*size)
	if n, err := v.ReadAt(t.Context(), p, 0); n != size || !errors.Is(err, chunk.ErrNotFound) || !bytes.Equal(p[:size], b[:size]) {
		t.Errorf("missing: got %d, %v", n, err)
	}
}

// TestSharedLoads has many read one chunk, the first of whom is called off.
func TestSharedLoads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		b := content(size)
		m, keys := built(t, s, b)
		s.gate = make(chan struct{})
		touched := 0
		v := opened(t, s, m, keys, volume.Options{FirstTouch: func(int) { touched++ }})
		ctx, cancel := context.WithCancel(t.Context())
		var first error
		go func() { _, first = v.ReadAt(ctx, make([]byte, 1), 0) }()
		synctest.Wait()
		var good atomic.Int64
		for range 20 {
			go func() {
				p := make([]byte, size)
				if _, err := v.ReadAt(t.Context(), p, 0); err == nil && bytes.Equal(p, b) {
					good.Add(1)
				}
			}()
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		if !errors.Is(first, context.Canceled) {
			t.Errorf("who was called off got %v", first)
		}
		close(s.gate)
		synctest.Wait()
		if good.Load() != 20 || len(s.asked) != 1 || touched != 1 {
			t.Errorf("%d of 20 read it, asked for %d times, touched %d times", good.Load(), len(s.asked), touched)
		}
	})
}

// TestWrongLength: a chunk that is good and not as long as the manifest says.
func TestWrongLength(t *testing.T) {
	s := newStore()
	m, keys := built(t, s, content(size+100))
	m.Size += 50
	v := opened(t, s, m, keys, volume.Options{})
	p := make([]byte, 10)
	if n, err := v.ReadAt(t.Context(), p, size); !errors.Is(err, chunk.ErrIntegrity) || n != 0 {
		t.Errorf("got %d, %v", n, err)
	}
}

// TestConcurrentReads runs under the race detector.
func TestConcurrentReads(t *testing.T) {
	s := newStore()
	b := content(20*size, 3, 4)
	m, keys := built(t, s, b)
	v := opened(t, s, m, keys, volume.Options{Cached: 3})
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			p := make([]byte, 3*size/2)
			for i := range 200 {
				off := (i*7919 + g*104729) % (len(b) - len(p))
				if _, err := v.ReadAt(t.Context(), p, int64(off)); err != nil || !bytes.Equal(p, b[off:off+len(p)]) {
					t.Errorf("at %d: %v", off, err)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestReadCosts(t *testing.T) {
	s := newStore()
	m, keys := built(t, s, content(4*size, 2))
	v := opened(t, s, m, keys, volume.Options{})
	for off := int64(0); off < v.Size(); off += 512 {
		if _, err := v.ReadAt(t.Context(), make([]byte, 512), off); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := v.Counters(), (volume.Counters{Fetched: 3, FetchedBytes: 3 * (size + chunk.Overhead)}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if _, err := v.ReadAt(t.Context(), make([]byte, 1), -1); err == nil {
		t.Error("read before the beginning")
	}
}

func BenchmarkReadAt(b *testing.B) {
	s := newStore()
	image := make([]byte, 64<<20)
	random(image)
	p := params(s)
	p.ChunkSize = chunk.Size
	m, keys, _, err := volume.Build(b.Context(), bytes.NewReader(image), int64(len(image)), p)
	if err != nil {
		b.Fatal(err)
	}
	v := opened(b, s, m, keys, volume.Options{})
	b.SetBytes(128 << 10)
	buf := make([]byte, 128<<10)
	off := int64(0)
	for b.Loop() {
		if _, err := v.ReadAt(b.Context(), buf, off); err != nil {
			b.Fatal(err)
		}
		off = (off + int64(len(buf))) % v.Size()
	}
}
