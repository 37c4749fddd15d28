package webidentity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// provider is an identity provider.
type provider struct {
	*httptest.Server

	mu     sync.Mutex
	now    time.Time
	rsa    map[string]*rsa.PrivateKey
	ec     map[string]*ecdsa.PrivateKey
	extra  []jwk
	issuer string // in the configuration, if not the server's own
	keysAt string // the same
	broken bool
	asked  atomic.Int64
}

var oneRSA = sync.OnceValue(func() *rsa.PrivateKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k
})

func newProvider(t testing.TB) (*provider, *Verifier) {
	t.Helper()
	p := &provider{now: at, rsa: map[string]*rsa.PrivateKey{"r1": oneRSA()}, ec: map[string]*ecdsa.PrivateKey{"e1": newEC(t)}}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		p.asked.Add(1)
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.broken {
			http.Error(w, "no", http.StatusInternalServerError)
			return
		}
		d := discovery{Issuer: p.URL, Keys: p.URL + "/keys"}
		if p.issuer != "" {
			d.Issuer = p.issuer
		}
		if p.keysAt != "" {
			d.Keys = p.keysAt
		}
		_ = json.NewEncoder(w).Encode(d)
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": p.keys(t)})
	})
	p.Server = httptest.NewTLSServer(mux)
	t.Cleanup(p.Close)
	t.Cleanup(p.Client().CloseIdleConnections)
	v, err := New(Config{Client: p.Client(), Clock: func() time.Time { p.mu.Lock(); defer p.mu.Unlock(); return p.now }})
	if err != nil {
		t.Fatal(err)
	}
	return p, v
}

