package sigv4

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"hearth/internal/awserr"
)

const (
	testKey    = "AKIDEXAMPLE"
	testSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

var testTime = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// oneKey knows one access key, whose secret may change.
type oneKey struct {
	id, secret string
	temporary  bool
	err        error
}

func (k *oneKey) Secret(_ context.Context, id, _ string) (Credential, error) {
	if k.err != nil {
		return Credential{}, k.err
	}
	if id != k.id {
		return Credential{}, ErrUnknownKey
	}
	return Credential{AccountID: "123456789012", Secret: k.secret, PrincipalARN: "arn:aws:iam::123456789012:root", Temporary: k.temporary}, nil
}

func newTestVerifier(at time.Time) *Verifier {
	return NewVerifier(&oneKey{id: testKey, secret: testSecret}, func() time.Time { return at })
}

// sdkSign signs as the SDK's client does.
func sdkSign(t testing.TB, r *http.Request, body string) {
	t.Helper()
	sum := sha256.Sum256([]byte(body))
	err := v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret},
		r, hex.EncodeToString(sum[:]), "lambda", "us-east-1", testTime)
	if err != nil {
		t.Fatal(err)
	}
}

func newRequest(t testing.TB, method, url, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// received sends a client's request through a real server and returns it as
// the server sees it.
func received(t testing.TB, r *http.Request) *http.Request {
	t.Helper()
	if r.GetBody != nil {
		body, err := r.GetBody()
		if err != nil {
			t.Fatal(err)
		}
		r.Body = body
	}
	var wire bytes.Buffer
	if err := r.Write(&wire); err != nil {
		t.Fatal(err)
	}
	got := make(chan *http.Request, 1)
	ts := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got <- r }))
	defer ts.Close()
	ts.Start()
	c, err := net.Dial("tcp", ts.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(wire.Bytes()); err != nil {
		t.Fatal(err)
	}
	return <-got
}

func code(err error) string {
	e, ok := awserr.As(err)
	if !ok {
		return ""
	}
	return e.Code
}

func check(v *Verifier, r *http.Request, body string) ([]byte, error) {
	p, err := v.Begin(r)
	if err != nil {
		return nil, err
	}
	return p.Check([]byte(body))
}

func TestSDKSignedRequests(t *testing.T) {
	tests := []struct {
		name, method, url, body string
		header                  http.Header
	}{
		{name: "plain", method: "GET", url: "http://h:4566/2015-03-31/functions"},
		{name: "root", method: "POST", url: "http://h", body: "Action=GetCallerIdentity&Version=2011-06-15"},
		{name: "body", method: "POST", url: "http://h/2015-03-31/functions/f/invocations", body: `{"a":1}`},
		{name: "escaped ARN", method: "GET", url: "http://h/2017-03-31/tags/arn%3Aaws%3Alambda%3Aus-east-1%3A1%3Afunction%3Af"},
		{name: "raw colons", method: "GET", url: "http://h/2017-03-31/tags/arn:aws:lambda"},
		{name: "escaped slash and percent", method: "GET", url: "http://h/x/a%2Fb%2525c"},
		{name: "unicode path", method: "GET", url: "http://h/x/%E2%82%AC%20é"},
		{name: "double slash", method: "GET", url: "http://h/x//y/./z"},
		{name: "query", method: "GET", url: "http://h/x?Marker=b%20c%2F%2B~&MaxItems=10&Qualifier=%24LATEST"},
		{name: "repeated and empty parameters", method: "DELETE", url: "http://h/x?tagKeys=b&tagKeys=a&tagKeys=&z&%C3%A9=1&A=2&a=1"},
		{name: "spaces in headers", method: "GET", url: "http://h/x", header: http.Header{"X-Amz-Client-Context": {"  a   b  c "}}},
		{name: "several values", method: "GET", url: "http://h/x", header: http.Header{"X-Amz-Meta": {"b", "a", " c "}}},
		{name: "declared hash", method: "POST", url: "http://h/x", body: "hello", header: http.Header{"X-Amz-Content-Sha256": {"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRequest(t, tt.method, tt.url, tt.body)
			maps.Copy(r.Header, tt.header)
			sdkSign(t, r, tt.body)
			v := newTestVerifier(testTime)
			for range 2 { // the second time from the key cache
				body, err := check(v, received(t, r), tt.body)
				if err != nil || string(body) != tt.body {
					t.Fatalf("check = %q, %v; want %q", body, err, tt.body)
				}
			}
			if _, err := check(v, received(t, r), tt.body+"x"); code(err) != "InvalidSignatureException" {
				t.Errorf("another body: %v, want InvalidSignatureException", err)
			}
		})
	}
}

// TestDocumentedExample is the example of AWS's documentation of Signature
// Version 4 (IAM ListUsers): a signature that none of this code made.
func TestDocumentedExample(t *testing.T) {
	r := newRequest(t, "GET", "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08", "")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
	r.Header.Set("X-Amz-Date", "20150830T123600Z")
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "+
		"SignedHeaders=content-type;host;x-amz-date, Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7")
	p, err := newTestVerifier(time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)).Begin(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Check(nil); err != nil {
		t.Error(err)
	}
	if got, want := p.Scope, (Scope{"20150830", "us-east-1", "iam"}); got != want {
		t.Errorf("Scope = %v, want %v", got, want)
	}
}

