package control

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"hearth/internal/awserr"
	"hearth/internal/catalog"
	"hearth/internal/etcd"
	"hearth/internal/function"
	"hearth/internal/keyring"
	"hearth/internal/kms"
	"hearth/internal/table"
)

const testKey = "arn:aws:kms:us-east-1:000000000000:key/12345678-1234-4234-8234-123456789abc"

func (st *stack) configure(t *testing.T, f func(c *function.Config)) (*function.Record, error) {
	t.Helper()
	r, err := st.UpdateConfig(t.Context(), function.ConfigUpdate{Account: account, Name: "hi", Apply: func(c *function.Config) error {
		if c.Environment != nil {
			t.Error("an update sees variables in the clear")
		}
		f(c)
		return nil
	}})
	if err == nil {
		st.wait(t, "hi", settled)
	}
	return r, err
}

// wantSealed checks which key has sealed what.
func (st *stack) wantSealed(t *testing.T, r *function.Record, key string, want map[string]string) {
	t.Helper()
	got, err := st.Environment(t.Context(), r)
	if err != nil || !maps.Equal(got, want) || (got == nil) != (want == nil) {
		t.Errorf("environment %v, %v, want %v", got, err, want)
	}
	if want != nil && !bytes.Contains(r.Latest.Sealed.Sealed, []byte(`"Key":"`+key+`"`)) || r.Latest.Environment != nil {
		t.Errorf("stored %+v", r.Latest)
	}
}

