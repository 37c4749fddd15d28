package azcache

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"hearth/internal/chunk"
	"hearth/internal/chunkstore/cache"
	"hearth/internal/chunkstore/disk/disktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const size = 1000 + chunk.Overhead

var key = Key{1, 2, 3}

// sealed returns the i-th chunk of a root.
func sealed(root chunk.Root, i int) (chunk.Ref, []byte) {
	salt := chunk.Salt{Epoch: 1}
	name, _, b := chunk.Seal(nil, chunk.NewExtra(&salt, root, chunk.Common), fmt.Appendf(nil, "%1000d", i))
	return chunk.Ref{Root: root, Name: name}, b
}

func newServer(t *testing.T, keys ...Key) *Server {
	t.Helper()
	c, err := cache.Open(cache.Config{MemoryBytes: 1000 * size})
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewServer(ServerConfig{Cache: c, Keys: append(keys, key)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// do sends a signed request; change may change it.
func do(s http.Handler, method string, ref chunk.Ref, body []byte, change func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, chunkPath(ref), bytes.NewReader(body))
	r.Header.Set("Authorization", authorization(&key, method, ref, time.Now()))
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestServer(t *testing.T) {
	s := newServer(t)
	ref, b := sealed(1, 1)
	for _, step := range []struct {
		method string
		want   int
	}{{"GET", 404}, {"PUT", 201}, {"GET", 200}, {"PUT", 204}, {"DELETE", 405}, {"POST", 405}} {
		var body []byte
		if step.method == "PUT" {
			body = b
		}
		w := do(s, step.method, ref, body, nil)
		if w.Code != step.want {
			t.Errorf("%s: %d, want %d", step.method, w.Code, step.want)
		}
		if w.Code == 200 && (!bytes.Equal(w.Body.Bytes(), b) || w.Header().Get("Content-Length") != fmt.Sprint(size)) {
			t.Errorf("got %d bytes", w.Body.Len())
		}
	}
	if got := s.Stats(); got.Hits != 1 || got.Misses != 1 || got.Puts != 1 || got.Bytes != size || got.Refused+got.Busy+got.Unauthorized != 0 {
		t.Errorf("%+v", got)
	}
}

// TestUnauthorized: without the key, nobody learns or changes anything.
func TestUnauthorized(t *testing.T) {
	s := newServer(t)
	ref, b := sealed(1, 1)
	other, otherBytes := sealed(1, 2)
	if w := do(s, "PUT", ref, b, nil); w.Code != 201 {
		t.Fatal(w.Code)
	}
	header := func(h string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", h) }
	}
	wrong := Key{9}
	now := time.Now()
	for what, change := range map[string]func(*http.Request){
		"none":           func(r *http.Request) { r.Header.Del("Authorization") },
		"empty":          header(""),
		"another key":    header(authorization(&wrong, "GET", ref, now)),
		"a key of zeros": header(authorization(&Key{}, "GET", ref, now)),
		"too old":        header(authorization(&key, "GET", ref, now.Add(-skew-2*time.Second))),
		"of the future":  header(authorization(&key, "GET", ref, now.Add(skew+2*time.Second))),
		"of a put":       header(authorization(&key, "PUT", ref, now)),
		"of another":     header(authorization(&key, "GET", other, now)),
		"another root":   func(r *http.Request) { r.URL.Path = chunkPath(chunk.Ref{Root: 2, Name: ref.Name}) },
		"another path":   func(r *http.Request) { r.URL.Path = "/" },
		"dots":           func(r *http.Request) { r.URL.Path = "/v1/chunk/../../etc/passwd" },
		"time changed": header(strings.Replace(authorization(&key, "GET", ref, now.Add(-skew-time.Hour)),
			fmt.Sprint(now.Add(-skew-time.Hour).Unix()), fmt.Sprint(now.Unix()), 1)),
	} {
		if w := do(s, "GET", ref, nil, change); w.Code != 401 || bytes.Contains(w.Body.Bytes(), b[:20]) {
			t.Errorf("%s: %d", what, w.Code)
		}
	}
	// The signature of one put is good for no other body: its name is signed.
	for what, body := range map[string][]byte{"another": otherBytes, "flipped": append(bytes.Clone(b[:size-1]), b[size-1]^1)} {
		if w := do(s, "PUT", other, body, header(authorization(&key, "PUT", ref, now))); w.Code != 401 {
			t.Errorf("put of %s: %d", what, w.Code)
		}
	}
	if s.cfg.Cache.Has(other) {
		t.Error("something was taken")
	}
}

// TestOldKey: while a key is replaced, both are good.
func TestOldKey(t *testing.T) {
	next := Key{7}
	s := newServer(t, next)
	ref, _ := sealed(1, 1)
	for _, k := range []Key{key, next} {
		if w := do(s, "GET", ref, nil, func(r *http.Request) {
			r.Header.Set("Authorization", authorization(&k, "GET", ref, time.Now()))
		}); w.Code != 404 {
			t.Errorf("%d", w.Code)
		}
	}
}

// TestPoison: who has the key cannot fill a node with what is wrong.
func TestPoison(t *testing.T) {
	s := newServer(t)
	ref, b := sealed(1, 1)
	_, other := sealed(1, 2)
	_, replayed := sealed(2, 1)
	for what, body := range map[string][]byte{
		"flipped": append([]byte{b[0] ^ 1}, b[1:]...), "truncated": b[:size-1], "longer": append(bytes.Clone(b), 0), "empty": nil,
		"swapped": other, "replayed": replayed, "too long": make([]byte, chunk.MaxCiphertext+1),
	} {
		if w := do(s, "PUT", ref, body, nil); w.Code != 400 {
			t.Errorf("%s: %d", what, w.Code)
		}
	}
	for what, change := range map[string]func(*http.Request){
		"no length":         func(r *http.Request) { r.ContentLength = -1 },
		"a length too long": func(r *http.Request) { r.ContentLength = chunk.MaxCiphertext + 1 },
		"ends early":        func(r *http.Request) { r.ContentLength = size + 5 },
	} {
		if w := do(s, "PUT", ref, b, change); w.Code != 400 {
			t.Errorf("%s: %d", what, w.Code)
		}
	}
	if w := do(s, "GET", ref, nil, nil); w.Code != 404 {
		t.Errorf("get: %d", w.Code)
	}
	if got := s.Stats(); got.Refused != 10 || got.Puts != 0 {
		t.Errorf("%+v", got)
	}
}

func TestBusy(t *testing.T) {
	s := newServer(t)
	for range cap(s.putting) {
		s.putting <- struct{}{}
	}
	ref, b := sealed(1, 1)
	if w := do(s, "PUT", ref, b, nil); w.Code != 503 || s.Stats().Busy != 1 {
		t.Errorf("%d", w.Code)
	}
}

// gatedDisk counts the reads that wait for its gate.
type gatedDisk struct {
	*disktest.Disk
	gate    chan struct{}
	waiting atomic.Int32
	reads   atomic.Int32
}

func (d *gatedDisk) ReadFile(name string, limit int64) ([]byte, error) {
	d.waiting.Add(1)
	<-d.gate
	d.waiting.Add(-1)
	d.reads.Add(1)
	return d.Disk.ReadFile(name, limit)
}

// stalled is a client that takes no byte before its gate is open.
type stalled struct {
	*httptest.ResponseRecorder
	gate chan struct{}
}

func (s stalled) Write(b []byte) (int, error) {
	<-s.gate
	return s.ResponseRecorder.Write(b)
}

// TestReads: a bounded number of chunks is read at a time, whatever is asked
// for; misses and slow clients are in nobody's way.
func TestReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		on := &gatedDisk{Disk: disktest.New(), gate: make(chan struct{})}
		fill, err := cache.Open(cache.Config{DiskBytes: 100 * size, Disk: on.Disk})
		if err != nil {
			t.Fatal(err)
		}
		const chunks = 6
		for i := range chunks {
			fill.Put(sealed(1, i))
		}
		if err := fill.Close(); err != nil {
			t.Fatal(err)
		}
		go func() { on.gate <- struct{}{} }() // for the index
		c, err := cache.Open(cache.Config{MemoryBytes: 100 * size, DiskBytes: 100 * size, Disk: on})
		if err != nil {
			t.Fatal(err)
		}
		s, err := NewServer(ServerConfig{Cache: c, Keys: []Key{key}, Reads: 2, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		clients := make(chan struct{})
		get := func(i int) *httptest.ResponseRecorder {
			ref, _ := sealed(1, i)
			r := httptest.NewRequest(http.MethodGet, chunkPath(ref), nil)
			r.Header.Set("Authorization", authorization(&key, http.MethodGet, ref, time.Now()))
			w := httptest.NewRecorder()
			s.ServeHTTP(stalled{w, clients}, r)
			return w
		}
		var all sync.WaitGroup
		for i := range 3 * chunks {
			all.Go(func() {
				if w := get(i % chunks); w.Code != http.StatusOK {
					t.Errorf("%d: %d", i, w.Code)
				}
			})
		}
		synctest.Wait()
		if got := on.waiting.Load(); got != 2 {
			t.Errorf("%d reads at a time, want 2", got)
		}
		// A miss waits for its own, slow client only.
		missing := make(chan int)
		go func() { missing <- get(chunks).Code }()
		clients <- struct{}{}
		if code := <-missing; code != http.StatusNotFound {
			t.Errorf("miss: %d", code)
		}
		// No client takes a byte, and yet all are read.
		for synctest.Wait(); on.waiting.Load() > 0; synctest.Wait() {
			if got := on.waiting.Load(); got > 2 {
				t.Fatalf("%d reads at a time", got)
			}
			on.gate <- struct{}{}
		}
		// Two of them may have been at the same chunk, and the index is one more.
		if got := on.reads.Load(); got < chunks+1 || got > 2*chunks+1 {
			t.Errorf("%d reads of %d chunks and an index", got, chunks)
		}
		close(clients)
		all.Wait()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestServerConfig(t *testing.T) {
	if _, err := NewServer(ServerConfig{}); err == nil {
		t.Error("accepted")
	}
}

func TestKeyHides(t *testing.T) {
	for _, format := range []string{"%v", "%s", "%+v", "%#v"} {
		if got := fmt.Sprintf(format, key); got != "[key]" {
			t.Errorf("%s shows %s", format, got)
		}
	}
}

func FuzzParsePath(f *testing.F) {
	ref, _ := sealed(1, 1)
	f.Add(chunkPath(ref))
	f.Add("/v1/chunk/../..")
	f.Fuzz(func(t *testing.T, path string) {
		if ref, err := parsePath(path); err == nil && chunkPath(ref) != path {
			t.Errorf("%q is %q", path, chunkPath(ref))
		}
	})
}

func FuzzParseAuthorization(f *testing.F) {
	ref, _ := sealed(1, 1)
	f.Add(authorization(&key, "GET", ref, time.Unix(1_800_000_000, 0)))
	f.Add(scheme + " time=, signature=")
	f.Add(scheme + " time=-9223372036854775808, signature=" + strings.Repeat("0", 64))
	f.Fuzz(func(t *testing.T, header string) {
		unix, signature, err := parseAuthorization(header)
		if err != nil {
			if !errors.Is(err, errUnauthorized) {
				t.Error(err)
			}
			return
		}
		if len(signature) != 32 || unix < 0 {
			t.Errorf("%d, %x", unix, signature)
		}
		good := authorization(&key, "GET", ref, time.Unix(unix, 0))
		if accepted := verify([]Key{key}, header, "GET", ref, time.Unix(unix, 0)) == nil; accepted && !strings.EqualFold(strings.Replace(header, " time=0", " time=", 1), good) &&
			!bytes.Equal(signature, mac(&key, "GET", ref, unix)) {
			t.Errorf("%q was accepted", header)
		}
	})
}
