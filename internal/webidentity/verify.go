package webidentity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Errors of Verify. They are shown to whoever sent the token.
var (
	ErrInvalid     = errors.New("the web identity token is not valid")
	ErrExpired     = errors.New("the web identity token has expired")
	ErrUnreachable = errors.New("the keys of the identity provider cannot be had")
)

const (
	algorithmRS256 = "RS256"
	algorithmES256 = "ES256"

	// maxToken is the longest token that STS's API takes.
	maxToken = 20000
	// skew is how far a provider's clock may be from this one's.
	skew = 5 * time.Minute
	// maxIssuers bounds the providers whose keys are kept.
	maxIssuers = 1024
)

// Config is what a Verifier needs.
type Config struct {
	// Client asks providers. It decides which addresses may be reached.
	Client *http.Client
	// Clock is time.Now if nil.
	Clock func() time.Time
	// Refresh is the least time between two requests for a provider's keys;
	// one minute if zero.
	Refresh time.Duration
	// Keep is how long keys are used without asking again; an hour if zero.
	Keep time.Duration
}

// Verifier verifies tokens. It may be used from several goroutines.
type Verifier struct {
	cfg Config

	mu      sync.Mutex
	issuers map[string]*issuer
}

// issuer is what is known of a provider.
type issuer struct {
	// mu is held while the provider is asked, so that it is asked once.
	mu    sync.Mutex
	set   *keySet
	asked time.Time
	err   error // of the last time
}

// New makes a Verifier.
func New(cfg Config) (*Verifier, error) {
	if cfg.Client == nil {
		return nil, errors.New("webidentity: config: Client is not set")
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Refresh == 0 {
		cfg.Refresh = time.Minute
	}
	if cfg.Keep == 0 {
		cfg.Keep = time.Hour
	}
	return &Verifier{cfg: cfg, issuers: make(map[string]*issuer)}, nil
}

// header is what is read of a token's header (RFC 7515).
type header struct {
	Algorithm string          `json:"alg"`
	KeyID     string          `json:"kid"`
	Critical  json.RawMessage `json:"crit"`
}

// Verify checks a token of an issuer and returns its claims.
func (v *Verifier) Verify(ctx context.Context, name, token string) (map[string]any, error) {
	if len(token) > maxToken {
		return nil, fmt.Errorf("%w: it is longer than %d characters", ErrInvalid, maxToken)
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("%w: it does not have three parts", ErrInvalid)
	}
	var h header
	if err := decode(parts[0], &h); err != nil {
		return nil, fmt.Errorf("%w: its header cannot be read", ErrInvalid)
	}
	if h.Algorithm != algorithmRS256 && h.Algorithm != algorithmES256 || h.Critical != nil {
		return nil, fmt.Errorf("%w: it is not signed by RS256 or ES256", ErrInvalid)
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return nil, fmt.Errorf("%w: its signature cannot be read", ErrInvalid)
	}
	k, err := v.find(ctx, name, &h)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if !k.verify(sum[:], signature) {
		return nil, fmt.Errorf("%w: its signature does not match", ErrInvalid)
	}
	claims := make(map[string]any)
	if err := decode(parts[1], &claims); err != nil {
		return nil, fmt.Errorf("%w: its claims cannot be read", ErrInvalid)
	}
	if err := v.check(name, claims); err != nil {
		return nil, err
	}
	return claims, nil
}

func decode(part string, into any) error {
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// check checks the claims that every token must have.
func (v *Verifier) check(name string, claims map[string]any) error {
	if iss, _ := claims["iss"].(string); iss != name {
		return fmt.Errorf("%w: it is of another issuer", ErrInvalid)
	}
	if sub, _ := claims["sub"].(string); sub == "" {
		return fmt.Errorf("%w: it names no subject", ErrInvalid)
	}
	now := v.cfg.Clock()
	expires, ok := seconds(claims["exp"])
	if !ok {
		return fmt.Errorf("%w: it has no expiry", ErrInvalid)
	}
	if !now.Before(expires) {
		return fmt.Errorf("%w: current date/time %s must be before the expiration date/time %s", ErrExpired,
			now.UTC().Format(time.RFC3339), expires.UTC().Format(time.RFC3339))
	}
	issued, ok := seconds(claims["iat"])
	if !ok {
		return fmt.Errorf("%w: it does not say when it was issued", ErrInvalid)
	}
	if issued.After(now.Add(skew)) {
		return fmt.Errorf("%w: it is of the future", ErrInvalid)
	}
	if from, ok := seconds(claims["nbf"]); ok && from.After(now.Add(skew)) {
		return fmt.Errorf("%w: it is not valid yet", ErrInvalid)
	}
	return nil
}

// seconds reads a time as tokens have it: seconds since 1970.
func seconds(claim any) (time.Time, bool) {
	n, ok := claim.(float64)
	const most = 1 << 40
	if !ok || n < 0 || n > most {
		return time.Time{}, false
	}
	return time.Unix(int64(n), 0), true
}

func (k *key) verify(sum, signature []byte) bool {
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, sum, signature) == nil
	case *ecdsa.PublicKey:
		const size = 32
		return len(signature) == 2*size &&
			ecdsa.Verify(public, sum, new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:]))
	}
	return false
}

// find returns the key that a token says it is signed with. Keys that are
// not known are asked for, as providers change theirs.
func (v *Verifier) find(ctx context.Context, name string, h *header) (*key, error) {
	p := v.issuer(name)
	p.mu.Lock()
	defer p.mu.Unlock()
	now := v.cfg.Clock()
	k := p.set.find(h)
	fresh := p.set != nil && now.Sub(p.set.at) < v.cfg.Keep
	if k != nil && fresh {
		return k, nil
	}
	if p.asked.IsZero() || now.Sub(p.asked) >= v.cfg.Refresh {
		p.asked = now
		var set *keySet
		if set, p.err = v.fetch(ctx, name); p.err == nil {
			p.set = set
			k, fresh = set.find(h), true
		}
	}
	switch {
	case k != nil && fresh:
		return k, nil
	case p.err != nil:
		return nil, p.err
	}
	return nil, fmt.Errorf("%w: its provider publishes no key %.100q for it", ErrInvalid, h.KeyID)
}

func (v *Verifier) issuer(name string) *issuer {
	v.mu.Lock()
	defer v.mu.Unlock()
	p := v.issuers[name]
	if p == nil {
		if len(v.issuers) >= maxIssuers {
			v.issuers = make(map[string]*issuer)
		}
		p = new(issuer)
		v.issuers[name] = p
	}
	return p
}

// find returns the key of a token's header. A token without a key id fits the
// provider's only key of the algorithm.
func (s *keySet) find(h *header) *key {
	if s == nil {
		return nil
	}
	var found *key
	for i := range s.keys {
		k := &s.keys[i]
		if k.algorithm != h.Algorithm || h.KeyID != "" && k.id != h.KeyID {
			continue
		}
		if found != nil {
			return nil // which one is anybody's guess
		}
		found = k
	}
	return found
}
