package harness

import (
	"bufio"
	"bytes"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// S3 is a real S3 server in a process of its own, which keeps everything in
// memory.
type S3 struct{ URL string }

// StartS3 starts one for a test.
func StartS3(t *testing.T) *S3 {
	t.Helper()
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(root, "bin", "gofakes3")
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("%v; run: make bin/gofakes3", err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-backend", "memory", "-host", "127.0.0.1:0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	port := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			if _, p, ok := strings.Cut(lines.Text(), "using port: "); ok {
				port <- p
			}
		}
		close(port)
	}()
	p, ok := <-port
	if !ok {
		t.Fatal("gofakes3 ended before it told its port")
	}
	return &S3{URL: "http://127.0.0.1:" + p}
}

// Behind starts a proxy in front of the server, and returns its URL. see is
// called with each request first; if it panics with http.ErrAbortHandler the
// connection is cut.
func (s *S3) Behind(t *testing.T, see func(*http.Request)) string {
	t.Helper()
	to, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(to)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		see(r)
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	t.Cleanup(front.Close)
	return front.URL
}

// MakeBucket makes a bucket that keeps every version of an object.
func (s *S3) MakeBucket(t *testing.T, name string) {
	t.Helper()
	s.put(t, "/"+name, nil)
	s.put(t, "/"+name+"?versioning", []byte(`<?xml version="1.0"?>
<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status></VersioningConfiguration>`))
}

// Put stores an object and returns its version.
func (s *S3) Put(t *testing.T, path string, body []byte) (version string) {
	t.Helper()
	return s.put(t, "/"+path, body)
}

func (s *S3) put(t *testing.T, path string, body []byte) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, s.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("put %s: %s", path, resp.Status)
	}
	return resp.Header.Get("X-Amz-Version-Id")
}
