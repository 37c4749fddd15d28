package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"go.uber.org/goleak"

	"hearth/internal/awserr"
	"hearth/internal/awsquery"
	"hearth/internal/function"
	"hearth/internal/invocation"
	"hearth/internal/policy"
	"hearth/internal/sigv4"
)

const (
	testAccount = "000000000000"
	testRegion  = "us-east-1"
	testKey     = "AKIAHEARTHTEST000001"
	testSecret  = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	testRole    = "arn:aws:iam::000000000000:role/r"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a control plane and a frontend in memory.
type memory struct {
	Control // what the tests with it do not use

	mu      sync.Mutex
	records map[string]*function.Record
	zips    map[string][]byte
	last    *invocation.Request
	// respond answers invokes; the default echoes.
	respond func(ctx context.Context, req *invocation.Request) (*invocation.Response, *invocation.Timeline, error)
	// stream answers those that stream.
	stream func(req *invocation.Request, to invocation.Sink) (*invocation.Response, *invocation.Timeline, error)
}

func newMemory() *memory {
	return &memory{records: map[string]*function.Record{}, zips: map[string][]byte{}}
}

func notFound(name string) error {
	return awserr.New("ResourceNotFoundException", "Function not found: arn:aws:lambda:%s:%s:function:%s", testRegion, testAccount, name)
}

func (m *memory) Create(_ context.Context, req function.CreateRequest) (*function.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.records[req.Name]; ok {
		return nil, awserr.New("ResourceConflictException", "Function already exist: %s", req.Name)
	}
	cfg := req.Config.Clone()
	cfg.Code = codeOf(req.Zip)
	r := &function.Record{
		Account: req.Account, Region: testRegion, Name: req.Name, RevisionID: "r1", Tags: req.Tags, Latest: cfg,
		LastModified: time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.UTC),
		State:        function.Pending, StateReason: "The function is being created.", StateReasonCode: "Creating",
	}
	m.records[req.Name], m.zips[req.Name] = r, req.Zip
	return r, nil
}

func codeOf(zip []byte) function.Code {
	sum := sha256.Sum256(zip)
	return function.Code{Object: "o", SHA256: base64.StdEncoding.EncodeToString(sum[:]), Size: int64(len(zip))}
}

// change replaces a record by a changed copy.
func (m *memory) change(name, revision string, f func(*function.Record) error) (*function.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.records[name]
	if r == nil {
		return nil, notFound(name)
	}
	if revision != "" && revision != r.RevisionID {
		return nil, awserr.New("PreconditionFailedException", "The Revision Id provided does not match the latest Revision Id.")
	}
	r = r.Clone()
	if err := f(r); err != nil {
		return nil, err
	}
	r.RevisionID += "+"
	m.records[name] = r
	return r, nil
}

func (m *memory) UpdateCode(_ context.Context, req function.CodeUpdate) (*function.Record, error) {
	return m.change(req.Name, req.RevisionID, func(r *function.Record) error {
		r.Latest.Code = codeOf(req.Zip)
		m.zips[req.Name] = req.Zip
		return nil
	})
}

func (m *memory) UpdateConfig(_ context.Context, req function.ConfigUpdate) (*function.Record, error) {
	return m.change(req.Name, req.RevisionID, func(r *function.Record) error { return req.Apply(r.Latest) })
}

func (m *memory) Delete(_ context.Context, _, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.records[name] == nil {
		return notFound(name)
	}
	delete(m.records, name)
	return nil
}

func (m *memory) Get(_ context.Context, _, name string) (*function.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.records[name]; r != nil {
		return r, nil
	}
	return nil, notFound(name)
}

func (m *memory) List(_ context.Context, _, after string, limit int) ([]*function.Record, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var page []*function.Record
	for _, name := range slices.Sorted(maps.Keys(m.records)) {
		if name <= after {
			continue
		}
		if len(page) == limit {
			return page, page[limit-1].Name, nil
		}
		page = append(page, m.records[name])
	}
	return page, "", nil
}

// Environment shows what a request has set: the fake seals nothing.
func (*memory) Environment(_ context.Context, r *function.Record) (map[string]string, error) {
	return r.Latest.Environment, nil
}

func (m *memory) Tag(_ context.Context, _, name string, tags map[string]string) error {
	_, err := m.change(name, "", func(r *function.Record) error {
		if r.Tags == nil {
			r.Tags = map[string]string{}
		}
		maps.Copy(r.Tags, tags)
		return nil
	})
	return err
}

func (m *memory) Untag(_ context.Context, _, name string, keys []string) error {
	_, err := m.change(name, "", func(r *function.Record) error {
		maps.DeleteFunc(r.Tags, func(k, _ string) bool { return slices.Contains(keys, k) })
		return nil
	})
	return err
}

type readSeekNopCloser struct{ io.ReadSeeker }

func (readSeekNopCloser) Close() error { return nil }

func (m *memory) OpenCode(_ context.Context, r *function.Record) (io.ReadSeekCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return readSeekNopCloser{bytes.NewReader(m.zips[r.Name])}, nil
}

// Resolve knows no versions.
func (m *memory) Resolve(ctx context.Context, account, name, qualifier string) (*function.Record, error) {
	if qualifier != "" && qualifier != function.LatestVersion {
		return nil, notFound(name + ":" + qualifier)
	}
	return m.Get(ctx, account, name)
}

