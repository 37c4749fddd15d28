package kms

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/smithy-go"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"hearth/internal/etcd"
	"hearth/internal/keyring"
	"hearth/internal/sigv4"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	account = "000000000000"
	other   = "111111111111"
	region  = "us-east-1"
)

// file is a keyring file in memory.
type file struct{ b []byte }

func (*file) Name() string          { return "keyring" }
func (f *file) Save(b []byte) error { f.b = b; return nil }
func (f *file) Load() ([]byte, error) {
	if f.b == nil {
		return nil, fs.ErrNotExist
	}
	return f.b, nil
}

// clock is a clock that a test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// bench is a service with its real stores.
type bench struct {
	*Service
	etcd   *clientv3.Client
	keeper *keyring.Keyring
	clock  *clock
	url    string
}

func start(t testing.TB, change ...func(*Config)) *bench {
	t.Helper()
	server, err := etcd.Start(t.Context(), etcd.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Stop)
	b := &bench{etcd: server.Client(), clock: &clock{now: time.Date(2026, 11, 22, 1, 2, 3, 0, time.UTC)}}
	b.keeper, err = keyring.Open(t.Context(), keyring.Config{Store: &file{}, Client: b.etcd})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.keeper.Stop)
	cfg := Config{Client: b.etcd, Keeper: b.keeper, Region: region, Operator: account, Clock: b.clock.Now, Log: slog.New(slog.DiscardHandler)}
	for _, f := range change {
		f(&cfg)
	}
	b.Service, err = New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Stop)
	return b
}

// keys are the accounts' access keys.
type keys struct{}

func (keys) Secret(_ context.Context, id, _ string) (sigv4.Credential, error) {
	for _, a := range []string{account, other} {
		if id == "AKIA"+a {
			return sigv4.Credential{AccountID: a, Secret: "secret of " + a, PrincipalARN: "arn:aws:iam::" + a + ":root", UserID: a}, nil
		}
	}
	return sigv4.Credential{}, sigv4.ErrUnknownKey
}

// client is the real SDK's client of an account, through the verifier of
// signatures.
func (b *bench) client(t testing.TB, accountID string) *kms.Client {
	t.Helper()
	if b.url == "" {
		verifier := sigv4.NewVerifier(keys{}, time.Now)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p, err := verifier.Begin(r)
			if err != nil || p.Scope.Service != "kms" {
				t.Errorf("signature: %v, service %+v", err, p)
				return
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			if body, err = p.Check(body); err != nil {
				t.Error(err)
				return
			}
			status, answer := b.Serve(r.Context(), p.Identity, nil, r.Header.Get("X-Amz-Target"), body)
			w.Header().Set("Content-Type", "application/x-amz-json-1.1")
			w.WriteHeader(status)
			_, _ = w.Write(answer)
		}))
		t.Cleanup(server.Close)
		b.url = server.URL
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return kms.New(kms.Options{
		BaseEndpoint: &b.url, Region: region, RetryMaxAttempts: 1, HTTPClient: &http.Client{Transport: transport},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIA" + accountID, SecretAccessKey: "secret of " + accountID}, nil
		}),
	})
}

func root(accountID string) sigv4.Identity {
	c, _ := keys{}.Secret(context.Background(), "AKIA"+accountID, "")
	return sigv4.Identity{Credential: c}
}

// do makes a request without an SDK, for what an SDK would not send.
func (b *bench) do(t testing.TB, caller sigv4.Identity, target, body string, out any) error {
	t.Helper()
	status, answer := b.Serve(t.Context(), caller, nil, target, []byte(body))
	if status == http.StatusOK {
		if out != nil {
			if err := json.Unmarshal(answer, out); err != nil {
				t.Fatal(err)
			}
		}
		return nil
	}
	var e struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal(answer, &e); err != nil || e.Type == "" {
		t.Fatalf("%d %s: %v", status, answer, err)
	}
	return &smithy.GenericAPIError{Code: e.Type, Message: e.Message}
}

// wantError checks an error's code and that words are in its message.
func wantError(t testing.TB, err error, code, words string) {
	t.Helper()
	e, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		t.Errorf("got %v, want %s", err, code)
		return
	}
	if e.ErrorCode() != code || !strings.Contains(e.ErrorMessage(), words) {
		t.Errorf("got %s: %s, want %s: %s", e.ErrorCode(), e.ErrorMessage(), code, words)
	}
}

func (b *bench) makeKey(t testing.TB, accountID string) *key {
	t.Helper()
	var out struct {
		KeyMetadata struct {
			KeyID string `json:"KeyId"`
		}
	}
	if err := b.do(t, root(accountID), "TrentService.CreateKey", "{}", &out); err != nil {
		t.Fatal(err)
	}
	k, ok := b.keys.Lookup(tableKey(accountID, out.KeyMetadata.KeyID))
	if !ok {
		t.Fatal("the key is not there")
	}
	return k
}

// fakeKeeper is a Keeper that is never asked.
type fakeKeeper struct{ Keeper }
