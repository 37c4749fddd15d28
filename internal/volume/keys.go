package volume

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"

	"hearth/internal/chunk"
)

// Sealer wraps data keys for the owner of a volume: a key of KMS or of the
// keyring, bound to an account and a function. What it was given as aad must be
// given again.
type Sealer interface {
	Seal(ctx context.Context, plaintext, aad []byte) ([]byte, error)
	Open(ctx context.Context, sealed, aad []byte) ([]byte, error)
}

// Keys open the chunks of one volume. They hide from logs.
type Keys struct {
	id   ID
	keys []chunk.Key // of each chunk; of zeros where the chunk is
}

// String implements fmt.Stringer.
func (Keys) String() string { return "[keys]" }

// GoString is what %#v shows.
func (Keys) GoString() string { return "[keys]" }

// Encode writes a manifest with its keys, wrapped by s. The result is what
// Decode reads; it differs each time.
func (m *Manifest) Encode(ctx context.Context, keys *Keys, s Sealer) ([]byte, error) {
	if keys.id != m.ID || len(keys.keys) != len(m.Entries) {
		return nil, errors.New("volume: encode manifest: the keys are of another volume")
	}
	data := make([]byte, keySize)
	_, _ = rand.Read(data) // never fails
	wrapped, err := s.Seal(ctx, data, m.ID[:])
	if err != nil {
		return nil, fmt.Errorf("volume: wrap data key: %w", err)
	}
	if len(wrapped) < 1 || len(wrapped) > maxWrapped {
		return nil, fmt.Errorf("volume: wrap data key: it has %d bytes wrapped, at most %d are allowed", len(wrapped), maxWrapped)
	}
	table := make([]byte, 0, m.Stored()*keySize)
	for i, e := range m.Entries {
		if !e.Zero {
			table = append(table, keys.keys[i][:]...)
		}
	}
	b := make([]byte, 0, domainAt+len(m.Domain)+len(m.Entries)*entrySize+len(wrapped)+len(table)+tableOverhead)
	b = append(b, m.header(len(wrapped))...)
	b = append(b, m.ID[:]...)
	b = append(b, m.Domain...)
	b = append(b, m.entries()...)
	b = append(b, wrapped...)
	// A nonce of zeros: this key encrypts nothing else, ever.
	return tableAEAD(data).Seal(b, make([]byte, tableNonce), table, b), nil
}

// Unseal returns the keys of a decoded manifest, or ErrRefused.
func (m *Manifest) Unseal(ctx context.Context, s Sealer) (*Keys, error) {
	if m.table == nil {
		return nil, errors.New("volume: unseal manifest: it was not decoded")
	}
	data, err := s.Open(ctx, m.wrapped, m.ID[:])
	if err != nil {
		return nil, fmt.Errorf("%w: unwrap data key: %w", ErrRefused, err)
	}
	if len(data) != keySize {
		return nil, fmt.Errorf("%w: its data key has %d bytes", ErrRefused, len(data))
	}
	table, err := tableAEAD(data).Open(nil, make([]byte, tableNonce), m.table, m.raw)
	if err != nil {
		return nil, fmt.Errorf("%w: its key table does not open", ErrRefused)
	}
	keys := &Keys{id: m.ID, keys: make([]chunk.Key, len(m.Entries))}
	for i, e := range m.Entries {
		if !e.Zero {
			keys.keys[i], table = chunk.Key(table), table[keySize:]
		}
	}
	return keys, nil
}

const tableNonce = 12

func tableAEAD(key []byte) cipher.AEAD {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic(err) // the key's length is right
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return a
}
