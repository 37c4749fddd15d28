package volume_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"hearth/internal/chunk"
	"hearth/internal/volume"
)

// plainSealer makes golden files readable. Nobody else may use the like.
type plainSealer struct{}

func (plainSealer) Seal(_ context.Context, plaintext, aad []byte) ([]byte, error) {
	return append(bytes.Clone(plaintext), aad[:4]...), nil
}

func (plainSealer) Open(_ context.Context, sealed, _ []byte) ([]byte, error) { return sealed[:32], nil }

// TestGoldenManifest reads what version 1 wrote, and rebuilds all of it but
// what the random data key encrypts.
func TestGoldenManifest(t *testing.T) {
	s := newStore()
	b := content(3*size+100, 1)
	m, keys, _, err := volume.Build(t.Context(), bytes.NewReader(b), int64(len(b)), params(s))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := m.Encode(t.Context(), keys, plainSealer{})
	if err != nil {
		t.Fatal(err)
	}
	want := golden(t, "manifest-v1.hex", raw)
	clear1 := 80 + len(place.Domain) + 4*33
	if !bytes.Equal(raw[:clear1], want[:clear1]) || len(raw) != len(want) {
		t.Errorf("got %x, want %x", raw, want)
	}
	old, err := volume.Decode(want)
	if err != nil {
		t.Fatal(err)
	}
	if old.ID != m.ID || old.Place != place || old.Geometry != m.Geometry || !slices.Equal(old.Entries, m.Entries) || old.Stored() != 3 {
		t.Errorf("got %+v, want %+v", old, m)
	}
	oldKeys, err := old.Unseal(t.Context(), plainSealer{})
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(b))
	if _, err := opened(t, s, old, oldKeys, volume.Options{}).ReadAt(t.Context(), got, 0); err != nil || !bytes.Equal(got, b) {
		t.Errorf("what it describes is read differently: %v", err)
	}
}

// TestEveryBit flips each bit of a manifest: none may go unnoticed.
func TestEveryBit(t *testing.T) {
	m, keys := built(t, newStore(), content(2*size))
	raw, err := m.Encode(t.Context(), keys, mine)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for bit := range 8 {
			bad := bytes.Clone(raw)
			bad[i] ^= 1 << bit
			m, err := volume.Decode(bad)
			if err == nil && i < 80+len(place.Domain)+2*33 {
				t.Fatalf("bit %d of byte %d is noticed only with a key", bit, i)
			}
			if err == nil {
				_, err = m.Unseal(t.Context(), mine)
			}
			if !errors.Is(err, volume.ErrManifest) && !errors.Is(err, volume.ErrRefused) {
				t.Fatalf("bit %d of byte %d: got %v", bit, i, err)
			}
		}
	}
	for n := range raw {
		if _, err := volume.Decode(raw[:n]); !errors.Is(err, volume.ErrManifest) {
			t.Fatalf("cut to %d bytes: got %v", n, err)
		}
	}
	if _, err := volume.Decode(append(raw, 0)); !errors.Is(err, volume.ErrManifest) {
		t.Errorf("with a byte more: got %v", err)
	}
}

// TestAssociatedData changes what is in the clear, and the id with it, as who
// has no key can: the key table does not open any more.
func TestAssociatedData(t *testing.T) {
	m, keys := built(t, newStore(), content(3*size, 1))
	raw, err := m.Encode(t.Context(), keys, anyone{})
	if err != nil {
		t.Fatal(err)
	}
	domain := 80
	for what, change := range map[string]func(b []byte){
		"root":   func(b []byte) { b[31]++ },
		"epoch":  func(b []byte) { b[35]++ },
		"domain": func(b []byte) { b[domain]++ },
		"size":   func(b []byte) { binary.BigEndian.PutUint64(b[16:], 3*size-1) },
		"name":   func(b []byte) { b[domain+len(place.Domain)+5]++ },
		"swapped": func(b []byte) {
			e := b[domain+len(place.Domain):]
			a := bytes.Clone(e[:33])
			copy(e, e[66:99])
			copy(e[66:], a)
		},
	} {
		bad := bytes.Clone(raw)
		change(bad)
		reID(bad)
		m, err := volume.Decode(bad)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		// A sealer that binds the id refuses it already; one that does not,
		// leaves it to the key table.
		if _, err := m.Unseal(t.Context(), anyone{}); !errors.Is(err, volume.ErrRefused) {
			t.Errorf("%s: got %v, want ErrRefused", what, err)
		}
	}
}

// reID gives a manifest the id of its content.
func reID(b []byte) {
	be := binary.BigEndian
	n, d := int(be.Uint32(b[36:])), int(be.Uint16(b[44:]))
	h := sha256.New()
	h.Write(b[:46])
	h.Write([]byte{0, 0})
	h.Write(b[80 : 80+d+33*n])
	copy(b[48:], h.Sum(nil))
}

// anyone is a Sealer that checks nothing.
type anyone struct{}

func (anyone) Seal(_ context.Context, plaintext, _ []byte) ([]byte, error) { return plaintext, nil }
func (anyone) Open(_ context.Context, sealed, _ []byte) ([]byte, error)    { return sealed, nil }

