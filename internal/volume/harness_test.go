package volume_test

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"hearth/internal/chunk"
	"hearth/internal/volume"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	account  = "000000000000"
	size     = 4 << 10 // of chunks
	root     = chunk.Root(7)
	theEpoch = 3
)

var (
	salt  = chunk.Salt{Epoch: theEpoch, Secret: [32]byte{1, 2, 3}}
	place = volume.Place{Root: root, Epoch: theEpoch, Domain: chunk.AccountDomain(account)}
	extra = chunk.NewExtra(&salt, root, place.Domain)
)

// store is a chunk.Store in memory, and a Refetcher whose first answers can be
// spoilt.
type store struct {
	mu    sync.Mutex
	all   map[chunk.Ref][]byte
	asked []chunk.Ref
	// spoil changes what the nth tier returns.
	spoil func(tier int, ciphertext []byte) []byte
	tiers map[chunk.Ref]int
	put   func() error
	// gate, if there is one, is received from before each answer.
	gate chan struct{}
}

func newStore() *store {
	return &store{all: make(map[chunk.Ref][]byte), tiers: make(map[chunk.Ref]int)}
}

func (s *store) PutChunk(_ context.Context, ref chunk.Ref, ciphertext []byte) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.put != nil {
		if err := s.put(); err != nil {
			return false, err
		}
	}
	if chunk.Check(ref.Name, ciphertext) != nil {
		return false, errors.New("a wrong chunk")
	}
	if _, ok := s.all[ref]; ok {
		return false, nil
	}
	s.all[ref] = bytes.Clone(ciphertext)
	return true, nil
}

func (s *store) ReadChunk(ctx context.Context, ref chunk.Ref) ([]byte, error) {
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, ref)
	s.tiers[ref] = 0
	return s.answer(ref)
}

func (s *store) answer(ref chunk.Ref) ([]byte, error) {
	b, ok := s.all[ref]
	if !ok {
		return nil, chunk.ErrNotFound
	}
	if s.spoil != nil {
		b = s.spoil(s.tiers[ref], bytes.Clone(b))
	}
	return b, nil
}

// tiered is a store with further tiers.
type tiered struct{ *store }

var errNoMore = errors.New("no further tier")

func (s tiered) Refetch(_ context.Context, ref chunk.Ref) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tiers[ref]++; s.tiers[ref] > 2 {
		return nil, errNoMore
	}
	return s.answer(ref)
}

// sealer wraps by a key of its own, bound to an encryption context.
type sealer struct {
	key     [32]byte
	context string
}

func (s sealer) aead() cipher.AEAD {
	block, err := aes.NewCipher(s.key[:])
	if err != nil {
		panic(err)
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return a
}

func (s sealer) Seal(_ context.Context, plaintext, aad []byte) ([]byte, error) {
	nonce := make([]byte, 12)
	_, _ = rand.Read(nonce)
	return s.aead().Seal(nonce, nonce, plaintext, append([]byte(s.context), aad...)), nil
}

func (s sealer) Open(_ context.Context, sealed, aad []byte) ([]byte, error) {
	if len(sealed) < 12 {
		return nil, errors.New("too short")
	}
	return s.aead().Open(nil, sealed[:12], sealed[12:], append([]byte(s.context), aad...))
}

var mine = sealer{[32]byte{9}, "account " + account + " function f"}

func params(s chunk.Store) volume.Params {
	return volume.Params{Place: place, Extra: extra, Store: s, ChunkSize: size}
}

// content is chunks of different bytes, where zeros says so of zeros.
func content(length int, zeros ...int) []byte {
	b := make([]byte, length)
	for i := range b {
		b[i] = byte(i/size + 1 + i%251)
	}
	for _, z := range zeros {
		clear(b[z*size : min(len(b), (z+1)*size)])
	}
	return b
}

// built stores b and returns its manifest, decoded, and keys, unsealed.
func built(t testing.TB, s chunk.Store, b []byte) (*volume.Manifest, *volume.Keys) {
	t.Helper()
	m, keys, _, err := volume.Build(t.Context(), bytes.NewReader(b), int64(len(b)), params(s))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := m.Encode(t.Context(), keys, mine)
	if err != nil {
		t.Fatal(err)
	}
	if m, err = volume.Decode(raw); err != nil {
		t.Fatal(err)
	}
	if keys, err = m.Unseal(t.Context(), mine); err != nil {
		t.Fatal(err)
	}
	return m, keys
}

func opened(t testing.TB, s chunk.Source, m *volume.Manifest, keys *volume.Keys, o volume.Options) *volume.Volume {
	t.Helper()
	v, err := volume.Open(m, keys, extra, s, o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// golden compares bytes with a file of hexadecimal lines.
func golden(t *testing.T, name string, got []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		var text strings.Builder
		for b := got; len(b) > 0; b = b[min(32, len(b)):] {
			text.WriteString(hex.EncodeToString(b[:min(32, len(b))]) + "\n")
		}
		if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(strings.ReplaceAll(string(text), "\n", ""))
	if err != nil {
		t.Fatal(err)
	}
	return want
}
