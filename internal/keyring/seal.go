package keyring

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// KeySize is the bytes of every key.
const KeySize = chacha20poly1305.KeySize

// The header of a sealed value: format, algorithm, version of the key.
const (
	sealedFormat = 1
	xchacha20    = 1
	headerSize   = 6
	// Overhead is what a sealed value has more than what is in it.
	Overhead = headerSize + chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead
	// MaxValue bounds what is sealed at once.
	MaxValue = 1 << 20
)

// ErrRefused says that a sealed value is damaged, or was sealed for another
// place, or by a key that is not here. Which of these it is cannot be known.
var ErrRefused = errors.New("the sealed value is damaged or belongs elsewhere")

// Binding is the place that a value is sealed for.
type Binding struct {
	Account string
	// Purpose says what kind of record holds the value.
	Purpose string
	// Record names the one record that holds it.
	Record string
}

// associated is what a value is bound to, each part with its length, so that
// no two places look the same.
func (b Binding) associated(header []byte) []byte {
	ad := make([]byte, 0, len(header)+64+len(b.Account)+len(b.Purpose)+len(b.Record))
	ad = append(ad, "hearth sealed value\x00"...)
	ad = append(ad, header...)
	for _, part := range []string{b.Account, b.Purpose, b.Record} {
		ad = binary.BigEndian.AppendUint32(ad, uint32(len(part))) //nolint:gosec // names are far below 4 GB
		ad = append(ad, part...)
	}
	return ad
}

// seal seals a value by a version of a key.
func seal(aead cipher.AEAD, version uint32, b Binding, plaintext []byte) ([]byte, error) {
	if len(plaintext) > MaxValue {
		return nil, fmt.Errorf("keyring: %d bytes are more than can be sealed at once (%d)", len(plaintext), MaxValue)
	}
	out := make([]byte, headerSize+aead.NonceSize(), Overhead+len(plaintext))
	out[0], out[1] = sealedFormat, xchacha20
	binary.BigEndian.PutUint32(out[2:], version)
	nonce := out[headerSize:]
	rand.Read(nonce)                                                             // never fails: it ends the program instead
	return aead.Seal(out, nonce, plaintext, b.associated(out[:headerSize])), nil //nolint:gosec // the nonce is random, see above
}

// sealedVersion reads which version of a key sealed a value.
func sealedVersion(sealed []byte) (uint32, error) {
	if len(sealed) < Overhead || len(sealed) > Overhead+MaxValue || sealed[0] != sealedFormat || sealed[1] != xchacha20 {
		return 0, ErrRefused
	}
	return binary.BigEndian.Uint32(sealed[2:headerSize]), nil
}

// open opens a value whose header sealedVersion has accepted.
func open(aead cipher.AEAD, b Binding, sealed []byte) ([]byte, error) {
	nonce, body := sealed[headerSize:headerSize+aead.NonceSize()], sealed[headerSize+aead.NonceSize():]
	plaintext, err := aead.Open(nil, nonce, body, b.associated(sealed[:headerSize]))
	if err != nil {
		return nil, ErrRefused
	}
	return plaintext, nil
}

// newKey returns a random key.
func newKey() []byte {
	key := make([]byte, KeySize)
	rand.Read(key) // never fails: it ends the program instead
	return key
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	return aead, nil
}