func TestSomebodyElses(t *testing.T) {
	s := newStore()
	m, keys := built(t, s, content(2*size))
	for what, theirs := range map[string]sealer{
		"account":  {mine.key, "account 111111111111 function f"},
		"function": {mine.key, "account " + account + " function g"},
		"key":      {[32]byte{8}, mine.context},
	} {
		if _, err := m.Unseal(t.Context(), theirs); !errors.Is(err, volume.ErrRefused) {
			t.Errorf("another %s: got %v, want ErrRefused", what, err)
		}
	}
	other, otherKeys := built(t, s, content(2*size, 1))
	if _, err := volume.Open(m, otherKeys, extra, s, volume.Options{}); !errors.Is(err, volume.ErrRefused) {
		t.Errorf("keys of another volume: got %v", err)
	}
	if _, err := other.Encode(t.Context(), keys, mine); err == nil {
		t.Error("keys of another volume were encoded")
	}
	for what, e := range map[string]*chunk.Extra{
		"root":   chunk.NewExtra(&salt, root+1, place.Domain),
		"domain": chunk.NewExtra(&salt, root, chunk.Common),
		"epoch":  chunk.NewExtra(&chunk.Salt{Epoch: 4, Secret: salt.Secret}, root, place.Domain),
	} {
		if _, err := volume.Open(m, keys, e, s, volume.Options{}); !errors.Is(err, volume.ErrRefused) {
			t.Errorf("extra of another %s: got %v", what, err)
		}
	}
	// Another salt shows at the first chunk.
	v, err := volume.Open(m, keys, chunk.NewExtra(&chunk.Salt{Epoch: theEpoch}, root, place.Domain), s, volume.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.ReadAt(t.Context(), make([]byte, 1), 0); !errors.Is(err, chunk.ErrIntegrity) {
		t.Errorf("another salt: got %v", err)
	}
}

// TestBadManifests has what fits together and yet is refused.
func TestBadManifests(t *testing.T) {
	m, keys := built(t, newStore(), content(3*size, 1))
	raw, err := m.Encode(t.Context(), keys, mine)
	if err != nil {
		t.Fatal(err)
	}
	be := binary.BigEndian
	entries := 80 + len(place.Domain)
	for what, change := range map[string]func(b []byte){
		"version":        func(b []byte) { b[9] = 2 },
		"flags":          func(b []byte) { b[11] = 1 },
		"chunk size 0":   func(b []byte) { be.PutUint32(b[12:], 0) },
		"chunk size 3":   func(b []byte) { be.PutUint32(b[12:], 3*size) },
		"small chunks":   func(b []byte) { be.PutUint32(b[12:], 2048) },
		"large chunks":   func(b []byte) { be.PutUint32(b[12:], 8<<20) },
		"size 0":         func(b []byte) { be.PutUint64(b[16:], 0) },
		"negative size":  func(b []byte) { be.PutUint64(b[16:], 1<<63) },
		"size":           func(b []byte) { be.PutUint64(b[16:], 4*size) },
		"2³² chunks":     func(b []byte) { be.PutUint32(b[36:], 1<<32-1) },
		"all stored":     func(b []byte) { be.PutUint32(b[40:], 3) },
		"no domain":      func(b []byte) { be.PutUint16(b[44:], 0) },
		"long domain":    func(b []byte) { be.PutUint16(b[44:], 513) },
		"no wrapped key": func(b []byte) { be.PutUint16(b[46:], 0) },
		"long key":       func(b []byte) { be.PutUint16(b[46:], 60000) },
		"entry's flags":  func(b []byte) { b[entries] = 2 },
		"named zeros":    func(b []byte) { b[entries+33+1] = 1 },
		"zeros stored":   func(b []byte) { b[entries+33] = 0 },
	} {
		bad := bytes.Clone(raw)
		change(bad)
		if n := 80 + int(be.Uint16(bad[44:])) + 33*3; be.Uint32(bad[36:]) == 3 && n < len(bad) {
			reID(bad)
		}
		if _, err := volume.Decode(bad); !errors.Is(err, volume.ErrManifest) {
			t.Errorf("%s: got %v, want ErrManifest", what, err)
		}
	}
}

func TestManifestOf16GiB(t *testing.T) {
	m, keys, _, err := volume.Build(t.Context(), indexed{}, 1<<15*size, params(discard{}))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := m.Encode(t.Context(), keys, mine)
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) >= 3<<20 || m.Stored() != 1<<15 {
		t.Errorf("a manifest of %d chunks has %d bytes", m.Stored(), len(raw))
	}
}

// indexed is of chunks that differ.
type indexed struct{}

func (indexed) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	binary.BigEndian.PutUint64(p, uint64(off)+1)
	return len(p), nil
}

type discard struct{ chunk.Source }

func (discard) PutChunk(context.Context, chunk.Ref, []byte) (bool, error) { return true, nil }

// TestNoKeysShow formats everything that is passed around.
func TestNoKeysShow(t *testing.T) {
	_, keys := built(t, newStore(), content(size))
	for _, format := range []string{"%v", "%s", "%+v", "%#v"} {
		for _, secret := range []any{keys, *keys} {
			if got := fmt.Sprintf(format, secret); !strings.HasPrefix(strings.TrimPrefix(got, "&"), "[keys]") {
				t.Errorf("%s shows %s", format, got)
			}
		}
	}
}

func FuzzManifest(f *testing.F) {
	m, keys := built(f, newStore(), content(3*size+1, 1))
	raw, err := m.Encode(f.Context(), keys, anyone{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw, false)
	f.Add(raw[:100], false)
	f.Fuzz(func(t *testing.T, b []byte, fix bool) {
		if be := binary.BigEndian; fix && len(b) > 80 && 80+int(be.Uint16(b[44:]))+33*int(be.Uint32(b[36:])) <= len(b) {
			b = bytes.Clone(b) // the engine's own stays as it is
			reID(b)
		}
		m, err := volume.Decode(b)
		if err != nil {
			if !errors.Is(err, volume.ErrManifest) {
				t.Errorf("got %v", err)
			}
			return
		}
		if m.Chunks() != len(m.Entries) || m.Stored() > len(m.Entries) {
			t.Errorf("got %+v", m)
		}
		_, _ = m.Unseal(t.Context(), anyone{})
	})
}
