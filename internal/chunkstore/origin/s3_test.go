package origin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"hearth/internal/chunk"
	"hearth/internal/s3"
	"hearth/test/harness"
)

// logged is a proxy in front of an S3 server that logs the requests.
type logged struct {
	url string
	mu  sync.Mutex
	log []string
}

func (l *logged) count(method string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.log {
		if strings.HasPrefix(line, method+" ") {
			n++
		}
	}
	return n
}

func startS3(t *testing.T) *logged {
	t.Helper()
	server := harness.StartS3(t)
	server.MakeBucket(t, "store")
	l := &logged{}
	l.url = server.Behind(t, func(r *http.Request) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.log = append(l.log, r.Method+" "+r.RequestURI)
	})
	return l
}

func openS3(t *testing.T, endpoint, prefix string) *S3 {
	t.Helper()
	c, err := s3.New(s3.Config{
		Endpoint: endpoint, AnswerTimeout: 2 * time.Second, Connections: deletions,
		Credentials: s3.Credentials{AccessKeyID: "AKIAHEARTHTEST000001", SecretAccessKey: "secret"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	s, err := NewS3(c, "store", prefix)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestS3(t *testing.T) {
	server := startS3(t)
	for _, prefix := range []string{"", "chunks", "/a/b/"} {
		testOrigin(t, openS3(t, server.url, prefix))
	}
	// A chunk that is there is not sent again.
	s := openS3(t, server.url, "once")
	ref, b := sealed(7, "once")
	before := server.count("PUT")
	put(t, s, ref, b, true)
	put(t, s, ref, b, false)
	if got := server.count("PUT") - before; got != 1 {
		t.Errorf("%d requests stored one chunk", got)
	}
}

// TestS3Pages lists and deletes more chunks than are in a page.
func TestS3Pages(t *testing.T) {
	s := openS3(t, startS3(t).url, "chunks")
	const n = 1100
	var wg sync.WaitGroup
	running := make(chan struct{}, 8)
	for i := range n {
		running <- struct{}{}
		wg.Go(func() {
			defer func() { <-running }()
			ref, b := sealed(7, fmt.Sprint(i))
			if _, err := s.PutChunk(t.Context(), ref, b); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := names(t, s, 7); len(got) != n {
		t.Errorf("%d chunks, want %d", len(got), n)
	}
	if err := s.DeleteRoot(t.Context(), 7); err != nil {
		t.Error(err)
	}
	if got := names(t, s, 7); len(got) != 0 {
		t.Errorf("%d chunks are left", len(got))
	}
}

// TestS3Expire is as for directories, but that alarms are raised beside reads.
func TestS3Expire(t *testing.T) {
	server := startS3(t)
	d, other := openS3(t, server.url, "chunks"), openS3(t, server.url, "chunks")
	d.watch.every, other.watch.every = 0, 0
	testExpire(t, d, other)
	// A read costs one request, but for one root in watchEvery.
	ref, b := sealed(8, "x")
	put(t, d, ref, b, true)
	d.watch.every = time.Hour
	before := server.count("GET") + server.count("HEAD")
	for range 5 {
		if got := state(t, d, ref, b); got != "whole" {
			t.Error(got)
		}
		noticed(d)
	}
	if got := server.count("GET") + server.count("HEAD") - before; got != 6 {
		t.Errorf("%d requests for 5 reads, want one more", got)
	}
}

// TestS3DeletionEnds when an alarm is raised meanwhile.
func TestS3DeletionEnds(t *testing.T) {
	s := openS3(t, startS3(t).url, "")
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(8)
	const n = 2*deletePage + 1
	for i := range n {
		group.Go(func() error {
			ref, b := sealed(7, fmt.Sprint(i))
			_, err := s.PutChunk(ctx, ref, b)
			return err
		})
	}
	if err := errors.Join(group.Wait(), s.Expire(t.Context(), 7)); err != nil {
		t.Fatal(err)
	}
	pages := 0
	freed, err := s.deleteRoot(t.Context(), 7, func(ctx context.Context) error {
		if pages++; pages == 2 {
			if err := s.Raise(ctx, 7); err != nil {
				t.Error(err)
			}
		}
		return s.mayDelete(ctx, 7)
	})
	if !errors.Is(err, ErrAlarm) || freed.Chunks != deletePage {
		t.Errorf("%+v, %v", freed, err)
	}
	if got := names(t, s, 7); len(got) != n-deletePage {
		t.Errorf("%d chunks are left", len(got))
	}
	if err := s.Calm(t.Context(), 7); err != nil {
		t.Fatal(err)
	}
	if freed, err := s.DeleteExpired(t.Context(), 7); err != nil || freed.Chunks != n-deletePage {
		t.Errorf("%+v, %v", freed, err)
	}
}

// TestClaim: a bucket has one owner, and each prefix one.
func TestClaim(t *testing.T) {
	server := startS3(t)
	for _, prefix := range []string{"", "a"} {
		s := openS3(t, server.url, prefix)
		for range 2 {
			if err := s.Claim(t.Context(), "me"+prefix); err != nil {
				t.Error(err)
			}
		}
		for _, other := range []string{"me", "you", "me" + prefix + "x", "m"} {
			if err := s.Claim(t.Context(), other); (other != "me"+prefix) != errors.Is(err, ErrOwned) {
				t.Errorf("%q: %q claims: %v", prefix, other, err)
			}
		}
	}
	if err := openS3(t, "http://127.0.0.1:9", "").Claim(t.Context(), "me"); err == nil || errors.Is(err, ErrOwned) {
		t.Errorf("an endpoint that is away: %v", err)
	}
}

func TestLocation(t *testing.T) {
	for _, bad := range []string{
		"http://host", "http://host/", "host/b", "ftp://host/b", "http://u:secret@host/b", "http://host/b?x=secret", "http://host/b#x", "http:///b", "://",
	} {
		err := Location{Bucket: bad}.Validate()
		if err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for at, want := range map[Location]string{
		{Dir: "/a"}: "a directory", {Dir: "/b"}: "a directory", {Bucket: "https://h:9000/b/p/"}: "https://h:9000/b/p", {Bucket: "http://h/b"}: "http://h/b",
	} {
		if err := at.Validate(); err != nil || at.String() != want {
			t.Errorf("%+v: %q, %v", at, at, err)
		}
	}
	server := startS3(t)
	credentials := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(credentials, []byte("[default]\naws_access_key_id = AKIAHEARTHTEST000001\naws_secret_access_key = secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ref, b := sealed(7, "x")
	for _, at := range []Location{{Dir: t.TempDir()}, {Bucket: server.url + "/store/p", Credentials: credentials}} {
		o, err := at.Open()
		if err != nil {
			t.Fatal(err)
		}
		reader, err := at.Attach()
		if err != nil {
			t.Fatal(err)
		}
		batch := o.NewBatch()
		put(t, batch, ref, b, true)
		if err := batch.Flush(t.Context()); err != nil {
			t.Error(err)
		}
		batch.Close()
		if got := state(t, reader, ref, b); got != "whole" {
			t.Errorf("%s: %s", at, got)
		}
		if err := errors.Join(reader.Close(), o.Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestS3Fails: an endpoint that fails is neither empty nor full.
func TestS3Fails(t *testing.T) {
	ref, b := sealed(7, "x")
	_, other := sealed(7, "another")
	for what, h := range map[string]http.HandlerFunc{
		"error":     func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"forbidden": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) },
		"no bucket": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte("<Error><Code>NoSuchBucket</Code></Error>"))
		},
		"not S3": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) },
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", fmt.Sprint(len(b)))
			_, _ = w.Write(b[:9])
		},
		"endless": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "100000000") },
	} {
		server := httptest.NewServer(h)
		t.Cleanup(server.Close)
		s := openS3(t, server.URL, "")
		if _, err := s.ReadChunk(t.Context(), ref); err == nil || errors.Is(err, chunk.ErrNotFound) {
			t.Errorf("%s: read: %v", what, err)
		}
		if _, err := s.Roots(t.Context()); err == nil {
			t.Errorf("%s: roots: no error", what)
		}
		if err := s.DeleteRoot(t.Context(), 7); err == nil {
			t.Errorf("%s: delete root: no error", what)
		}
		if what == "cut" || what == "endless" {
			continue
		}
		if _, err := s.PutChunk(t.Context(), ref, b); err == nil {
			t.Errorf("%s: put: no error", what)
		}
	}
	// Other bytes than the chunk's are found by whoever checks, and distrusted.
	s := openS3(t, startS3(t).url, "")
	put(t, s, ref, b, true)
	if set, err := s.Distrust(t.Context(), ref); set || err != nil {
		t.Errorf("a good copy was distrusted: %v, %v", set, err)
	}
	if err := s.client.Put(t.Context(), "store", s.key(ref), other, chunk.Name{}); err != nil {
		t.Fatal(err)
	}
	if set, err := s.Distrust(t.Context(), ref); !set || err != nil {
		t.Errorf("a bad copy: %v, %v", set, err)
	}
	o, err := s.client.Open(t.Context(), "store", asidePath(ref), "")
	if err != nil {
		t.Fatalf("what was set aside: %v", err)
	}
	defer o.Close()
	if got, err := io.ReadAll(o); err != nil || !bytes.Equal(got, other) {
		t.Errorf("set aside: %d bytes, %v", len(got), err)
	}
	put(t, s, ref, b, true)
}

func TestNewS3(t *testing.T) {
	c, err := s3.New(s3.Config{Endpoint: "http://127.0.0.1:9"})
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []struct{ bucket, prefix string }{{"", ""}, {"b", ".."}, {"b", "a/../b"}, {"b", "a//b"}} {
		if _, err := NewS3(c, bad.bucket, bad.prefix); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}
