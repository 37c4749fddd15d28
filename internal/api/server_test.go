package api

import (
	"context"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"hearth/internal/function"
	"hearth/internal/invocation"
	"hearth/internal/sigv4"
)

func unsigned(t *testing.T, method, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestHealth(t *testing.T) {
	b := start(t)
	if got := do(t, unsigned(t, "GET", b.url+"/_hearth/health")); got.status != 200 || got.body != `{"status":"ok"}` {
		t.Errorf("got %v", got)
	}
	if got := do(t, unsigned(t, "POST", b.url+"/_hearth/health")); got.status != 403 {
		t.Errorf("POST: got %v", got)
	}
}

func TestRequestIDs(t *testing.T) {
	uuid := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	server := start(t)
	id := func() string {
		return do(t, unsigned(t, "GET", server.url+"/_hearth/health")).header.Get("X-Amzn-Requestid")
	}
	a, b := id(), id()
	if !uuid.MatchString(a) || !uuid.MatchString(b) || a == b {
		t.Errorf("ids %q and %q", a, b)
	}
}

func TestAuthenticationErrors(t *testing.T) {
	b := start(t)
	failed(t, do(t, unsigned(t, "GET", b.url+"/2015-03-31/functions")), 403, "MissingAuthenticationTokenException", "Missing Authentication Token")

	sign := func(key, secret, region, service string, at time.Time) *http.Request {
		req := unsigned(t, "GET", b.url+"/2015-03-31/functions")
		if err := sigv4.Sign(t.Context(), req, key, secret, sigv4.Scope{Region: region, Service: service}, nil, at.UTC()); err != nil {
			t.Fatal(err)
		}
		return req
	}
	now := time.Now()
	failed(t, do(t, sign("AKIAOTHER", testSecret, testRegion, "lambda", now)), 403, "UnrecognizedClientException", "The security token included in the request is invalid.")
	failed(t, do(t, sign(testKey, "wrong", testRegion, "lambda", now)), 403, "InvalidSignatureException", "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.")
	failed(t, do(t, sign(testKey, testSecret, "eu-west-1", "lambda", now)), 403, "InvalidSignatureException", "Credential should be scoped to a valid region, not 'eu-west-1'. This Hearth serves 'us-east-1': set AWS_REGION to it.")
	failed(t, do(t, sign(testKey, testSecret, testRegion, "dynamodb", now)), 501, "NotImplementedException", "The service 'dynamodb' is not served by this version of Hearth; lambda, iam, sts, kms and logs are.")
	if got := do(t, sign(testKey, testSecret, testRegion, "lambda", now.Add(-6*time.Minute))); got.status != 403 || !strings.Contains(got.body, "Signature expired: ") {
		t.Errorf("got %v", got)
	}
}

// TestBodyIsNotReadForStrangers sends headers that promise a body and none of
// it: a stranger is answered all the same.
func TestBodyIsNotReadForStrangers(t *testing.T) {
	b := start(t)
	req := unsigned(t, "POST", b.url+"/2015-03-31/functions")
	req.Body, req.ContentLength = neverRead{}, 1000
	if err := sigv4.Sign(t.Context(), req, "AKIAOTHER", "x", sigv4.Scope{Region: testRegion, Service: "lambda"}, nil, time.Now().UTC()); err != nil {
		t.Fatal(err)
	}
	// Served without a connection: reading the body would panic.
	w := &nullWriter{header: http.Header{}}
	req.RequestURI = "/2015-03-31/functions"
	b.server.ServeHTTP(w, req)
	if w.status != 403 || w.header.Get("X-Amzn-Errortype") != "UnrecognizedClientException" {
		t.Errorf("status %d %v", w.status, w.header)
	}
}

type neverRead struct{}

func (neverRead) Read([]byte) (int, error) { panic("the body was read") }
func (neverRead) Close() error             { return nil }

func TestTamperedBody(t *testing.T) {
	b := start(t)
	b.create(t, "hi")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+invokePath, strings.NewReader(`{"a":2}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := sigv4.Sign(t.Context(), req, testKey, testSecret, sigv4.Scope{Region: testRegion, Service: "lambda"}, []byte(`{"a":1}`), time.Now().UTC()); err != nil {
		t.Fatal(err)
	}
	if got := do(t, req); got.status != 403 || got.header.Get("X-Amzn-Errortype") != "InvalidSignatureException" || b.last != nil {
		t.Errorf("got %v", got)
	}
}

func TestNotServed(t *testing.T) {
	b := start(t)
	failed(t, b.send(t, "GET", "/2025-11-30/capacity-providers", ""), 501, "NotImplementedException", "ListCapacityProviders is not supported yet by this version of Hearth.")
	failed(t, b.send(t, "GET", "/nothing/here", ""), 404, "UnknownOperationException", "No operation of Lambda's API has this method and path: GET /nothing/here")
	served := map[string]bool{"Invoke": true}
	for name := range b.server.handlers {
		served[name] = true
	}
	for name := range served {
		if byName()[name] == nil {
			t.Errorf("a handler for %s, which is no operation", name)
		}
	}
}

// TestFaults: what is wrong with Hearth is in the log under the request id,
// not in the answer; payloads and secrets are in neither.
func TestFaults(t *testing.T) {
	b := start(t)
	b.create(t, "hi")
	tests := []struct {
		name    string
		respond func(context.Context, *invocation.Request) (*invocation.Response, *invocation.Timeline, error)
		logged  string
	}{
		{"panic", func(context.Context, *invocation.Request) (*invocation.Response, *invocation.Timeline, error) {
			panic("boom")
		}, "boom"},
		{"fault", func(context.Context, *invocation.Request) (*invocation.Response, *invocation.Timeline, error) {
			return nil, nil, http.ErrServerClosed
		}, "http: Server closed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b.respond = tt.respond
			got := b.send(t, "POST", invokePath, `"top secret"`)
			if got.status != 500 || got.header.Get("X-Amzn-Errortype") != "ServiceException" || !strings.Contains(got.body, `"Type":"Service"`) || strings.Contains(got.body, tt.logged) {
				t.Errorf("got %v", got)
			}
			log := b.log.String()
			if !strings.Contains(log, tt.logged) || !strings.Contains(log, "requestId="+got.header.Get("X-Amzn-Requestid")) {
				t.Errorf("log: %s", log)
			}
			for _, secret := range []string{"top secret", testSecret, "Signature="} {
				if strings.Contains(log, secret) {
					t.Errorf("%q is in the log: %s", secret, log)
				}
			}
		})
	}
}

func TestConfigValidate(t *testing.T) {
	_, err := New(Config{PublicURL: "http://[::1"})
	if err == nil {
		t.Fatal("an empty configuration was taken")
	}
	for _, want := range []string{"Functions", "Invoker", "Keys", "Region", "Concurrency", "Log", "PublicURL"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v: does not name %s", err, want)
		}
	}
}

// TestCodeLink fetches a function's code as curl does.
func TestCodeLink(t *testing.T) {
	b := start(t)
	b.create(t, "hi")
	now := time.Now()
	var clock time.Time
	b.server.cfg.Now = func() time.Time { return now }
	b.server.verifier = sigv4.NewVerifier(oneKey{}, func() time.Time { return clock })
	link := func() string {
		clock = time.Now()
		record, err := b.Get(t.Context(), testAccount, "hi")
		if err != nil {
			t.Fatal(err)
		}
		c := &call{r: unsigned(t, "GET", b.url), Identity: sigv4.Identity{AccessKeyID: testKey}}
		c.Secret = testSecret
		url, err := b.server.codeLink(t.Context(), c, record)
		if err != nil {
			t.Fatal(err)
		}
		return url
	}
	url := link()
	get := func() reply { return do(t, unsigned(t, "GET", url)) }
	if got := get(); got.status != 200 || got.body != "zip of hi" || got.header.Get("Content-Type") != "application/zip" {
		t.Errorf("got %v", got)
	}
	clock = now.Add(10*time.Minute + 2*time.Second)
	if got := get(); got.status != 403 || !strings.Contains(got.body, "Signature expired") {
		t.Errorf("after ten minutes: %v", got)
	}
	clock = now
	if got := do(t, unsigned(t, "GET", strings.Replace(url, "/hi:", "/ho:", 1))); got.status != 403 {
		t.Errorf("another function: %v", got)
	}
	if got := do(t, unsigned(t, "DELETE", url)); got.status != 403 {
		t.Errorf("another method: %v", got)
	}
	if _, err := b.UpdateCode(t.Context(), function.CodeUpdate{Name: "hi", Zip: []byte("new")}); err != nil {
		t.Fatal(err)
	}
	if got := get(); got.status != 404 || !strings.Contains(got.body, "Ask GetFunction for a new link.") {
		t.Errorf("after an update: %v", got)
	}
}
