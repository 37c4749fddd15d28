package azcache

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"hearth/internal/chunk"
)

// Key is the secret that the workers and cache nodes of a cluster share. It
// hides from logs.
type Key [32]byte

// String implements fmt.Stringer.
func (Key) String() string { return "[key]" }

// GoString is what %#v shows.
func (Key) GoString() string { return "[key]" }

const (
	scheme = "HEARTH-HMAC-SHA256"
	// skew is how far the clocks of a worker and a node may be apart.
	skew = 5 * time.Minute
	// pathPrefix comes before ROOT/NAME.
	pathPrefix = "/v1/chunk/"
)

var errUnauthorized = errors.New("the request is not signed with the cluster's key, or too old")

// chunkPath is where a chunk is on a node.
func chunkPath(ref chunk.Ref) string { return pathPrefix + ref.Root.String() + "/" + ref.Name.String() }

// parsePath reads what chunkPath wrote.
func parsePath(path string) (chunk.Ref, error) {
	rest, ok := strings.CutPrefix(path, pathPrefix)
	root, name, two := strings.Cut(rest, "/")
	if !ok || !two {
		return chunk.Ref{}, fmt.Errorf("path %.100q is not /v1/chunk/ROOT/NAME", path)
	}
	r, err := chunk.ParseRoot(root)
	if err != nil {
		return chunk.Ref{}, err
	}
	n, err := chunk.ParseName(name)
	return chunk.Ref{Root: r, Name: n}, err
}

// bodyHash is the SHA-256 of a request's body, which is its name: a chunk that
// is put, or nothing.
func bodyHash(method string, ref chunk.Ref) [sha256.Size]byte {
	if method == http.MethodPut {
		return ref.Name
	}
	return sha256.Sum256(nil)
}

// mac is the signature of a request.
func mac(key *Key, method string, ref chunk.Ref, unix int64) []byte {
	h := hmac.New(sha256.New, key[:])
	hash := bodyHash(method, ref)
	fmt.Fprintf(h, "%s\n%s\n%s\n%d\n%x", scheme, method, chunkPath(ref), unix, hash)
	return h.Sum(nil)
}

// authorization is the header of a request.
func authorization(key *Key, method string, ref chunk.Ref, now time.Time) string {
	unix := now.Unix()
	return fmt.Sprintf("%s time=%d, signature=%x", scheme, unix, mac(key, method, ref, unix))
}

// parseAuthorization reads the header that authorization wrote.
func parseAuthorization(header string) (unix int64, signature []byte, err error) {
	rest, ok := strings.CutPrefix(header, scheme+" time=")
	digits, sum, two := strings.Cut(rest, ", signature=")
	if !ok || !two || len(digits) > 19 || len(sum) != hex.EncodedLen(sha256.Size) {
		return 0, nil, errUnauthorized
	}
	unix, err = strconv.ParseInt(digits, 10, 64)
	if err != nil || unix < 0 {
		return 0, nil, errUnauthorized
	}
	signature, err = hex.DecodeString(sum)
	if err != nil {
		return 0, nil, errUnauthorized
	}
	return unix, signature, nil
}

// verify checks the header of a request against the keys that are good now.
func verify(keys []Key, header, method string, ref chunk.Ref, now time.Time) error {
	unix, signature, err := parseAuthorization(header)
	if err != nil {
		return err
	}
	good := false
	for i := range keys {
		good = hmac.Equal(mac(&keys[i], method, ref, unix), signature) || good
	}
	if age := now.Unix() - unix; !good || age > int64(skew/time.Second) || age < -int64(skew/time.Second) {
		return errUnauthorized
	}
	return nil
}
