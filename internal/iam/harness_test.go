package iam

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"hearth/internal/awserr"
	"hearth/internal/awsquery"
	"hearth/internal/etcd"
	"hearth/internal/keyring"
	"hearth/internal/policy"
	"hearth/internal/sigv4"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	testAccount = "000000000000"
	rootID      = "AKIAHEARTHTEST000001"
	rootSecret  = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	region      = "us-east-1"
)

// sealer seals by one key, bound to the place as the keyring's do.
type sealer struct{ aead cipher.AEAD }

func newSealer(seed string) sealer {
	key := sha256.Sum256([]byte(seed))
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return sealer{aead}
}

func (s sealer) Seal(_ context.Context, b keyring.Binding, plaintext []byte) ([]byte, error) {
	return s.aead.Seal(nil, nil, plaintext, fmt.Appendf(nil, "%q", b)), nil
}

func (s sealer) Open(_ context.Context, b keyring.Binding, sealed []byte) ([]byte, error) {
	plain, err := s.aead.Open(nil, nil, sealed, fmt.Appendf(nil, "%q", b))
	if err != nil {
		return nil, keyring.ErrRefused
	}
	return plain, nil
}

// clock is set by the tests.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// bench is a service behind a server, as clients see it.
type bench struct {
	*Service
	t     testing.TB
	etcd  *clientv3.Client
	clock *clock
	url   string
	http  *http.Client
}

func start(t testing.TB, change ...func(*Config)) *bench {
	t.Helper()
	store, err := etcd.Start(t.Context(), etcd.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(store.Stop)
	b := &bench{t: t, etcd: store.Client(), clock: &clock{t: time.Now()}}
	b.Service = b.open(change...)
	verifier := sigv4.NewVerifier(b, time.Now) // the tests move the clock of sessions only
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.serve(verifier, w, r) }))
	t.Cleanup(server.Close)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	b.url, b.http = server.URL, &http.Client{Transport: whole{transport}}
	return b
}

// whole reads answers whole before it returns them. The SDK closes a request's
// body as soon as an answer begins; a transport that is still looking for the
// body's end then closes the connection under a long answer.
type whole struct{ http.RoundTripper }

func (w whole) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(bytes.NewReader(b))
	return resp, err
}

// open starts a service on the bench's etcd.
func (b *bench) open(change ...func(*Config)) *Service {
	b.t.Helper()
	cfg := Config{Client: b.etcd, Sealer: newSealer("seed"), Root: Root{testAccount, rootID, rootSecret}, Clock: b.clock.now}
	for _, f := range change {
		f(&cfg)
	}
	s, err := New(cfg)
	if err == nil {
		err = s.Start(b.t.Context())
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(s.Stop)
	return s
}

// serve does what the API server does with requests of the query protocol.
func (b *bench) serve(verifier *sigv4.Verifier, w http.ResponseWriter, r *http.Request) {
	const requestID = "11111111-2222-4333-8444-555555555555"
	text, err := func() ([]byte, error) {
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		asked := &awsquery.Call{Service: "sts", RequestID: requestID, SourceIP: netip.MustParseAddr("127.0.0.1"), UserAgent: r.UserAgent()}
		p, err := verifier.Begin(r)
		e, _ := awserr.As(err)
		switch {
		case e != nil && e.Code == "MissingAuthenticationTokenException":
		case err != nil:
			return nil, err
		default:
			if raw, err = p.Check(raw); err != nil {
				return nil, err
			}
			asked.Caller, asked.Service = &p.Identity, p.Scope.Service
		}
		if asked.Form, err = url.ParseQuery(string(raw)); err != nil {
			return nil, err
		}
		return b.Serve(r.Context(), asked)
	}()
	w.Header().Set("Content-Type", "text/xml")
	if err != nil {
		e, ok := awserr.As(err)
		if !ok {
			b.t.Errorf("a fault: %v", err)
			e = awserr.Internal()
		}
		w.WriteHeader(e.HTTPStatus())
		text = awsquery.Fault(e, requestID)
	}
	_, _ = w.Write(text)
}

// caller is somebody with keys.
type caller struct {
	*iam.Client
	sts  *sts.Client
	keys aws.Credentials
}

func (b *bench) as(keys aws.Credentials) *caller {
	provider := aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) { return keys, nil })
	return &caller{
		Client: iam.New(iam.Options{Region: region, BaseEndpoint: &b.url, HTTPClient: b.http, RetryMaxAttempts: 1, Credentials: provider}),
		sts:    sts.New(sts.Options{Region: region, BaseEndpoint: &b.url, HTTPClient: b.http, RetryMaxAttempts: 1, Credentials: provider}),
		keys:   keys,
	}
}

