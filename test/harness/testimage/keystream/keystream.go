// Package keystream is the random data of images for benches: a function of a
// file's path and time, so that any part of it can be computed, and checked,
// without the rest.
package keystream

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"time"
)

// Time is the time of a file, given in seconds.
func Time(seconds int64) time.Time { return time.Unix(seconds, 0).UTC() }

// New returns the endless data of the file at path, of a time in seconds, from
// offset on, a multiple of 16.
func New(path string, seconds, offset int64) io.Reader {
	key := sha256.Sum256(fmt.Appendf(nil, "%s %d", path, seconds))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // the key's length is constant
	}
	var counter [aes.BlockSize]byte
	binary.BigEndian.PutUint64(counter[8:], uint64(offset/aes.BlockSize))
	return cipher.StreamReader{S: cipher.NewCTR(block, counter[:]), R: zeros{}}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
