package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hearth/internal/sigv4"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testKey    = "AKIAHEARTHTEST000001"
	testSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

func client(t *testing.T, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func read(t *testing.T, c *Client, bucket, key, version string) (string, int64, error) {
	t.Helper()
	o, err := c.Open(t.Context(), bucket, key, version)
	if err != nil {
		return "", 0, err
	}
	b, err := io.ReadAll(o)
	return string(b), o.Size, errors.Join(err, o.Close())
}

func TestOpen(t *testing.T) {
	var got []string
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.RequestURI)
		if r.Header.Get("Authorization") != "" {
			t.Error("an anonymous request is signed")
		}
		_, _ = io.WriteString(w, "zip")
	})
	for _, tt := range []struct{ endpoint, bucket, key, version, want string }{
		{url, "b", "k", "", "GET /b/k"},
		{url + "/", "b", "k", "", "GET /b/k"},
		{url + "/base/", "b", "a b+c/ü%2F//d", "", "GET /base/b/a%20b%2Bc/%C3%BC%252F//d"},
		{url, "b", "k", "v/1&x=2", "GET /b/k?versionId=v%2F1%26x%3D2"},
	} {
		body, size, err := read(t, client(t, Config{Endpoint: tt.endpoint}), tt.bucket, tt.key, tt.version)
		if err != nil || body != "zip" || size != 3 {
			t.Errorf("%s: %q, %d, %v", tt.key, body, size, err)
			continue
		}
		if last := got[len(got)-1]; last != tt.want {
			t.Errorf("asked for %q, want %q", last, tt.want)
		}
	}
}

func TestBadNames(t *testing.T) {
	url := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the server was asked") })
	c := client(t, Config{Endpoint: url})
	for _, tt := range []struct{ bucket, key string }{
		{"", "k"}, {"..", "k"}, {".", "k"}, {"a/b", "k"}, {strings.Repeat("b", 64), "k"},
		{"b", ""}, {"b", "../other/secret"}, {"b", "a/../b"}, {"b", "a/."}, {"b", strings.Repeat("k", 1025)},
	} {
		if _, _, err := read(t, c, tt.bucket, tt.key, ""); !errors.Is(err, ErrBadName) {
			t.Errorf("%q %q: %v", tt.bucket, tt.key, err)
		}
	}
}

type oneKey struct{}

func (oneKey) Secret(context.Context, string, string) (sigv4.Credential, error) {
	return sigv4.Credential{AccountID: "000000000000", Secret: testSecret}, nil
}

