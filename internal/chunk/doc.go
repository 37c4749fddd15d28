// Package chunk encrypts the pieces that volumes are cut into, convergently:
// the same piece under the same Extra gives the same ciphertext and the same
// name, so equal content is stored once and no table of keys is shared.
//
// For each chunk
//
//	key        = SHA-256(extra ‖ plaintext)
//	ciphertext = AES-256-GCM(key, nonce 0, extra ‖ plaintext)
//	name       = SHA-256(ciphertext)
//
// A nonce of zeros is safe: a key encrypts one message only, the one that it
// is the hash of.
//
// Invariants:
//
//  1. Whoever knows a chunk's content, but not the secret salt of its Extra,
//     learns neither its key nor its name.
//  2. Open returns the bytes that were sealed under that very Extra, or
//     ErrIntegrity. A chunk that was flipped, truncated, swapped or brought
//     from elsewhere is never returned, nor is a part of it.
//  3. No key, and no plaintext, is in an error or a log line.
//
// Source: Brooker et al., "On-demand Container Loading in AWS Lambda", USENIX
// ATC 2023, §3. Design: docs/storage.md. Format: docs/formats/chunk.md.
package chunk
