// Package origin keeps the ciphertexts of chunks for good: Dir in a directory,
// S3 in a bucket of any S3 endpoint.
//
// Invariants:
//
//  1. A chunk that PutChunk has acknowledged, stored or found there already,
//     survives a power cut. Of a Bulk this holds once Flush has returned.
//  2. A chunk is visible whole or not at all, and nothing is stored under a name
//     that is not the hash of its bytes.
//  3. Storing what is there already changes nothing.
//  4. No key is here, and no plaintext.
//  5. Of a Dir, a read of a root that has expired raises an alarm, in whichever
//     process it is, and DeleteExpired never deletes a root with an alarm.
//
// Failure modes: a full file system is ErrFull, and leaves what was stored
// before as it was. A copy that has rotted is found by whoever checks what it
// reads; Distrust sets it aside, and the next PutChunk stores it anew.
//
// Whoever collects garbage lists with Roots and Chunks, and removes with
// DeleteChunk, DeleteRoot and, after Expire, DeleteExpired. Design:
// docs/chunkstore.md and docs/garbage.md.
package origin

import (
	"errors"
	"fmt"
	"time"

	"hearth/internal/chunk"
)

// ErrFull says that there is no space left for chunks.
var ErrFull = errors.New("the store of chunks is full: free some space on its file system")

// Info describes a stored chunk.
type Info struct {
	Name     chunk.Name
	Size     int64
	Modified time.Time
}

// check refuses what must not be stored.
func check(ref chunk.Ref, ciphertext []byte) error {
	if len(ciphertext) < chunk.Overhead || len(ciphertext) > chunk.MaxCiphertext {
		return fmt.Errorf("%w: a ciphertext of %d bytes, want %d to %d", chunk.ErrIntegrity, len(ciphertext), chunk.Overhead, chunk.MaxCiphertext)
	}
	return chunk.Check(ref.Name, ciphertext)
}
