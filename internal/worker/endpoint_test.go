package worker

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"hearth/internal/controlstream"
	"hearth/internal/environment"
	"hearth/internal/function"
)

// serveDoor opens a door to that handler and returns how to come through it.
func serveDoor(t *testing.T, handler http.HandlerFunc) (s *endpoint, d *door, dial func() net.Conn) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s = newEndpoint(handler, slog.New(slog.DiscardHandler))
	d = s.open(l)
	t.Cleanup(func() {
		if err := s.refuse(); err != nil {
			t.Error(err)
		}
		d.shut()
		s.wait()
	})
	return s, d, func() net.Conn {
		t.Helper()
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		return c
	}
}

// ask sends a request and returns its answer.
func ask(t *testing.T, c net.Conn, request string) *http.Response {
	t.Helper()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

const get = "GET /there HTTP/1.1\r\nHost: x\r\n\r\n"

func TestEndpointShowsTheFunctionsAddress(t *testing.T) {
	_, _, dial := serveDoor(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.RemoteAddr+r.URL.Path) })
	resp := ask(t, dial(), get)
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != "169.254.100.1:0/there" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestEndpointBounds comes with more than is let in.
func TestEndpointBounds(t *testing.T) {
	_, d, dial := serveDoor(t, func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		}
	})
	const post = "POST / HTTP/1.1\r\nHost: x\r\n"
	if got := ask(t, dial(), post+"Content-Length: 8388609\r\n\r\n").StatusCode; got != http.StatusRequestEntityTooLarge {
		t.Errorf("a long body: got %d", got)
	}
	chunks := strings.Repeat("10000\r\n"+strings.Repeat("x", 0x10000)+"\r\n", 129)
	if got := ask(t, dial(), post+"Transfer-Encoding: chunked\r\n\r\n"+chunks+"0\r\n\r\n").StatusCode; got != http.StatusRequestEntityTooLarge {
		t.Errorf("a long body in chunks: got %d", got)
	}
	first := dial()
	if resp := ask(t, first, get); resp.Close {
		t.Error("a connection ends with its request though there is room")
	}
	for range endpointConns {
		dial()
	}
	over := dial()
	_ = over.SetDeadline(time.Now().Add(5 * time.Second)) // less than the server's patience
	if n, err := over.Read(make([]byte, 1)); n != 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("one too many: got %d, %v, want to be hung up on", n, err)
	}
	if resp := ask(t, first, get); !resp.Close {
		t.Error("a connection is kept though others wait")
	}
	d.shut()
	if n, err := first.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("after the environment's end: got %d, %v, want to be hung up on", n, err)
	}
}

// TestEndpointReadsFewLargeBodies has large bodies come slowly: a third waits,
// and small requests do not.
func TestEndpointReadsFewLargeBodies(t *testing.T) {
	reading := make(chan struct{}, 3)
	_, d, dial := serveDoor(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			reading <- struct{}{}
			_, _ = io.Copy(io.Discard, r.Body)
		}
	})
	const size = largeBody + 1
	var slow []net.Conn
	for range endpointLarge + 1 {
		c := dial()
		if _, err := io.WriteString(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 262145\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, c)
	}
	for range endpointLarge {
		<-reading
	}
	if got := ask(t, dial(), get).StatusCode; got != http.StatusOK {
		t.Errorf("a small request beside them: got %d", got)
	}
	if len(reading) != 0 || len(d.large) != endpointLarge {
		t.Errorf("more than %d are read at once", endpointLarge)
	}
	var all sync.WaitGroup
	for _, c := range slow { // at once: nobody knows which of them waits
		all.Go(func() {
			if _, err := io.WriteString(c, strings.Repeat("x", size)); err != nil {
				t.Error(err)
			}
		})
	}
	for _, c := range slow {
		if got := ask(t, c, "").StatusCode; got != http.StatusOK {
			t.Errorf("got %d", got)
		}
	}
	all.Wait()
}

// TestEndpointWaits has a request under way when the worker stops.
func TestEndpointWaits(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	s, _, dial := serveDoor(t, func(http.ResponseWriter, *http.Request) {
		close(begun)
		<-finish
	})
	if _, err := io.WriteString(dial(), get); err != nil {
		t.Fatal(err)
	}
	<-begun
	if err := s.refuse(); err != nil {
		t.Fatal(err)
	}
	waited := make(chan struct{})
	go func() { s.wait(); close(waited) }()
	select {
	case <-waited:
		t.Error("it did not wait for the request")
	default:
	}
	close(finish)
	<-waited
	if s.begin() {
		t.Error("a request is taken after the end")
	}
}

func TestSecretsReachTheFunctionAlone(t *testing.T) {
	rec := &function.Record{Name: "f", Serving: &function.Config{Runtime: "python3.11", MemorySize: 128}}
	secrets := environment.Secrets{
		Keys:      environment.Keys{AccessKeyID: "id", SecretAccessKey: "s3cr3t", SessionToken: "t0ken"},
		Variables: map[string]string{"PASSWORD": "s3cr3t"},
	}
	start := &environment.Start{Record: rec, Secrets: secrets}
	w := &Worker{ctx: t.Context(), endpoint: &endpoint{}}
	env := w.platformEnv(start, "group", "stream")
	for name, want := range map[string]string{
		"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "s3cr3t", "AWS_SESSION_TOKEN": "t0ken", "AWS_ENDPOINT_URL": controlstream.EndpointURL,
	} {
		if env[name] != want {
			t.Errorf("%s: got %q, want %q", name, env[name], want)
		}
	}
	var b strings.Builder
	slog.New(slog.NewTextHandler(&b, nil)).Info("start", "start", *start, "keys", secrets.Keys, "in", struct{ Keys environment.Keys }{secrets.Keys})
	if strings.Contains(b.String(), "s3cr3t") || strings.Contains(b.String(), "t0ken") {
		t.Errorf("the log shows keys: %s", b.String())
	}
}