func (b *bench) root() *caller {
	return b.as(aws.Credentials{AccessKeyID: rootID, SecretAccessKey: rootSecret})
}

// user makes a user with a key and an inline policy, which may be empty.
func (b *bench) user(name, document string) *caller {
	b.t.Helper()
	ctx, root := b.t.Context(), b.root()
	if _, err := root.CreateUser(ctx, &iam.CreateUserInput{UserName: &name}); err != nil {
		b.t.Fatal(err)
	}
	if document != "" {
		if _, err := root.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &name, PolicyName: aws.String("p"), PolicyDocument: &document}); err != nil {
			b.t.Fatal(err)
		}
	}
	k, err := root.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name})
	if err != nil {
		b.t.Fatal(err)
	}
	return b.as(aws.Credentials{AccessKeyID: *k.AccessKey.AccessKeyId, SecretAccessKey: *k.AccessKey.SecretAccessKey})
}

// makeRole makes a role with an inline policy, which may be empty.
func (b *bench) makeRole(name, trust, document string) string {
	b.t.Helper()
	out, err := b.root().CreateRole(b.t.Context(), &iam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: &trust})
	if err != nil {
		b.t.Fatal(err)
	}
	if document != "" {
		_, err := b.root().PutRolePolicy(b.t.Context(), &iam.PutRolePolicyInput{RoleName: &name, PolicyName: aws.String("p"), PolicyDocument: &document})
		if err != nil {
			b.t.Fatal(err)
		}
	}
	return *out.Role.Arn
}

// assume is AssumeRole, whose keys it returns as a caller.
func (b *bench) assume(c *caller, arn string, change ...func(*sts.AssumeRoleInput)) (*caller, error) {
	in := &sts.AssumeRoleInput{RoleArn: &arn, RoleSessionName: aws.String("session")}
	for _, f := range change {
		f(in)
	}
	out, err := c.sts.AssumeRole(b.t.Context(), in)
	if err != nil {
		return nil, err
	}
	return b.as(aws.Credentials{
		AccessKeyID: *out.Credentials.AccessKeyId, SecretAccessKey: *out.Credentials.SecretAccessKey, SessionToken: *out.Credentials.SessionToken,
	}), nil
}

// ask is what any service asks: may the caller do something?
func (b *bench) ask(c *caller, action, resource string, keys ...string) error {
	b.t.Helper()
	credential, err := b.Secret(b.t.Context(), c.keys.AccessKeyID, c.keys.SessionToken)
	if err != nil {
		return err
	}
	id := &sigv4.Identity{Credential: credential, AccessKeyID: c.keys.AccessKeyID, Token: c.keys.SessionToken}
	r := &policy.Request{Action: action, Resource: resource, ResourceAccount: testAccount}
	r.Keys.Time = b.clock.now()
	for i := 0; i < len(keys); i += 2 {
		r.Keys.Set(keys[i], keys[i+1])
	}
	return b.Authorize(b.t.Context(), id, r, nil)
}

// refused fails unless err is an AWS error of a status, code and text.
func refused(t testing.TB, what string, err error, status int, code, text string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) {
		t.Errorf("%s: got %v, want %s", what, err, code)
		return
	}
	var answer *smithyhttp.ResponseError
	if api.ErrorCode() != code || !strings.Contains(api.ErrorMessage(), text) || !errors.As(err, &answer) || answer.HTTPStatusCode() != status {
		t.Errorf("%s: got %v, want %d %s: …%s…", what, err, status, code, text)
	}
}

// statement is a policy of one statement.
func statement(effect, action, resource string, more ...string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"` + effect + `","Action":"` + action + `","Resource":"` + resource + `"` +
		strings.Join(append([]string{""}, more...), ",") + `}]}`
}

// trusting is a trust policy of one statement.
func trusting(principal string, more ...string) string {
	return `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":` + principal + `,"Action":"sts:AssumeRole"` +
		strings.Join(append([]string{""}, more...), ",") + `}]}`
}

func trustingARN(arn string) string { return trusting(`{"AWS":"` + arn + `"}`) }
