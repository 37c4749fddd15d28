package sigv4

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"hearth/internal/awserr"
)

// Verifier verifies requests. It may be used from several goroutines.
type Verifier struct {
	keys  Keys
	now   func() time.Time
	cache keyCache
}

// NewVerifier returns a verifier that asks keys for secrets and now for the
// time.
func NewVerifier(keys Keys, now func() time.Time) *Verifier {
	return &Verifier{keys: keys, now: now}
}

// Identity is who signed a request.
type Identity struct {
	Credential
	AccessKeyID string
	Scope       Scope
	// Token is the session token as sent.
	Token string
	// RequestID is set by who serves the request, for its audit line.
	RequestID string
}

// Pending is a request whose credentials look right and whose body has not
// been read.
type Pending struct {
	Identity
	v     *Verifier
	r     *http.Request
	claim *claim
	// declared is X-Amz-Content-Sha256: a hash, a word for a streamed body,
	// or empty.
	declared string
	key      *signingKey
	seed     [32]byte
}

// Begin checks all of a request's authentication that does not need its body.
// When the request declares its body's hash, that includes the signature.
func (v *Verifier) Begin(r *http.Request) (*Pending, error) {
	c, err := readClaim(r)
	if err != nil {
		return nil, err
	}
	if err := c.checkSigned(r); err != nil {
		return nil, err
	}
	if err := c.checkAge(v.now()); err != nil {
		return nil, err
	}
	credential, err := v.lookup(r.Context(), c.accessKeyID, c.token)
	if err != nil {
		return nil, err
	}
	if credential.Temporary != (c.token != "") {
		return nil, unrecognized()
	}
	p := &Pending{
		Identity: Identity{Credential: credential, AccessKeyID: c.accessKeyID, Scope: c.scope, Token: c.token},
		v:        v, r: r, claim: c,
		declared: r.Header.Get("X-Amz-Content-Sha256"),
	}
	if p.declared == "" {
		return p, nil
	}
	if err := p.checkDeclared(); err != nil {
		return nil, err
	}
	return p, p.checkSignature(p.declared)
}

func (v *Verifier) lookup(ctx context.Context, accessKeyID, token string) (Credential, error) {
	credential, err := v.keys.Secret(ctx, accessKeyID, token)
	if errors.Is(err, ErrUnknownKey) {
		return Credential{}, unrecognized()
	}
	if err != nil {
		return Credential{}, fmt.Errorf("sigv4: look access key up: %w", err)
	}
	return credential, nil
}

func unrecognized() error {
	return awserr.New("UnrecognizedClientException", "The security token included in the request is invalid.")
}

// checkDeclared refuses declarations that would leave the body unsigned.
func (p *Pending) checkDeclared() error {
	if p.Streamed() {
		return nil
	}
	var sum [32]byte
	if decodeHex(&sum, p.declared) {
		return nil
	}
	return invalid("The x-amz-content-sha256 '%.40s' is not served: send the SHA-256 of the body, or %s.", p.declared, streamingPayload)
}

// Streamed says that the body is in signed chunks; see Decode.
func (p *Pending) Streamed() bool {
	return p.declared == streamingPayload || p.declared == streamingTrailer
}

// Check completes the verification with the body as read, and returns what
// the body holds: the body itself, or the contents of its signed chunks.
func (p *Pending) Check(body []byte) ([]byte, error) {
	if p.Streamed() {
		return p.decodeChunks(body)
	}
	sum := sha256.Sum256(body)
	var hash [64]byte
	hex.Encode(hash[:], sum[:])
	if p.declared == "" {
		return body, p.checkSignature(string(hash[:]))
	}
	if subtle.ConstantTimeCompare(hash[:], []byte(p.declared)) != 1 {
		return nil, mismatch()
	}
	return body, nil
}

func mismatch() error {
	return invalid("The request signature we calculated does not match the signature you provided. " +
		"Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
}

// buffers hold canonical requests while they are hashed.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 2048); return &b }}

// maxKept is the largest buffer that goes back to the pool.
const maxKept = 64 << 10

func (p *Pending) checkSignature(payloadHash string) error {
	buf := buffers.Get().(*[]byte)
	defer func() {
		if cap(*buf) <= maxKept {
			buffers.Put(buf)
		}
	}()
	b := appendCanonical((*buf)[:0], p.r, p.claim, payloadHash)
	if b == nil {
		return mismatch()
	}
	sum := sha256.Sum256(b)
	b = append(b[:0], algorithm...)
	b = append(b, '\n')
	b = append(b, p.claim.date...)
	b = append(b, '\n')
	b = appendScope(b, p.claim.scope)
	b = append(b, '\n')
	b = hex.AppendEncode(b, sum[:])
	id := cacheKey{p.AccessKeyID, p.claim.scope}
	p.key = p.v.cache.get(id, p.Secret)
	end := len(b)
	b = p.key.sign(b, b)
	*buf = b
	if subtle.ConstantTimeCompare(b[end:], p.claim.signature[:]) != 1 {
		return mismatch()
	}
	p.seed = p.claim.signature
	p.v.cache.keep(id, p.key)
	return nil
}

func appendScope(b []byte, s Scope) []byte {
	for _, part := range []string{s.Date, s.Region, s.Service} {
		b = append(b, part...)
		b = append(b, '/')
	}
	return append(b, terminator...)
}