// TestTampering changes one thing of a signed request at a time.
func TestTampering(t *testing.T) {
	const body = `{"a":1}`
	tests := []struct {
		name   string
		change func(r *http.Request)
		want   string
	}{
		{"method", func(r *http.Request) { r.Method = "PUT" }, "InvalidSignatureException"},
		{"path", func(r *http.Request) { r.RequestURI = "/2015-03-31/functions/g/invocations?Qualifier=1" }, "InvalidSignatureException"},
		{"query value", func(r *http.Request) { r.URL.RawQuery = "Qualifier=2" }, "InvalidSignatureException"},
		{"query added", func(r *http.Request) { r.URL.RawQuery += "&a=b" }, "InvalidSignatureException"},
		{"query broken", func(r *http.Request) { r.URL.RawQuery += "&a=%zz" }, "InvalidSignatureException"},
		{"host", func(r *http.Request) { r.Host = "evil" }, "InvalidSignatureException"},
		{"signed header", func(r *http.Request) { r.Header.Set("X-Amz-Log-Type", "None") }, "InvalidSignatureException"},
		{"unsigned x-amz header", func(r *http.Request) { r.Header.Set("X-Amz-Invocation-Type", "Event") }, "InvalidSignatureException"},
		{"other header", func(r *http.Request) { r.Header.Set("User-Agent", "x") }, ""},
		{"date", func(r *http.Request) { r.Header.Set("X-Amz-Date", "20260304T050608Z") }, "InvalidSignatureException"},
		{"no date", func(r *http.Request) { r.Header.Del("X-Amz-Date") }, "IncompleteSignatureException"},
		{"bad date", func(r *http.Request) { r.Header.Set("X-Amz-Date", "20260304") }, "IncompleteSignatureException"},
		{"scope day", auth("20260304/us", "20260305/us"), "InvalidSignatureException"},
		{"scope region", auth("us-east-1", "us-west-1"), "InvalidSignatureException"},
		{"scope service", auth("/lambda/", "/sts/"), "InvalidSignatureException"},
		{"terminator", auth("aws4_request", "aws5_request"), "InvalidSignatureException"},
		{"key", auth("AKIDEXAMPLE", "AKIDOTHER"), "UnrecognizedClientException"},
		{"algorithm", auth("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), "IncompleteSignatureException"},
		{"credential parts", auth("/aws4_request", ""), "IncompleteSignatureException"},
		{"host not signed", auth("host;", ""), "InvalidSignatureException"},
		{"upper-case signature", func(r *http.Request) {
			head, sig, _ := strings.Cut(r.Header.Get("Authorization"), "Signature=")
			r.Header.Set("Authorization", head+"Signature="+strings.ToUpper(sig))
		}, "IncompleteSignatureException"},
		{"no signature", auth("Signature=", "Sig="), "IncompleteSignatureException"},
		{"no header", func(r *http.Request) { r.Header.Del("Authorization") }, "MissingAuthenticationTokenException"},
		{"basic", func(r *http.Request) { r.Header.Set("Authorization", "Basic eA==") }, "IncompleteSignatureException"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRequest(t, "POST", "http://h/2015-03-31/functions/f/invocations?Qualifier=1", body)
			r.Header.Set("X-Amz-Log-Type", "Tail")
			sdkSign(t, r, body)
			r = received(t, r)
			tt.change(r)
			if _, err := check(newTestVerifier(testTime), r, body); code(err) != tt.want {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func auth(from, to string) func(*http.Request) {
	return func(r *http.Request) {
		r.Header.Set("Authorization", strings.Replace(r.Header.Get("Authorization"), from, to, 1))
	}
}

func TestSkew(t *testing.T) {
	tests := []struct {
		ahead time.Duration // of the server's clock
		want  string
	}{
		{5 * time.Minute, ""},
		{-5 * time.Minute, ""},
		{5*time.Minute + time.Second, "Signature expired: 20260304T050607Z is now earlier than 20260304T050608Z (20260304T051108Z - 5 min.)"},
		{-5*time.Minute - time.Second, "Signature not yet current: 20260304T050607Z is still later than 20260304T050606Z (20260304T050106Z + 5 min.)"},
	}
	for _, tt := range tests {
		r := newRequest(t, "GET", "http://h/x", "")
		sdkSign(t, r, "")
		_, err := check(newTestVerifier(testTime.Add(tt.ahead)), received(t, r), "")
		got := ""
		if e, ok := awserr.As(err); ok {
			got = e.Message
		}
		if got != tt.want {
			t.Errorf("clock %v ahead: %q, want %q", tt.ahead, got, tt.want)
		}
	}
}

func TestPresigned(t *testing.T) {
	scope := Scope{"20260304", "us-east-1", "lambda"}
	link := func(expires time.Duration) *http.Request {
		url, err := Presign(t.Context(), newRequest(t, "GET", "http://h/code/x?a=b%20c", ""),
			aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret}, scope, testTime, expires)
		if err != nil {
			t.Fatal(err)
		}
		return received(t, newRequest(t, "GET", url, ""))
	}
	tests := []struct {
		name    string
		expires time.Duration
		at      time.Duration
		change  func(*http.Request)
		want    string
	}{
		{name: "fresh", expires: time.Minute},
		{name: "last second", expires: 10 * time.Minute, at: 10 * time.Minute},
		{name: "expired", expires: 10 * time.Minute, at: 10*time.Minute + time.Second, want: "InvalidSignatureException"},
		{name: "from the future", expires: time.Minute, at: -6 * time.Minute, want: "InvalidSignatureException"},
		{name: "a week", expires: maxExpiry},
		{name: "over a week", expires: maxExpiry + time.Second, want: "IncompleteSignatureException"},
		{name: "life prolonged", expires: time.Minute, change: query("X-Amz-Expires=60", "X-Amz-Expires=61"), want: "InvalidSignatureException"},
		{name: "parameter changed", expires: time.Minute, change: query("a=b", "a=c"), want: "InvalidSignatureException"},
		{name: "parameter added", expires: time.Minute, change: query("a=b", "z=1&a=b"), want: "InvalidSignatureException"},
		{name: "no expiry", expires: time.Minute, change: query("X-Amz-Expires=60", "x=1"), want: "IncompleteSignatureException"},
		{name: "header added", expires: time.Minute, change: func(r *http.Request) { r.Header.Set("X-Amz-Log-Type", "Tail") }, want: "InvalidSignatureException"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := link(tt.expires)
			if tt.change != nil {
				tt.change(r)
			}
			if _, err := check(newTestVerifier(testTime.Add(tt.at)), r, ""); code(err) != tt.want {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func query(from, to string) func(*http.Request) {
	return func(r *http.Request) { r.URL.RawQuery = strings.Replace(r.URL.RawQuery, from, to, 1) }
}

func TestUnsignedPayloadIsRefused(t *testing.T) {
	for _, declared := range []string{"UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "e3b0"} {
		r := newRequest(t, "POST", "http://h/x", "body")
		r.Header.Set("X-Amz-Content-Sha256", declared)
		err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret}, r, declared, "lambda", "us-east-1", testTime)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := newTestVerifier(testTime).Begin(received(t, r)); code(err) != "InvalidSignatureException" {
			t.Errorf("%s: %v, want InvalidSignatureException", declared, err)
		}
	}
}

func TestSecretChange(t *testing.T) {
	keys := &oneKey{id: testKey, secret: testSecret}
	v := NewVerifier(keys, func() time.Time { return testTime })
	r := newRequest(t, "GET", "http://h/x", "")
	sdkSign(t, r, "")
	if _, err := check(v, received(t, r), ""); err != nil {
		t.Fatal(err)
	}
	keys.secret = "another"
	if _, err := check(v, received(t, r), ""); code(err) != "InvalidSignatureException" {
		t.Errorf("after the secret changed: %v, want InvalidSignatureException", err)
	}
}

func TestKeyStoreFault(t *testing.T) {
	fault := errors.New("disk on fire")
	v := NewVerifier(&oneKey{err: fault}, func() time.Time { return testTime })
	r := newRequest(t, "GET", "http://h/x", "")
	sdkSign(t, r, "")
	if _, err := v.Begin(received(t, r)); !errors.Is(err, fault) {
		t.Errorf("Begin = %v, want the store's error wrapped", err)
	}
}

func TestCacheIsBoundedAndKeepsOnlyVerified(t *testing.T) {
	var c keyCache
	for i := range maxCached + 10 {
		id := cacheKey{hex.EncodeToString([]byte{byte(i), byte(i >> 8)}), Scope{}}
		c.keep(id, c.get(id, "s"))
	}
	if len(c.keys) > maxCached {
		t.Errorf("%d keys cached, want at most %d", len(c.keys), maxCached)
	}
	v := newTestVerifier(testTime)
	r := newRequest(t, "GET", "http://h/x", "")
	sdkSign(t, r, "")
	r = received(t, r)
	r.Method = "PUT"
	if _, err := check(v, r, ""); err == nil || len(v.cache.keys) != 0 {
		t.Errorf("a wrong signature left %d keys in the cache (%v)", len(v.cache.keys), err)
	}
}

func TestSign(t *testing.T) {
	r := newRequest(t, "POST", "http://h/x", "body")
	if err := Sign(t.Context(), r, testKey, testSecret, Scope{"20260304", "eu-west-1", "lambda"}, []byte("body"), testTime); err != nil {
		t.Fatal(err)
	}
	if _, err := check(newTestVerifier(testTime), received(t, r), "body"); err != nil {
		t.Error(err)
	}
}

// TestSessionTokens: a token comes with the keys of a session, and only these.
func TestSessionTokens(t *testing.T) {
	for _, temporary := range []bool{false, true} {
		for _, token := range []string{"", "tok/en+="} {
			r := newRequest(t, "GET", "http://h/x", "")
			err := v4.NewSigner().SignHTTP(t.Context(), aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret, SessionToken: token},
				r, emptyHash, "lambda", "us-east-1", testTime)
			if err != nil {
				t.Fatal(err)
			}
			v := NewVerifier(&oneKey{id: testKey, secret: testSecret, temporary: temporary}, func() time.Time { return testTime })
			p, err := v.Begin(received(t, r))
			if temporary != (token != "") {
				if code(err) != "UnrecognizedClientException" {
					t.Errorf("temporary %v, token %q: got %v, want UnrecognizedClientException", temporary, token, err)
				}
				continue
			}
			if err != nil || p.Token != token {
				t.Errorf("temporary %v, token %q: got %v, %v", temporary, token, p, err)
			}
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	body := []byte(`{"name":"you"}`)
	r := newRequest(b, "POST", "http://h:4566/2015-03-31/functions/f/invocations", string(body))
	sdkSign(b, r, string(body))
	r = received(b, r)
	v := newTestVerifier(testTime)
	b.ReportAllocs()
	for b.Loop() {
		p, err := v.Begin(r)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Check(body); err != nil {
			b.Fatal(err)
		}
	}
}
