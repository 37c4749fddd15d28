package chunk

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
)

// Size is the length of a volume's chunks in bytes, the last one's excepted. It
// is what is made today: readers go by the manifest.
const Size = 512 << 10

// MaxSize is the largest chunk that is ever read or written.
const MaxSize = 4 << 20

// MaxCiphertext is the length of the largest chunk's ciphertext.
const MaxCiphertext = MaxSize + Overhead

// Overhead is how much longer a ciphertext is than its plaintext.
const Overhead = ExtraSize + gcmTag

const gcmTag = 16

// ErrIntegrity says that bytes are not the chunk that was asked for.
var ErrIntegrity = errors.New("chunk: integrity violated")

// ErrNotFound says that a store does not have the chunk.
var ErrNotFound = errors.New("chunk: not found")

// Name is the SHA-256 of a chunk's ciphertext.
type Name [sha256.Size]byte

// String is the name in hexadecimal.
func (n Name) String() string { return hex.EncodeToString(n[:]) }

// ParseName reads what String wrote.
func ParseName(s string) (Name, error) {
	var n Name
	if len(s) != hex.EncodedLen(len(n)) {
		return n, fmt.Errorf("chunk: name has %d characters, want %d", len(s), hex.EncodedLen(len(n)))
	}
	if _, err := hex.Decode(n[:], []byte(s)); err != nil {
		return n, fmt.Errorf("chunk: name: %w", err)
	}
	if n.String() != s {
		return n, errors.New("chunk: name is not in lower case")
	}
	return n, nil
}

// Key opens one chunk. It hides from logs.
type Key [sha256.Size]byte

// String implements fmt.Stringer.
func (Key) String() string { return "[key]" }

// GoString is what %#v shows.
func (Key) GoString() string { return "[key]" }

// Ref is where a chunk is: roots are collected as a whole.
type Ref struct {
	Root Root
	Name Name
}

// Source is where ciphertexts come from. What it returns is not trusted: Check
// or Open decides.
type Source interface {
	// ReadChunk returns a ciphertext, which the caller must not change.
	// ErrNotFound says that there is none by that name.
	ReadChunk(ctx context.Context, ref Ref) ([]byte, error)
}

// Store is where ciphertexts are kept for good.
type Store interface {
	Source
	// PutChunk makes a ciphertext durable. One that is there already is left as
	// it is, and stored says so.
	PutChunk(ctx context.Context, ref Ref, ciphertext []byte) (stored bool, err error)
}

// Batch is a Store for the many chunks of a build: what was put is durable once
// Flush has returned, and may be lost before. Close gives up what was not
// flushed.
type Batch interface {
	Store
	Flush(ctx context.Context) error
	Close()
}

// Seal encrypts a chunk and appends the ciphertext to dst.
func Seal(dst []byte, extra *Extra, plaintext []byte) (Name, Key, []byte) {
	start := len(dst)
	dst = slices.Grow(dst, Overhead+len(plaintext))[:start+ExtraSize+len(plaintext)]
	copy(dst[start+ExtraSize:], plaintext)
	name, key, sealed := SealInPlace(dst[start:], extra)
	return name, key, dst[:start+len(sealed)]
}

// SealInPlace encrypts the chunk that is in buf after ExtraSize bytes of room.
// The ciphertext takes the place of both and is longer by what is left of
// Overhead: without capacity for that it is elsewhere.
func SealInPlace(buf []byte, extra *Extra) (Name, Key, []byte) {
	copy(buf[:ExtraSize], extra[:])
	key := Key(sha256.Sum256(buf))
	sealed := aead(&key).Seal(buf[:0], make([]byte, nonceSize), buf, nil)
	return sha256.Sum256(sealed), key, sealed
}

// Check says whether a ciphertext is the one of that name.
func Check(name Name, ciphertext []byte) error {
	if sum := sha256.Sum256(ciphertext); subtle.ConstantTimeCompare(sum[:], name[:]) != 1 {
		return fmt.Errorf("%w: the bytes are not those of %s", ErrIntegrity, name)
	}
	return nil
}

// Open checks a ciphertext, decrypts it, and appends the plaintext to dst.
func Open(dst []byte, name Name, key *Key, extra *Extra, ciphertext []byte) ([]byte, error) {
	plaintext, err := OpenIn(nil, name, key, extra, ciphertext)
	if err != nil {
		return nil, err
	}
	return append(dst, plaintext...), nil
}

// OpenIn checks a ciphertext and decrypts it in buf, which is taken for its
// capacity: ExtraSize bytes more than the plaintext, or a larger one is made.
// The plaintext that it returns is a part of that.
func OpenIn(buf []byte, name Name, key *Key, extra *Extra, ciphertext []byte) ([]byte, error) {
	if err := Check(name, ciphertext); err != nil {
		return nil, err
	}
	return OpenChecked(buf, name, key, extra, ciphertext)
}

// OpenChecked is OpenIn without the hash: for a ciphertext that has passed
// Check, or that comes from where nobody could write who has the key. Against
// all others the key authenticates it.
func OpenChecked(buf []byte, name Name, key *Key, extra *Extra, ciphertext []byte) ([]byte, error) {
	if len(ciphertext) < Overhead || len(ciphertext) > MaxSize+Overhead {
		return nil, fmt.Errorf("%w: %s has %d bytes", ErrIntegrity, name, len(ciphertext))
	}
	message, err := aead(key).Open(buf[:0], make([]byte, nonceSize), ciphertext, nil)
	if err != nil {
		return nil, fmt.Errorf("%w: the key of %s does not open it", ErrIntegrity, name)
	}
	if subtle.ConstantTimeCompare(message[:ExtraSize], extra[:]) != 1 {
		clear(message)
		return nil, fmt.Errorf("%w: %s belongs elsewhere", ErrIntegrity, name)
	}
	return message[ExtraSize:], nil
}

const nonceSize = 12

func aead(key *Key) cipher.AEAD {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the key's length is right
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return a
}
