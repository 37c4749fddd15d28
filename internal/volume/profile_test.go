package volume_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"crypto/sha256"

	"pgregory.net/rapid"

	"hearth/internal/volume"
)

func manifestOf(t testing.TB, chunks int) *volume.Manifest {
	t.Helper()
	m, _ := built(t, newStore(), content(chunks*size))
	return m
}

func TestMerge(t *testing.T) {
	for name, c := range map[string]struct {
		recordings [][]uint32
		want       []uint32
	}{
		"one":                 {[][]uint32{{3, 1, 2}}, []uint32{3, 1, 2}},
		"new behind known":    {[][]uint32{{3, 1, 2}, {3, 5, 1, 2, 6}}, []uint32{3, 5, 1, 2, 6}},
		"new at the front":    {[][]uint32{{3, 1}, {7, 3, 1}}, []uint32{7, 3, 1}},
		"known keep order":    {[][]uint32{{1, 2, 3}, {3, 2, 1}}, []uint32{1, 2, 3}},
		"rare ones are left":  {[][]uint32{{1, 2}, {1, 9}, {1, 2}, {1, 2}, {1, 2}}, []uint32{1, 2}},
		"often enough":        {[][]uint32{{1, 2}, {1, 9}, {1, 2}, {1, 2}}, []uint32{1, 9, 2}},
		"others' are ignored": {[][]uint32{{1, 20, 1, 1 << 31, 2}}, []uint32{1, 2}},
		"empty says nothing":  {[][]uint32{{1}, {}, nil, {20}}, []uint32{1}},
		"forgotten":           {slices.Concat([][]uint32{{5, 1}}, slices.Repeat([][]uint32{{1}}, 40)), []uint32{1}},
		"follows a change":    {slices.Concat(slices.Repeat([][]uint32{{1, 2}}, 100), slices.Repeat([][]uint32{{1, 3}}, 40)), []uint32{1, 3}},
	} {
		p := volume.NewProfile(manifestOf(t, 10))
		for _, r := range c.recordings {
			p.Add(r)
		}
		if got := p.Order(); !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", name, got, c.want)
		}
	}
}

// TestProfileKeeps encodes and decodes profiles of random recordings.
func TestProfileKeeps(t *testing.T) {
	t.Parallel()
	m := manifestOf(t, 10)
	rapid.Check(t, func(t *rapid.T) {
		p := volume.NewProfile(m)
		p.Add([]uint32{0})
		for range rapid.IntRange(0, 40).Draw(t, "recordings") {
			p.Add(rapid.SliceOf(rapid.Uint32Range(0, 12)).Draw(t, "recording"))
		}
		raw, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := volume.DecodeProfile(raw, m)
		if err != nil || !slices.Equal(got.Order(), p.Order()) || got.Recordings() != p.Recordings() {
			t.Fatalf("got %v, %v", got, err)
		}
		if again, _ := got.Encode(); !bytes.Equal(again, raw) {
			t.Fatal("encoded again, it differs")
		}
		order := p.Order()
		slices.Sort(order)
		if len(slices.Compact(order)) != len(p.Order()) || len(order) > 0 && order[len(order)-1] >= 10 {
			t.Fatalf("got %v", order)
		}
	})
}

func TestGoldenProfile(t *testing.T) {
	m := manifestOf(t, 10)
	p := volume.NewProfile(m)
	p.Add([]uint32{3, 1, 2})
	p.Add([]uint32{3, 9, 2})
	raw, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	want := golden(t, "profile-v1.hex", raw)
	if !bytes.Equal(raw, want) {
		t.Errorf("got %x, want %x", raw, want)
	}
	if p, err := volume.DecodeProfile(want, m); err != nil || !slices.Equal(p.Order(), []uint32{3, 9, 1, 2}) {
		t.Errorf("got %v, %v", p, err)
	}
}

func TestBadProfiles(t *testing.T) {
	m := manifestOf(t, 10)
	p := volume.NewProfile(m)
	if _, err := p.Encode(); err == nil {
		t.Error("a profile of nothing was encoded")
	}
	p.Add([]uint32{3, 1, 2})
	raw, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		bad := bytes.Clone(raw)
		bad[i] ^= 0x40
		if _, err := volume.DecodeProfile(bad, m); !errors.Is(err, volume.ErrProfile) {
			t.Errorf("byte %d changed: got %v", i, err)
		}
		if _, err := volume.DecodeProfile(raw[:i], m); !errors.Is(err, volume.ErrProfile) {
			t.Errorf("cut to %d bytes: got %v", i, err)
		}
	}
	be := binary.BigEndian
	for what, change := range map[string]func(b []byte){
		"version":         func(b []byte) { b[9] = 2 },
		"no recordings":   func(b []byte) { b[11] = 0 },
		"another volume":  func(b []byte) { b[12]++ },
		"too many":        func(b []byte) { be.PutUint32(b[44:], 1<<31) },
		"fewer":           func(b []byte) { be.PutUint32(b[44:], 2) },
		"no such chunk":   func(b []byte) { be.PutUint32(b[48:], 10) },
		"2³² − 1":         func(b []byte) { be.PutUint32(b[48:], 1<<32-1) },
		"twice":           func(b []byte) { copy(b[54:60], b[48:54]) },
		"never touched":   func(b []byte) { be.PutUint16(b[52:], 0) },
		"more than there": func(b []byte) { be.PutUint16(b[52:], 2) },
	} {
		bad := bytes.Clone(raw)
		change(bad)
		sign(bad)
		if _, err := volume.DecodeProfile(bad, m); !errors.Is(err, volume.ErrProfile) {
			t.Errorf("%s: got %v", what, err)
		}
	}
}

// sign gives a profile the checksum of its content.
func sign(b []byte) {
	sum := sha256.Sum256(b[:len(b)-sha256.Size])
	copy(b[len(b)-sha256.Size:], sum[:])
}

// TestProfileIsBounded records more than a profile may hold.
func TestProfileIsBounded(t *testing.T) {
	m := &volume.Manifest{Geometry: volume.Geometry{ChunkSize: size, Size: 1 << 40}, Entries: make([]volume.Entry, 3*volume.MaxProfile)}
	p := volume.NewProfile(m)
	for r := range uint32(3) {
		recording := make([]uint32, volume.MaxProfile)
		for i := range recording {
			recording[i] = r*volume.MaxProfile + uint32(i)
		}
		p.Add(recording)
	}
	raw, err := p.Encode()
	if err != nil || len(raw) > 48+6*volume.MaxProfile+32 {
		t.Errorf("got %d bytes, %v", len(raw), err)
	}
}

func FuzzProfile(f *testing.F) {
	m := manifestOf(f, 10)
	p := volume.NewProfile(m)
	p.Add([]uint32{3, 1, 2})
	raw, err := p.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.Clone(b)
		if len(b) > sha256.Size {
			sign(b)
		}
		p, err := volume.DecodeProfile(b, m)
		if err != nil {
			if !errors.Is(err, volume.ErrProfile) {
				t.Errorf("got %v", err)
			}
			return
		}
		if again, err := p.Encode(); err != nil || !bytes.Equal(again, b) {
			t.Errorf("decoded and encoded, it differs: %v", err)
		}
	})
}