func newEC(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (p *provider) keys(t testing.TB) []jwk {
	b64 := base64.RawURLEncoding.EncodeToString
	all := append([]jwk(nil), p.extra...)
	for id, k := range p.rsa {
		all = append(all, jwk{Type: "RSA", Use: "sig", Algorithm: "RS256", ID: id, N: b64(k.N.Bytes()), E: b64(big.NewInt(int64(k.E)).Bytes())})
	}
	for id, k := range p.ec {
		point, err := k.PublicKey.Bytes()
		if err != nil {
			t.Error(err)
		}
		all = append(all, jwk{Type: "EC", Curve: "P-256", ID: id, X: b64(point[1:33]), Y: b64(point[33:])})
	}
	return all
}

func (p *provider) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func (p *provider) claims(change map[string]any) map[string]any {
	c := map[string]any{
		"iss": p.URL, "sub": "me", "aud": "app",
		"iat": at.Add(-time.Minute).Unix(), "exp": at.Add(time.Hour).Unix(),
	}
	maps.Copy(c, change)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func part(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// sign makes a token with the provider's key of an id.
func (p *provider) sign(t testing.TB, header, claims map[string]any, with any) string {
	t.Helper()
	text := part(header) + "." + part(claims)
	sum := sha256.Sum256([]byte(text))
	var signature []byte
	var err error
	switch k := with.(type) {
	case *rsa.PrivateKey:
		signature, err = rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, sum[:])
	case *ecdsa.PrivateKey:
		var r, s *big.Int
		r, s, err = ecdsa.Sign(rand.Reader, k, sum[:])
		signature = make([]byte, 64)
		r.FillBytes(signature[:32])
		s.FillBytes(signature[32:])
	}
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

func rs(id string) map[string]any { return map[string]any{"alg": "RS256", "kid": id, "typ": "JWT"} }

func TestVerify(t *testing.T) {
	p, v := newProvider(t)
	for what, token := range map[string]string{
		"RS256":          p.sign(t, rs("r1"), p.claims(nil), oneRSA()),
		"ES256":          p.sign(t, map[string]any{"alg": "ES256", "kid": "e1"}, p.claims(nil), p.ec["e1"]),
		"without an id":  p.sign(t, map[string]any{"alg": "RS256"}, p.claims(nil), oneRSA()),
		"a clock ahead":  p.sign(t, rs("r1"), p.claims(map[string]any{"iat": at.Add(4 * time.Minute).Unix()}), oneRSA()),
		"with nbf":       p.sign(t, rs("r1"), p.claims(map[string]any{"nbf": at.Unix()}), oneRSA()),
		"many audiences": p.sign(t, rs("r1"), p.claims(map[string]any{"aud": []string{"a", "b"}}), oneRSA()),
	} {
		claims, err := v.Verify(t.Context(), p.URL, token)
		if err != nil || claims["sub"] != "me" {
			t.Errorf("%s: %v, %v", what, claims, err)
		}
	}
	if n := p.asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

func TestRefuses(t *testing.T) {
	p, v := newProvider(t)
	good := p.sign(t, rs("r1"), p.claims(nil), oneRSA())
	parts := strings.Split(good, ".")
	evil := newEC(t)
	for what, tt := range map[string]struct {
		token string
		want  error
	}{
		"expired":            {p.sign(t, rs("r1"), p.claims(map[string]any{"exp": at.Unix()}), oneRSA()), ErrExpired},
		"no expiry":          {p.sign(t, rs("r1"), p.claims(map[string]any{"exp": nil}), oneRSA()), ErrInvalid},
		"an expiry of text":  {p.sign(t, rs("r1"), p.claims(map[string]any{"exp": "9999999999"}), oneRSA()), ErrInvalid},
		"a vast expiry":      {p.sign(t, rs("r1"), p.claims(map[string]any{"exp": 1e300}), oneRSA()), ErrInvalid},
		"no time of issue":   {p.sign(t, rs("r1"), p.claims(map[string]any{"iat": nil}), oneRSA()), ErrInvalid},
		"of the future":      {p.sign(t, rs("r1"), p.claims(map[string]any{"iat": at.Add(6 * time.Minute).Unix()}), oneRSA()), ErrInvalid},
		"not yet":            {p.sign(t, rs("r1"), p.claims(map[string]any{"nbf": at.Add(6 * time.Minute).Unix()}), oneRSA()), ErrInvalid},
		"another issuer":     {p.sign(t, rs("r1"), p.claims(map[string]any{"iss": "https://other"}), oneRSA()), ErrInvalid},
		"no subject":         {p.sign(t, rs("r1"), p.claims(map[string]any{"sub": nil}), oneRSA()), ErrInvalid},
		"another's key":      {p.sign(t, map[string]any{"alg": "ES256", "kid": "e1"}, p.claims(nil), evil), ErrInvalid},
		"an unknown key":     {p.sign(t, rs("r9"), p.claims(nil), oneRSA()), ErrInvalid},
		"no algorithm":       {part(map[string]any{"alg": "none"}) + "." + parts[1] + ".", ErrInvalid},
		"HS256":              {part(map[string]any{"alg": "HS256", "kid": "r1"}) + "." + parts[1] + "." + parts[2], ErrInvalid},
		"RSA's key as ECDSA": {p.sign(t, map[string]any{"alg": "ES256", "kid": "r1"}, p.claims(nil), evil), ErrInvalid},
		"critical":           {p.sign(t, map[string]any{"alg": "RS256", "kid": "r1", "crit": []string{"x"}}, p.claims(nil), oneRSA()), ErrInvalid},
		"changed claims":     {parts[0] + "." + part(p.claims(map[string]any{"sub": "you"})) + "." + parts[2], ErrInvalid},
		"a short signature":  {parts[0] + "." + parts[1] + ".AAAA", ErrInvalid},
		"two parts":          {parts[0] + "." + parts[1], ErrInvalid},
		"four parts":         {good + ".x", ErrInvalid},
		"empty":              {"", ErrInvalid},
		"too long":           {strings.Repeat("x", maxToken+1), ErrInvalid},
	} {
		claims, err := v.Verify(t.Context(), p.URL, tt.token)
		if !errors.Is(err, tt.want) || claims != nil {
			t.Errorf("%s: %v, %v", what, claims, err)
		} else if len(tt.token) > 20 && strings.Contains(err.Error(), tt.token[:20]) {
			t.Errorf("%s: the token is in the error: %v", what, err)
		}
	}
}

// TestKeysChange follows a provider that changes its keys, and asks it no
// more often than it should.
func TestKeysChange(t *testing.T) {
	p, v := newProvider(t)
	fresh := newEC(t)
	if _, err := v.Verify(t.Context(), p.URL, p.sign(t, rs("r1"), p.claims(nil), oneRSA())); err != nil {
		t.Fatal(err)
	}
	p.set(func() { p.ec = map[string]*ecdsa.PrivateKey{"e2": fresh} })
	token := p.sign(t, map[string]any{"alg": "ES256", "kid": "e2"}, p.claims(nil), fresh)
	for range 3 {
		if _, err := v.Verify(t.Context(), p.URL, token); !errors.Is(err, ErrInvalid) {
			t.Errorf("a new key within the minute: %v", err)
		}
	}
	if n := p.asked.Load(); n != 1 {
		t.Errorf("asked %d times in a minute", n)
	}
	p.set(func() { p.now = p.now.Add(time.Minute) })
	if _, err := v.Verify(t.Context(), p.URL, token); err != nil {
		t.Errorf("a new key: %v", err)
	}
	// What a provider takes back is believed for as long as keys are kept.
	p.set(func() { p.now, p.broken = p.now.Add(50*time.Minute), true })
	if _, err := v.Verify(t.Context(), p.URL, token); err != nil {
		t.Errorf("while the provider is away: %v", err)
	}
	p.set(func() { p.now = p.now.Add(10 * time.Minute) })
	if _, err := v.Verify(t.Context(), p.URL, p.sign(t, map[string]any{"alg": "ES256", "kid": "e2"},
		p.claims(map[string]any{"exp": at.Add(3 * time.Hour).Unix()}), fresh)); !errors.Is(err, ErrUnreachable) {
		t.Errorf("an hour later: %v", err)
	}
}

func TestProviderMisbehaves(t *testing.T) {
	for what, change := range map[string]func(*provider){
		"another issuer's configuration": func(p *provider) { p.issuer = "https://other" },
		"keys over HTTP":                 func(p *provider) { p.keysAt = strings.Replace(p.URL, "https", "http", 1) + "/keys" },
		"no keys":                        func(p *provider) { p.keysAt = p.URL + "/nothing" },
		"an error":                       func(p *provider) { p.broken = true },
		"too many keys":                  func(p *provider) { p.extra = make([]jwk, maxKeys+1) },
		"an endless document":            func(p *provider) { p.extra = []jwk{{ID: strings.Repeat("x", maxDocument)}} },
	} {
		p, v := newProvider(t)
		p.set(func() { change(p) })
		if _, err := v.Verify(t.Context(), p.URL, p.sign(t, rs("r1"), p.claims(nil), oneRSA())); !errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: %v", what, err)
		}
	}
	p, v := newProvider(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := v.Verify(ctx, p.URL, p.sign(t, rs("r1"), p.claims(nil), oneRSA())); !errors.Is(err, ErrUnreachable) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestBadKeysAreLeftOut(t *testing.T) {
	b64 := base64.RawURLEncoding.EncodeToString
	n := b64(oneRSA().N.Bytes())
	for what, j := range map[string]jwk{
		"a small RSA key":       {Type: "RSA", N: b64(make([]byte, 128)), E: "AQAB"},
		"a vast RSA key":        {Type: "RSA", N: b64([]byte(strings.Repeat("\xff", 2048))), E: "AQAB"},
		"exponent 1":            {Type: "RSA", N: n, E: "AQ"},
		"an even exponent":      {Type: "RSA", N: n, E: "Ag"},
		"a vast exponent":       {Type: "RSA", N: n, E: b64([]byte(strings.Repeat("\xff", 9)))},
		"a key for encryption":  {Type: "RSA", N: n, E: "AQAB", Use: "enc"},
		"of another algorithm":  {Type: "RSA", N: n, E: "AQAB", Algorithm: "PS256"},
		"a point off the curve": {Type: "EC", Curve: "P-256", X: "AQ", Y: "AQ"},
		"another curve":         {Type: "EC", Curve: "P-384", X: "AQ", Y: "AQ"},
		"symmetric":             {Type: "oct"},
		"no base64":             {Type: "RSA", N: "!", E: "AQAB"},
		"nothing":               {},
	} {
		if _, err := j.key(); err == nil {
			t.Errorf("%s was taken", what)
		}
	}
	if _, err := (&jwk{Type: "RSA", N: n, E: "AQAB"}).key(); err != nil {
		t.Errorf("a good key: %v", err)
	}
}

// FuzzVerify feeds tokens and what a provider publishes.
func FuzzVerify(f *testing.F) {
	f.Add("a.b.c", `{"keys":[]}`)
	f.Add(part(rs("r1"))+"."+part(map[string]any{"iss": "https://p"})+".AAAA", `{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB","kid":"r1"}]}`)
	f.Fuzz(func(t *testing.T, token, keys string) {
		client := &http.Client{Transport: answers(func(r *http.Request) string {
			if strings.HasSuffix(r.URL.Path, "configuration") {
				return `{"issuer":"https://p","jwks_uri":"https://p/keys"}`
			}
			return keys
		})}
		v, err := New(Config{Client: client, Clock: func() time.Time { return at }})
		if err != nil {
			t.Fatal(err)
		}
		if claims, err := v.Verify(t.Context(), "https://p", token); err == nil && claims["iss"] != "https://p" {
			t.Fatalf("%q was believed: %v", token, claims)
		}
	})
}

// answers is a transport that answers by itself.
type answers func(*http.Request) string

func (a answers) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	_, err := w.WriteString(a(r))
	return w.Result(), err
}
