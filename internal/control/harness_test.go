package control

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"hearth/internal/awserr"
	"hearth/internal/catalog"
	"hearth/internal/etcd"
	"hearth/internal/function"
	"hearth/internal/objectstore"
)

const account = "000000000000"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDirEnv); dir != "" {
		crashChild(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// stack is a control plane with its real stores.
type stack struct {
	once sync.Once
	*Service
	etcd    *etcd.Server
	catalog *catalog.Catalog
	objects *objectstore.Dir
}

// preparer is a Preparer that a test controls.
type preparer func(ctx context.Context, r *function.Record, cfg *function.Config) error

func (p preparer) Prepare(ctx context.Context, r *function.Record, cfg *function.Config) error {
	return p(ctx, r, cfg)
}

// sealer is a Sealer that a test controls. What it seals is readable, so that a
// test sees it, and only its marks are checked.
type sealer struct {
	mu    sync.Mutex
	fail  error  // of opening and sealing
	stale string // what was sealed by this key is stale
}

func (s *sealer) set(fail error, stale string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail, s.stale = fail, stale
}

type sealedText struct {
	Function, Key string
	Variables     map[string]string
}

func (s *sealer) SealEnvironment(_ context.Context, _, functionARN, keyARN string, variables map[string]string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return nil, s.fail
	}
	return json.Marshal(sealedText{functionARN, keyARN, variables})
}

func (s *sealer) OpenEnvironment(_ context.Context, _, functionARN string, sealed []byte) (map[string]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var text sealedText
	if err := json.Unmarshal(sealed, &text); err != nil || s.fail != nil {
		return nil, errors.Join(s.fail, err)
	}
	if text.Function != functionARN {
		return nil, awserr.New("KMSAccessDeniedException", "sealed for %s", text.Function)
	}
	return text.Variables, nil
}

func (s *sealer) EnvironmentStale(sealed []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stale != "" && bytes.Contains(sealed, []byte(s.stale))
}

func prepared(context.Context, *function.Record, *function.Config) error { return nil }

func openStack(ctx context.Context, dir string, cfg Config) (*stack, error) {
	return openStackOf(ctx, dir, cfg, catalog.Config{})
}

func openStackOf(ctx context.Context, dir string, cfg Config, records catalog.Config) (_ *stack, err error) {
	objects := filepath.Join(dir, "objects")
	if err := os.MkdirAll(objects, 0o700); err != nil {
		return nil, err
	}
	st := &stack{}
	log := slog.New(slog.DiscardHandler)
	if st.objects, err = objectstore.OpenDir(objects); err != nil {
		return nil, err
	}
	if st.etcd, err = etcd.Start(ctx, etcd.Config{Dir: filepath.Join(dir, "etcd"), Log: log}); err != nil {
		return nil, err
	}
	records.Client, records.Log = st.etcd.Client(), log
	st.catalog = catalog.New(records)
	if err := st.catalog.Start(ctx); err != nil {
		return nil, err
	}
	cfg.Catalog, cfg.Log, cfg.Region = st.catalog, log, "us-east-1"
	if cfg.Objects == nil {
		cfg.Objects = st.objects
	}
	if cfg.Sealer == nil {
		cfg.Sealer = &sealer{}
	}
	if cfg.Preparer == nil {
		cfg.Preparer = preparer(prepared)
	}
	st.Service = New(cfg)
	return st, st.Service.Start(ctx)
}

func (st *stack) close() (err error) {
	st.once.Do(func() {
		st.Service.Stop()
		st.catalog.Stop()
		st.etcd.Stop()
		err = st.objects.Close()
	})
	return err
}

func start(t *testing.T, cfg Config) *stack {
	t.Helper()
	return startIn(t, t.TempDir(), cfg)
}

func startIn(t *testing.T, dir string, cfg Config) *stack {
	t.Helper()
	return startOf(t, dir, cfg, catalog.Config{})
}

func startOf(t *testing.T, dir string, cfg Config, records catalog.Config) *stack {
	t.Helper()
	st, err := openStackOf(t.Context(), dir, cfg, records)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.close(); err != nil {
			t.Error(err)
		}
	})
	return st
}

// mustCreate creates a function and waits until it is active.
func (st *stack) mustCreate(t *testing.T, name, body string) *function.Record {
	t.Helper()
	if _, err := st.Create(t.Context(), createRequest(t, name, body)); err != nil {
		t.Fatal(err)
	}
	return st.wait(t, name, settled)
}

func (st *stack) code(t *testing.T, r *function.Record) []byte {
	t.Helper()
	f, err := st.OpenCode(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

// wantObjects checks how many archives are stored.
func (st *stack) wantObjects(t *testing.T, want int) {
	t.Helper()
	got, err := st.objects.List(t.Context(), "")
	if err != nil || len(got) != want {
		t.Errorf("%d archives are stored: %v, %v, want %d", len(got), got, err, want)
	}
}

// wait returns the first record of a function for which ok holds. ok gets nil
// when there is none.
func (st *stack) wait(t *testing.T, name string, ok func(*function.Record) bool) *function.Record {
	t.Helper()
	found := make(chan *function.Record, 1)
	cancel := st.catalog.Subscribe(func(_, after *function.Record) {
		if after != nil && after.Name == name && ok(after) {
			select {
			case found <- after:
			default:
			}
		}
	})
	defer cancel()
	select {
	case r := <-found:
		return r
	case <-time.After(20 * time.Second):
		t.Fatalf("function %s did not get there", name)
		return nil
	}
}

func settled(r *function.Record) bool { return !needsPreparing(r) }

func zipOf(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for name, body := range files {
		f, err := w.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func createRequest(t testing.TB, name, body string) function.CreateRequest {
	return function.CreateRequest{
		Account: account,
		Name:    name,
		Config:  function.Config{Runtime: "python3.11", Handler: "app.handler", Timeout: 3, MemorySize: 128},
		Zip:     zipOf(t, map[string]string{"app.py": body}),
	}
}

func wantCode(t *testing.T, err error, code, message string) {
	t.Helper()
	e, ok := awserr.As(err)
	if !ok {
		t.Errorf("got error %v, want %s", err, code)
		return
	}
	if e.Code != code || (message != "" && e.Message != message) {
		t.Errorf("got %s: %s\nwant %s: %s", e.Code, e.Message, code, message)
	}
}