func TestEnvironmentsAreSealed(t *testing.T) {
	s := &sealer{}
	st := start(t, Config{Sealer: s})
	none := st.mustCreate(t, "none", "1")
	st.wantSealed(t, none, "", nil)
	req := createRequest(t, "hi", "1")
	req.Config.Environment = map[string]string{"A": "b"}
	req.DryRun = true
	dry, err := st.Create(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	st.wantSealed(t, dry, "", map[string]string{"A": "b"})
	req.DryRun = false
	if _, err := st.Create(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	first := st.wait(t, "hi", settled)
	st.wantSealed(t, first, "", map[string]string{"A": "b"})

	kept, err := st.configure(t, func(c *function.Config) { c.Timeout = 9 })
	if err != nil || !bytes.Equal(kept.Latest.Sealed.Sealed, first.Latest.Sealed.Sealed) {
		t.Errorf("an update of something else sealed anew: %+v, %v", kept, err)
	}
	rekeyed, err := st.configure(t, func(c *function.Config) { c.KMSKey = testKey })
	if err != nil {
		t.Fatal(err)
	}
	st.wantSealed(t, rekeyed, testKey, map[string]string{"A": "b"})
	both, err := st.configure(t, func(c *function.Config) { c.KMSKey, c.Environment = "", map[string]string{"A": "c"} })
	if err != nil {
		t.Fatal(err)
	}
	st.wantSealed(t, both, "", map[string]string{"A": "c"})

	// A rotated key seals anew at the next update; if it cannot, nothing is
	// lost, unless the update is about the key.
	s.set(nil, `"Key":""`)
	again, err := st.configure(t, func(c *function.Config) { c.Timeout = 10 })
	if err != nil {
		t.Fatal(err)
	}
	st.wantSealed(t, again, "", map[string]string{"A": "c"})
	denied := awserr.New("KMSDisabledException", "disabled")
	s.set(denied, `"Key":""`)
	if _, err := st.configure(t, func(c *function.Config) { c.Timeout = 11 }); err != nil {
		t.Errorf("an update of something else: %v", err)
	}
	for _, f := range []func(c *function.Config){
		func(c *function.Config) { c.KMSKey = testKey },
		func(c *function.Config) { c.Environment = map[string]string{"A": "c"} },
	} {
		if _, err := st.configure(t, f); !errors.Is(err, denied) {
			t.Errorf("with a key that cannot be used: %v", err)
		}
	}
	req.Name, req.Config.Environment, req.Config.KMSKey = "other", nil, testKey
	if _, err := st.Create(t.Context(), req); !errors.Is(err, denied) {
		t.Errorf("with a key that cannot be used, and nothing to seal yet: %v", err)
	}
	// Nothing needs no key.
	bare, err := st.configure(t, func(c *function.Config) { c.Environment = map[string]string{} })
	if err != nil || !bare.Latest.Sealed.IsZero() {
		t.Errorf("variables taken away: %+v, %v", bare, err)
	}
	st.wantSealed(t, bare, "", nil)
	st.wantObjects(t, 2)
}

// TestSwappedEnvironmentIsRefused moves what was sealed for one function into
// another's record.
func TestSwappedEnvironmentIsRefused(t *testing.T) {
	st := startSealing(t, t.TempDir())
	for _, name := range []string{"mine", "theirs"} {
		req := createRequest(t, name, "1")
		req.Config.Environment = map[string]string{"OF": name}
		if _, err := st.Create(t.Context(), req); err != nil {
			t.Fatal(err)
		}
		st.wait(t, name, settled)
	}
	theirs, _ := st.catalog.Lookup(account, "theirs")
	mine, err := st.catalog.Functions.Change(t.Context(), table.Key{Account: account, Name: "mine"}, func(now *function.Record) (*function.Record, error) {
		next := now.Clone()
		next.Latest.Sealed = theirs.Latest.Sealed
		return next, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = st.Environment(t.Context(), mine)
	if e, ok := awserr.As(err); !ok || e.Code != "KMSAccessDeniedException" || !strings.Contains(e.Message, "InvalidCiphertextException") {
		t.Errorf("opened another function's environment: %v", err)
	}
}

// TestClearEnvironmentsAreSealedAtStart begins with what a Hearth before
// sealing has stored.
func TestClearEnvironmentsAreSealedAtStart(t *testing.T) {
	dir := t.TempDir()
	st := startSealing(t, dir)
	client := st.etcd.Client()
	plain, err := os.ReadFile(filepath.Join("..", "catalog", "testdata", "record-v1-clear.json"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Put(t.Context(), "hearth/functions/"+account+"/hi", string(plain))
	if err != nil {
		t.Fatal(err)
	}
	if err := st.catalog.Functions.WaitRevision(t.Context(), resp.Header.GetRevision()); err != nil {
		t.Fatal(err)
	}
	if err := st.sealClear(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, _ := st.catalog.Lookup(account, "hi")
	if got, err := st.Environment(t.Context(), r); err != nil || got["A"] != "b" {
		t.Errorf("%v, %v", got, err)
	}
	if r.Serving.Sealed.Clear != nil || !bytes.Equal(r.Serving.Sealed.Sealed, r.Latest.Sealed.Sealed) {
		t.Errorf("serving %+v, latest %+v", r.Serving.Sealed, r.Latest.Sealed)
	}
	got, err := client.Get(t.Context(), "hearth/functions/"+account+"/hi")
	if err != nil || bytes.Contains(got.Kvs[0].Value, []byte(`"A":"b"`)) {
		t.Errorf("stored %s, %v", got.Kvs[0].Value, err)
	}
}

// keyringFile is a keyring file in a directory.
type keyringFile struct{ path string }

func (f keyringFile) Name() string          { return f.path }
func (f keyringFile) Load() ([]byte, error) { return os.ReadFile(f.path) }
func (f keyringFile) Save(b []byte) error   { return os.WriteFile(f.path, b, 0o600) }

// startSealing is start with the real key service.
func startSealing(t *testing.T, dir string) *stack {
	t.Helper()
	// The keys are in an etcd of their own, as the stack opens its own.
	keys, err := etcd.Start(t.Context(), etcd.Config{Dir: filepath.Join(dir, "keys")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(keys.Stop)
	ring, err := keyring.Open(t.Context(), keyring.Config{Store: keyringFile{filepath.Join(dir, "keyring")}, Client: keys.Client()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ring.Stop)
	service, err := kms.New(kms.Config{Client: keys.Client(), Keeper: ring, Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := service.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.Stop)
	return startOf(t, dir, Config{Sealer: service}, catalog.Config{})
}

// TestSecretsAreNotOnDisk looks for a variable's name and value in every file
// that the control plane and its stores have written.
func TestSecretsAreNotOnDisk(t *testing.T) {
	const name, secret, marker = "TOP_SECRET_NAME", "correct horse battery staple", "a description that is no secret"
	dir := t.TempDir()
	st := startSealing(t, dir)
	req := createRequest(t, "hi", "1")
	req.Config.Description = marker
	req.Config.Environment = map[string]string{name: secret}
	req.Publish = true
	if _, err := st.Create(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	st.wait(t, "hi", func(r *function.Record) bool { return r.Version == "" && settled(r) })
	if r, err := st.configure(t, func(c *function.Config) { c.Environment = map[string]string{name: secret + " again"} }); err != nil {
		t.Fatal(err)
	} else if got, err := st.Environment(t.Context(), r); err != nil || got[name] != secret+" again" {
		t.Errorf("%v, %v", got, err)
	}
	if err := st.close(); err != nil {
		t.Fatal(err)
	}
	wanted := map[string]int{name: 0, secret: 0, marker: 0}
	for s := range wanted {
		// What is inside of base64, whatever its place in there.
		for skip := range 3 {
			wanted[base64.RawStdEncoding.EncodeToString([]byte(s[skip:skip+(len(s)-skip)/3*3]))] = 0
		}
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		for s := range wanted {
			wanted[s] += bytes.Count(b, []byte(s))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if wanted[marker] == 0 {
		t.Error("what is no secret was not found either: this test looks in the wrong place")
	}
	delete(wanted, marker)
	for s, n := range wanted {
		if n != 0 {
			t.Errorf("%q is on disk %d times", s, n)
		}
	}
}
