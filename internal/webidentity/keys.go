package webidentity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"time"
)

const (
	// maxDocument bounds what a provider publishes of itself.
	maxDocument = 256 << 10
	// maxKeys bounds a provider's keys: AWS takes 100 of RSA and 100 of EC.
	maxKeys = 200
	// fetchTime bounds one request to a provider.
	fetchTime = 5 * time.Second
	// Sizes of RSA keys that are used: below is not safe, above takes long.
	minRSA, maxRSA = 2048, 8192
)

// keySet is a provider's keys at a time.
type keySet struct {
	at   time.Time
	keys []key
}

type key struct {
	id        string
	algorithm string // RS256 or ES256
	public    crypto.PublicKey
}

// discovery is what is read of a provider's configuration (OpenID Connect
// Discovery 1.0, section 4).
type discovery struct {
	Issuer string `json:"issuer"`
	Keys   string `json:"jwks_uri"`
}

// jwk is one key of a provider (RFC 7517).
type jwk struct {
	Type      string `json:"kty"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	ID        string `json:"kid"`
	Curve     string `json:"crv"`
	N         string `json:"n"`
	E         string `json:"e"`
	X         string `json:"x"`
	Y         string `json:"y"`
}

// fetch reads a provider's keys.
func (v *Verifier) fetch(ctx context.Context, issuer string) (*keySet, error) {
	var d discovery
	if err := v.get(ctx, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration", &d); err != nil {
		return nil, err
	}
	if d.Issuer != issuer {
		return nil, fmt.Errorf("%w: its configuration is that of another issuer", ErrUnreachable)
	}
	if !strings.HasPrefix(d.Keys, "https://") {
		return nil, fmt.Errorf("%w: its keys are not at an https:// address", ErrUnreachable)
	}
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := v.get(ctx, d.Keys, &set); err != nil {
		return nil, err
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("%w: it has %d keys, at most %d are read", ErrUnreachable, len(set.Keys), maxKeys)
	}
	found := &keySet{at: v.cfg.Clock()}
	for i := range set.Keys {
		// Keys for other purposes may stand beside those for signing.
		if k, err := set.Keys[i].key(); err == nil {
			found.keys = append(found.keys, k)
		}
	}
	return found, nil
}

func (v *Verifier) get(ctx context.Context, url string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return fmt.Errorf("%w: its address cannot be asked", ErrUnreachable)
	}
	resp, err := v.cfg.Client.Do(req)
	if err != nil {
		return fmt.Errorf("%w: no answer from %.200s", ErrUnreachable, req.URL.Host)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %.200s answered status %d", ErrUnreachable, req.URL.Host, resp.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	if err != nil || len(b) > maxDocument {
		return fmt.Errorf("%w: the answer of %.200s is cut off or longer than %d bytes", ErrUnreachable, req.URL.Host, maxDocument)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%w: the answer of %.200s is not what OpenID Connect asks for", ErrUnreachable, req.URL.Host)
	}
	return nil
}

var errKey = errors.New("not a key for RS256 or ES256")

// key reads a key that signs.
func (j *jwk) key() (key, error) {
	if j.Use != "" && j.Use != "sig" {
		return key{}, errKey
	}
	k := key{id: j.ID}
	var err error
	switch j.Type {
	case "RSA":
		k.algorithm = algorithmRS256
		k.public, err = j.rsa()
	case "EC":
		k.algorithm = algorithmES256
		k.public, err = j.ecdsa()
	default:
		err = errKey
	}
	if err == nil && j.Algorithm != "" && j.Algorithm != k.algorithm {
		err = errKey
	}
	return k, err
}

func (j *jwk) rsa() (*rsa.PublicKey, error) {
	n, err1 := number(j.N)
	e, err2 := number(j.E)
	if err1 != nil || err2 != nil || n.BitLen() < minRSA || n.BitLen() > maxRSA || !e.IsInt64() {
		return nil, errKey
	}
	const least, most = 3, 1<<31 - 1
	if x := e.Int64(); x < least || x > most || x%2 == 0 {
		return nil, errKey
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
}

func (j *jwk) ecdsa() (*ecdsa.PublicKey, error) {
	x, err1 := number(j.X)
	y, err2 := number(j.Y)
	const size = 32 // bytes of a coordinate of P-256
	if j.Curve != "P-256" || err1 != nil || err2 != nil || x.BitLen() > 8*size || y.BitLen() > 8*size {
		return nil, errKey
	}
	point := make([]byte, 1+2*size)
	point[0] = 4 // uncompressed
	x.FillBytes(point[1 : 1+size])
	y.FillBytes(point[1+size:])
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
}

func number(text string) (*big.Int, error) {
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) == 0 {
		return nil, errKey
	}
	return new(big.Int).SetBytes(b), nil
}