// TestSignature has a verifier that shares no code with the signer check a
// request.
func TestSignature(t *testing.T) {
	v := sigv4.NewVerifier(oneKey{}, time.Now)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		p, err := v.Begin(r)
		if err == nil {
			_, err = p.Check(nil)
		}
		if err != nil || p.Scope.Service != "s3" || p.Scope.Region != "eu-west-1" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = fmt.Fprintf(w, "<Error><Code>SignatureDoesNotMatch</Code><Message>%v</Message></Error>", err)
			return
		}
		_, _ = io.WriteString(w, "zip")
	})
	good := Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret}
	if body, _, err := read(t, client(t, Config{Endpoint: url, Region: "eu-west-1", Credentials: good}), "bucket", "dir/key.zip", "v1"); err != nil || body != "zip" {
		t.Errorf("%q, %v", body, err)
	}
	bad := Credentials{AccessKeyID: testKey, SecretAccessKey: "another"}
	_, _, err := read(t, client(t, Config{Endpoint: url, Region: "eu-west-1", Credentials: bad}), "bucket", "key", "")
	if e, ok := errors.AsType[*Error](err); !ok || e.Code != "SignatureDoesNotMatch" || e.Status != http.StatusForbidden {
		t.Errorf("with another secret: %v", err)
	}
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		serve  http.HandlerFunc
		want   string
		remote bool
	}{
		{"S3's error", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `<?xml version="1.0"?><Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message><Key>k</Key></Error>`)
		}, "s3: 404 NoSuchKey: The specified key does not exist.", true},
		{"an error without words", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `<Error><Code>NoSuchBucket</Code></Error>`)
		}, "s3: 404 NoSuchBucket: The specified bucket does not exist", true},
		{"hostile words", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, "<Error><Code>A\nB</Code><Message>"+strings.Repeat("é", 5000)+"</Message></Error>")
		}, "s3: 400 A B: " + strings.Repeat("é", 256) + "…", true},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/secret", http.StatusFound)
		}, `it redirects to "http://127.0.0.1:1/secret", which is not followed`, false},
		{"S3's redirect to another region", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(http.StatusMovedPermanently)
			_, _ = io.WriteString(w, `<Error><Code>PermanentRedirect</Code><Message>elsewhere</Message></Error>`)
		}, "s3: 301 PermanentRedirect: elsewhere", true},
		{"no S3 at all", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<html>", http.StatusNotFound)
		}, "status 404 without an error in S3's form; is this an S3 endpoint?", false},
		{"success that is none", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNoContent)
		}, "status 204 without", false},
		{"no answer", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "timeout", false},
		{"an answer that breaks off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "half")
		}, "unexpected EOF", false},
		{"an answer that never ends", func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, "deadline exceeded", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := client(t, Config{Endpoint: serve(t, tt.serve), AnswerTimeout: 300 * time.Millisecond, Timeout: time.Second})
			_, _, err := read(t, c, "b", "k", "")
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %s", err, tt.want)
			}
			if _, remote := errors.AsType[*Error](err); remote != tt.remote || errors.Is(err, ErrUnreachable) == tt.remote {
				t.Errorf("%v: an error of the server's: %v, want %v", err, remote, tt.remote)
			}
		})
	}
}

func TestNew(t *testing.T) {
	for _, endpoint := range []string{"", "127.0.0.1:9000", "ftp://h", "http://", "http://u:p@h", "http://h?q", "http://h#f", "http://h\n"} {
		if _, err := New(Config{Endpoint: endpoint}); err == nil {
			t.Errorf("endpoint %q was taken", endpoint)
		}
	}
	if _, err := New(Config{Endpoint: "http://h", Credentials: Credentials{AccessKeyID: "a"}}); err == nil {
		t.Error("half of an access key was taken")
	}
}

func TestParseCredentials(t *testing.T) {
	good := "# mine\n[other]\naws_access_key_id=no\n\n[default]\naws_access_key_id = AK\r\naws_secret_access_key=s=/+\naws_session_token = T\nregion = x\n"
	if c, err := parseCredentials([]byte(good)); err != nil || c != (Credentials{"AK", "s=/+", "T"}) {
		t.Errorf("%+v, %v", c, err)
	}
	for _, bad := range []string{"", "[default]", "[default]\naws_access_key_id = AK", "aws_access_key_id=a\naws_secret_access_key=b",
		"[default]\ntopsecret\n", strings.Repeat("#", maxCredentials+1)} {
		if c, err := parseCredentials([]byte(bad)); err == nil || c != (Credentials{}) || strings.Contains(err.Error(), "topsecret") {
			t.Errorf("%.20q: %+v, %v", bad, c, err)
		}
	}
}

func FuzzParseError(f *testing.F) {
	f.Add([]byte(`<Error><Code>NoSuchKey</Code><Message>x</Message></Error>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, ok := parseError(b)
		if ok && e.Code == "" {
			t.Errorf("%+v", e)
		}
		if len(e.Code) > maxText+3 || len(e.Message) > maxText+3 || strings.ContainsAny(e.Code+e.Message, "\r\n\x00") {
			t.Errorf("%q", e)
		}
	})
}

func FuzzParseCredentials(f *testing.F) {
	f.Add([]byte("[default]\naws_access_key_id = a\naws_secret_access_key = b\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseCredentials(b)
		if err == nil && (c.AccessKeyID == "" || c.SecretAccessKey == "") {
			t.Errorf("%+v", c)
		}
	})
}
