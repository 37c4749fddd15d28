package kms

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"
)

// The header of a ciphertext, which names its key; docs/formats/keyring.md
// describes it.
const (
	blobFormat  = 1
	xchacha20   = 1
	accountSize = 12
	headerSize  = 2 + accountSize + 16 + 4
	overhead    = headerSize + chacha20poly1305.NonceSizeX + chacha20poly1305.Overhead
)

// purpose is what a ciphertext is for. It is not in it: whoever opens it must
// know.
type purpose string

const (
	forAPI         purpose = "api"
	forEnvironment purpose = "environment"
)

// header is what a ciphertext says of itself.
type header struct {
	account, id string
	version     uint32
}

func (h header) append(b []byte) []byte {
	b = append(b, blobFormat, xchacha20)
	b = append(b, h.account...)
	id, err := hex.DecodeString(strings.ReplaceAll(h.id, "-", ""))
	if err != nil || len(id) != 16 || len(h.account) != accountSize {
		panic("kms: a key's id is no UUID, or its account no account") // checkKey has looked
	}
	b = append(b, id...)
	return binary.BigEndian.AppendUint32(b, h.version)
}

// readHeader reads which key made a ciphertext. Nothing of it is believed
// before it has been opened.
func readHeader(blob []byte) (header, bool) {
	if len(blob) < overhead || blob[0] != blobFormat || blob[1] != xchacha20 {
		return header{}, false
	}
	account := blob[2 : 2+accountSize]
	if !accountPattern.Match(account) {
		return header{}, false
	}
	id := hex.EncodeToString(blob[2+accountSize : 2+accountSize+16])
	return header{
		account: string(account),
		id:      id[:8] + "-" + id[8:12] + "-" + id[12:16] + "-" + id[16:20] + "-" + id[20:],
		version: binary.BigEndian.Uint32(blob[headerSize-4:]),
	}, true
}

// associated is what a ciphertext is bound to: its header, its purpose and the
// encryption context, whose order does not matter.
func associated(head []byte, p purpose, encryptionContext map[string]string) []byte {
	ad := append([]byte("hearth kms\x00"), head...)
	add := func(s string) {
		ad = binary.BigEndian.AppendUint32(ad, uint32(len(s))) //nolint:gosec // a request is far below 4 GB
		ad = append(ad, s...)
	}
	add(string(p))
	for _, name := range slices.Sorted(maps.Keys(encryptionContext)) {
		add(name)
		add(encryptionContext[name])
	}
	return ad
}

// cipher opens a key's material to encrypt and decrypt by.
func (s *Service) cipher(ctx context.Context, k *key, m material) (cipher.AEAD, error) {
	raw, err := s.cfg.Keeper.Open(ctx, materialBinding(k.Account, k.ID, m.Version), m.Sealed)
	if err != nil {
		return nil, fmt.Errorf("open the material of %s: %w", k.arn(), err)
	}
	aead, err := chacha20poly1305.NewX(raw)
	if err != nil {
		return nil, fmt.Errorf("material of %s: %w", k.arn(), err)
	}
	return aead, nil
}

// encrypt encrypts by the current material of a key.
func (s *Service) encrypt(ctx context.Context, k *key, p purpose, encryptionContext map[string]string, plaintext []byte) ([]byte, error) {
	m := k.current()
	aead, err := s.cipher(ctx, k, m)
	if err != nil {
		return nil, err
	}
	blob := header{k.Account, k.ID, m.Version}.append(make([]byte, 0, overhead+len(plaintext)))
	nonce := blob[headerSize : headerSize+chacha20poly1305.NonceSizeX]
	rand.Read(nonce) // never fails: it ends the program instead
	ad := associated(blob, p, encryptionContext)
	return aead.Seal(blob[:headerSize+len(nonce)], nonce, plaintext, ad), nil
}

// decrypt opens what encrypt made by the key that its header names.
func (s *Service) decrypt(ctx context.Context, k *key, p purpose, encryptionContext map[string]string, blob []byte) ([]byte, error) {
	h, ok := readHeader(blob)
	if !ok || h.account != k.Account || h.id != k.ID || h.version == 0 || int64(h.version) > int64(len(k.Materials)) {
		return nil, badCiphertext()
	}
	m := k.Materials[h.version-1]
	aead, err := s.cipher(ctx, k, m)
	if err != nil {
		return nil, err
	}
	body := blob[headerSize+chacha20poly1305.NonceSizeX:]
	plaintext, err := aead.Open(nil, blob[headerSize:headerSize+chacha20poly1305.NonceSizeX], body,
		associated(bytes.Clone(blob[:headerSize]), p, encryptionContext))
	if err != nil {
		return nil, badCiphertext()
	}
	return plaintext, nil
}
