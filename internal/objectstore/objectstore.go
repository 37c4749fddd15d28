// Package objectstore keeps immutable byte strings under keys: code archives
// now, and whatever else is too big for the metadata store. Dir is the store
// of a single machine; a cluster has another behind the same interface.
//
// Invariants:
//
//  1. An object is there whole or not at all: Put makes it visible in one step
//     after its bytes are on disk, and survives power loss once it returned.
//  2. A key can never name anything outside the store.
//  3. A failed Put of a new key leaves nothing that outlives the next Open of the
//     store; one that was to replace an object leaves the old one or the new one.
//
// Objects are never changed in place. Reading one that is deleted meanwhile
// goes on undisturbed.
package objectstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

var (
	// ErrNotFound says that no object has the key.
	ErrNotFound = errors.New("object not found")
	// ErrBadKey says that a key is not one that the store accepts.
	ErrBadKey = errors.New("bad object key")
	// ErrFull says that the store's file system has no space left.
	ErrFull = errors.New("object store is full: free some space on its file system")
)

// Info describes an object.
type Info struct {
	Key      string
	Size     int64
	Modified time.Time
}

// Store is an object store. Its methods may be called concurrently.
type Store interface {
	// Put stores everything r gives under key, replacing what was there. If it
	// fails, there is still what was there, or what was to replace it.
	Put(ctx context.Context, key string, r io.Reader) error
	// Open returns an object's bytes and its size; the caller closes it.
	Open(ctx context.Context, key string) (io.ReadSeekCloser, int64, error)
	// Delete removes an object; a key without an object is not an error.
	Delete(ctx context.Context, key string) error
	// List returns the objects whose keys begin with prefix, in key order.
	List(ctx context.Context, prefix string) ([]Info, error)
}

// Bounds of a key, below those of file systems and of S3 (1,024 bytes).
const (
	maxKey     = 900
	maxSegment = 200
)

// CheckKey says whether key is one that every store accepts: segments of
// letters, digits and "-_.", joined by "/", none empty or beginning with a dot.
func CheckKey(key string) error {
	if key == "" || len(key) > maxKey {
		return fmt.Errorf("%w: %d bytes, want 1 to %d", ErrBadKey, len(key), maxKey)
	}
	for segment := range strings.SplitSeq(key, "/") {
		if segment == "" || len(segment) > maxSegment || segment[0] == '.' {
			return fmt.Errorf("%w: %.100q", ErrBadKey, key)
		}
		for _, c := range []byte(segment) {
			if !keyByte(c) {
				return fmt.Errorf("%w: %.100q", ErrBadKey, key)
			}
		}
	}
	return nil
}

func keyByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
		c == '-' || c == '_' || c == '.'
}
