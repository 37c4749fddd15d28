package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"strings"
	"sync"
)

// maxCached bounds the signing keys kept: one for a key, day, region and
// service.
const maxCached = 4096

// cacheKey names a signing key.
type cacheKey struct {
	accessKeyID string
	scope       Scope
}

// signingKey is a derived key with the hashes made from it, ready to be used
// again: a keyed HMAC that is reset keeps the work its key took.
type signingKey struct {
	secret string // that it was derived from
	key    []byte
	hashes sync.Pool
}

func deriveKey(secret string, s Scope) *signingKey {
	key := mac([]byte("AWS4"+secret), s.Date)
	key = mac(key, s.Region)
	key = mac(key, s.Service)
	key = mac(key, terminator)
	k := &signingKey{secret: secret, key: key}
	k.hashes.New = func() any { return hmac.New(sha256.New, key) }
	return k
}

func mac(key []byte, text string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(text))
	return h.Sum(nil)
}

// sign appends the MAC of text to dst.
func (k *signingKey) sign(dst, text []byte) []byte {
	h := k.hashes.Get().(hash.Hash)
	h.Reset()
	h.Write(text)
	dst = h.Sum(dst)
	k.hashes.Put(h)
	return dst
}

type keyCache struct {
	mu   sync.RWMutex
	keys map[cacheKey]*signingKey
}

// get returns the signing key, derived anew if it is not there or the secret
// has changed since.
func (c *keyCache) get(id cacheKey, secret string) *signingKey {
	c.mu.RLock()
	k := c.keys[id]
	c.mu.RUnlock()
	if k != nil && k.secret == secret {
		return k
	}
	return deriveKey(secret, id.scope)
}

// keep puts a key that has verified a request into the cache. A full cache is
// emptied: keys of days gone by are most of what is in it.
func (c *keyCache) keep(id cacheKey, k *signingKey) {
	c.mu.RLock()
	same := c.keys[id] == k
	c.mu.RUnlock()
	if same {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keys == nil || len(c.keys) >= maxCached {
		c.keys = map[cacheKey]*signingKey{}
	}
	// The strings of id are parts of the request's headers: keep copies.
	id = cacheKey{strings.Clone(id.accessKeyID), Scope{
		strings.Clone(id.scope.Date), strings.Clone(id.scope.Region), strings.Clone(id.scope.Service),
	}}
	c.keys[id] = k
}
