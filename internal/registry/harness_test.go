package registry

import (
	"context"
	"encoding/base64"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/crane"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"go.uber.org/goleak"

	"hearth/internal/audit"
	"hearth/internal/awserr"
	"hearth/internal/ociname"
	"hearth/internal/policy"
	"hearth/internal/sigv4"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Accounts and keys of the tests.
const (
	alice, aliceKey, aliceSecret = "111111111111", "AKIAALICE", "alice/secret+1"
	bob, bobKey, bobSecret       = "222222222222", "AKIABOB", "bob/secret+2"
	sessionKey, sessionToken     = "ASIASESSION", "token=="
)

type keys struct{}

func (keys) Secret(_ context.Context, id, token string) (sigv4.Credential, error) {
	switch {
	case id == aliceKey:
		return sigv4.Credential{AccountID: alice, Secret: aliceSecret}, nil
	case id == bobKey:
		return sigv4.Credential{AccountID: bob, Secret: bobSecret}, nil
	case id == sessionKey && token == sessionToken:
		return sigv4.Credential{AccountID: alice, Secret: aliceSecret, Temporary: true}, nil
	}
	return sigv4.Credential{}, sigv4.ErrUnknownKey
}

// access allows all but what it is told to deny, and notes what it is asked.
type access struct {
	mu    sync.Mutex
	deny  map[string]bool // "ACTION RESOURCE"
	asked []string
}

func (a *access) Authorize(_ context.Context, _ *sigv4.Identity, r *policy.Request, _ *policy.Document) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	what := r.Action + " " + r.Resource
	a.asked = append(a.asked, what)
	if a.deny[what] {
		return awserr.New("AccessDeniedException", "User: u is not authorized to perform: %s", what)
	}
	return nil
}

func (a *access) take() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	asked := a.asked
	a.asked = nil
	return asked
}

// clock is a clock that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// bed is a registry that tests talk to.
type bed struct {
	t      testing.TB
	dir    string
	store  *Store
	server *httptest.Server
	access *access
	clock  *clock
	audit  []audit.Event
	opts   StoreOptions
}

func newBed(t testing.TB, o StoreOptions) *bed {
	t.Helper()
	b := &bed{t: t, dir: t.TempDir(), access: &access{deny: map[string]bool{}}, clock: &clock{now: time.Now()}, opts: o}
	b.opts.Now = b.clock.Now
	b.open()
	t.Cleanup(func() { b.close() })
	return b
}

func (b *bed) open() {
	b.t.Helper()
	store, err := OpenStore(context.Background(), b.dir, b.opts)
	if err != nil {
		b.t.Fatal(err)
	}
	handler, err := NewServer(Config{
		Store: store, Keys: keys{}, Access: b.access, Region: "us-east-1", Log: slog.New(slog.NewTextHandler(testWriter{b.t}, nil)),
		Audit: func(e audit.Event) { b.audit = append(b.audit, e) }, Now: b.clock.Now,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.store, b.server = store, httptest.NewServer(handler)
}

func (b *bed) close() {
	b.server.Close()
	if err := b.store.Close(); err != nil {
		b.t.Error(err)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

// restart opens the directory anew, as after a crash.
func (b *bed) restart() {
	b.t.Helper()
	b.close()
	b.open()
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func (b *bed) host() string { return strings.TrimPrefix(b.server.URL, "http://") }

func as(key, secret string) crane.Option {
	return crane.WithAuth(&authn.Basic{Username: key, Password: secret})
}

var asAlice = as(aliceKey, aliceSecret)

// answer is what a raw request got.
type answer struct {
	code   int
	header http.Header
	body   string
}

// do sends a request as alice, or as whom "user:password@" before the path says.
func (b *bed) do(method, path string, body io.Reader, header ...string) answer {
	b.t.Helper()
	req, err := http.NewRequest(method, b.server.URL+path, body)
	if err != nil {
		b.t.Fatal(err)
	}
	req.SetBasicAuth(aliceKey, aliceSecret)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(got)}
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

func (b *bed) expect(code int, method, path string, body io.Reader, header ...string) answer {
	b.t.Helper()
	a := b.do(method, path, body, header...)
	if a.code != code {
		b.t.Fatalf("%s %s: %d %s, want %d", method, path, a.code, a.body, code)
	}
	return a
}

// push stores a blob in alice's repository and returns its digest.
func (b *bed) push(name, content string) string {
	b.t.Helper()
	digest := ociname.Digest([]byte(content))
	b.expect(201, "POST", "/v2/"+name+"/blobs/uploads/?digest="+digest, strings.NewReader(content))
	return digest
}

func randomImage(t testing.TB, size, layers int64) v1.Image {
	t.Helper()
	img, err := random.Image(size, layers)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func digest(t testing.TB, of interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	h, err := of.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return h.String()
}