func (*memory) Provisioned(*function.Record) (int, int, string) { return 0, 0, "" }

func (m *memory) Usage(context.Context, string) (function.Usage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var size int64
	for _, r := range m.records {
		size += r.Latest.Code.Size
	}
	return function.Usage{Functions: len(m.records), CodeBytes: size}, nil
}

func (m *memory) Check(_ context.Context, _, name, qualifier string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.records[name] == nil || qualifier != "" && qualifier != function.LatestVersion {
		return notFound(name + ":" + cmp.Or(qualifier, function.LatestVersion))
	}
	return nil
}

func (m *memory) Invoke(ctx context.Context, account, name, qualifier string, req *invocation.Request) (*invocation.Response, *invocation.Timeline, error) {
	if err := m.Check(ctx, account, name, qualifier); err != nil {
		return nil, nil, err
	}
	m.mu.Lock()
	m.last = req
	respond := m.respond
	m.mu.Unlock()
	if respond != nil {
		return respond(ctx, req)
	}
	return &invocation.Response{Payload: req.Payload, Version: cmp.Or(qualifier, function.LatestVersion)}, &invocation.Timeline{Count: time.Millisecond, Run: 2 * time.Millisecond}, nil
}

// ownAccount lets everybody do everything in the own account.
type ownAccount struct{}

func (ownAccount) Authorize(_ context.Context, caller *sigv4.Identity, r *policy.Request, resource *policy.Document) error {
	r.Principal = &policy.Principal{Kind: policy.RootUser, Account: caller.AccountID, ARN: caller.PrincipalARN, ID: caller.UserID}
	if d := policy.Evaluate(r, nil, resource); !d.Allowed {
		return awserr.New("AccessDeniedException", "%s", d.Reason)
	}
	return nil
}

func (ownAccount) PassRole(context.Context, *sigv4.Identity, *policy.Request, string) error {
	return nil
}

func (ownAccount) AuthorizeAnonymous(*policy.Request, *policy.Document) error {
	return awserr.New("AccessDeniedException", "nobody may do anything without a name")
}

// nowhere has no function URLs.
type nowhere struct{}

func (nowhere) URL(string) (*function.Record, string, bool) { return nil, "", false }

// nobody has no identity service.
type nobody struct{}

func (nobody) Serve(context.Context, *awsquery.Call) ([]byte, error) {
	return nil, awserr.New("NotImplementedException", "no identities here")
}

// oneKey knows the test's access key.
type oneKey struct{}

func (oneKey) Secret(_ context.Context, id, _ string) (sigv4.Credential, error) {
	if id != testKey {
		return sigv4.Credential{}, sigv4.ErrUnknownKey
	}
	return sigv4.Credential{AccountID: testAccount, Secret: testSecret, PrincipalARN: "arn:aws:iam::" + testAccount + ":root", UserID: testAccount}, nil
}

// bench is a server under test with what stands behind it.
type bench struct {
	*memory
	server *Server
	url    string
	client *lambda.Client
	log    *bytes.Buffer
}

func start(t testing.TB, change ...func(*Config)) *bench {
	t.Helper()
	b := &bench{memory: newMemory(), log: new(bytes.Buffer)}
	var err error
	cfg := Config{
		Functions: b.memory, Invoker: b.memory, Provisioner: b.memory, Keys: oneKey{}, Access: ownAccount{}, Identities: nobody{}, URLs: nowhere{},
		Region:   testRegion,
		Runtimes: []string{"python3.11", "nodejs20.x", "provided.al2023"}, Concurrency: 1000,
		RuntimeVersion: func(string) string { return strings.Repeat("a", 64) },
		Log:            slog.New(slog.NewTextHandler(&lockedWriter{w: b.log}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&cfg)
	}
	b.server, err = New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ts := httptest.NewServer(b.server)
	t.Cleanup(ts.Close)
	b.url = ts.URL
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	b.client = lambda.New(lambda.Options{
		Region: testRegion, BaseEndpoint: &b.url, HTTPClient: &http.Client{Transport: transport},
		RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: testKey, SecretAccessKey: testSecret}, nil
		}),
	})
	return b
}

type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// reply is an HTTP answer, read.
type reply struct {
	status int
	header http.Header
	body   string
}

func (r reply) String() string {
	return fmt.Sprintf("%d %s %s", r.status, r.header.Get("X-Amzn-Errortype"), r.body)
}

// send signs and sends a raw request.
func (b *bench) send(t testing.TB, method, path, body string, header ...string) reply {
	t.Helper()
	return b.sendAs(t, "lambda", method, path, body, header...)
}

func (b *bench) sendAs(t testing.TB, service, method, path, body string, header ...string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	now := time.Now().UTC()
	scope := sigv4.Scope{Date: now.Format("20060102"), Region: testRegion, Service: service}
	if err := sigv4.Sign(t.Context(), req, testKey, testSecret, scope, []byte(body), now); err != nil {
		t.Fatal(err)
	}
	return do(t, req)
}

func do(t testing.TB, req *http.Request) reply {
	t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{res.StatusCode, res.Header, string(body)}
}
