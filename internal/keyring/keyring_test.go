package keyring

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"

	"hearth/internal/etcd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const account = "000000000000"

// memory is a keyring file in memory.
type memory struct {
	mu    sync.Mutex
	b     []byte
	fail  error
	saves int
}

func (*memory) Name() string { return "keyring" }

func (m *memory) Load() ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.b == nil {
		return nil, fmt.Errorf("load: %w", fs.ErrNotExist)
	}
	return bytes.Clone(m.b), nil
}

func (m *memory) Save(b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return m.fail
	}
	m.b, m.saves = bytes.Clone(b), m.saves+1
	return nil
}

func startEtcd(t testing.TB) *clientv3.Client {
	t.Helper()
	s, err := etcd.Start(t.Context(), etcd.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s.Client()
}

func mustOpen(t testing.TB, cfg Config) *Keyring {
	t.Helper()
	k, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Stop)
	return k
}

func mustSeal(t testing.TB, k *Keyring, b Binding, text string) []byte {
	t.Helper()
	sealed, err := k.Seal(t.Context(), b, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func wantOpen(t testing.TB, k *Keyring, b Binding, sealed []byte, want string) {
	t.Helper()
	got, err := k.Open(t.Context(), b, sealed)
	if err != nil || string(got) != want {
		t.Errorf("opened %q, %v, want %q", got, err, want)
	}
}

func TestSealedValuesStayInTheirPlace(t *testing.T) {
	k := mustOpen(t, Config{Store: &memory{}, Client: startEtcd(t)})
	here := Binding{Account: account, Purpose: "environment", Record: "hi"}
	sealed := mustSeal(t, k, here, "secret")
	mustSeal(t, k, Binding{Account: "111111111111"}, "x") // that account has a key, too
	wantOpen(t, k, here, sealed, "secret")
	if bytes.Contains(sealed, []byte("secret")) {
		t.Error("the value is not sealed")
	}
	if again := mustSeal(t, k, here, "secret"); bytes.Equal(again, sealed) {
		t.Error("sealed twice the same way")
	}
	for _, there := range []Binding{
		{Account: "111111111111", Purpose: "environment", Record: "hi"},
		{Account: "222222222222", Purpose: "environment", Record: "hi"},
		{Account: account, Purpose: "kms-key", Record: "hi"},
		{Account: account, Purpose: "environment", Record: "ho"},
		{Account: account, Purpose: "environmenth", Record: "i"},
		{},
	} {
		if got, err := k.Open(t.Context(), there, sealed); !errors.Is(err, ErrRefused) {
			t.Errorf("%+v: opened %q, %v", there, got, err)
		}
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if got, err := k.Open(t.Context(), here, bad); !errors.Is(err, ErrRefused) {
			t.Errorf("byte %d changed: opened %q, %v", i, got, err)
		}
		if got, err := k.Open(t.Context(), here, sealed[:i]); !errors.Is(err, ErrRefused) {
			t.Errorf("cut at %d: opened %q, %v", i, got, err)
		}
	}
	if _, err := k.Seal(t.Context(), here, make([]byte, MaxValue+1)); err == nil {
		t.Error("sealed without a bound")
	}
}

func TestRotate(t *testing.T) {
	file, client := &memory{}, startEtcd(t)
	k := mustOpen(t, Config{Store: file, Client: client})
	b := Binding{Account: account, Purpose: "p", Record: "r"}
	first := mustSeal(t, k, b, "one")
	if k.Stale(account, first) {
		t.Error("stale before a rotation")
	}
	if v, err := k.Rotate(t.Context(), account); err != nil || v != 2 {
		t.Fatalf("rotated to %d, %v", v, err)
	}
	second := mustSeal(t, k, b, "two")
	if !k.Stale(account, first) || k.Stale(account, second) {
		t.Error("the first is not stale, or the second is")
	}
	if v, err := k.RotateMaster(t.Context()); err != nil || v != 2 || k.MasterVersion() != 2 {
		t.Fatalf("rotated the master key to %d, %v", v, err)
	}
	r, _ := k.lookup(account)
	for _, v := range r.Keys {
		if by, err := sealedVersion(v.Wrapped); err != nil || by != 2 {
			t.Errorf("key %d is wrapped by master key %d, %v", v.Version, by, err)
		}
	}
	third := mustSeal(t, k, b, "three")
	// A keyring that starts anew has nothing in memory.
	k2 := mustOpen(t, Config{Store: file, Client: client})
	for _, other := range []*Keyring{k, k2} {
		wantOpen(t, other, b, first, "one")
		wantOpen(t, other, b, second, "two")
		wantOpen(t, other, b, third, "three")
	}
	if file.saves != 2 {
		t.Errorf("the file was written %d times", file.saves)
	}
	if v, err := k.Rotate(t.Context(), "333333333333"); err != nil || v != 1 {
		t.Errorf("a new account's first key is %d, %v", v, err)
	}
}

func TestKeyringIsNeverMadeAnew(t *testing.T) {
	client, file := startEtcd(t), &memory{}
	k := mustOpen(t, Config{Store: file, Client: client})
	// Nothing is sealed yet: a missing file costs nothing.
	if _, err := Open(t.Context(), Config{Store: &memory{fail: errors.New("no space")}, Client: client}); err == nil {
		t.Fatal("opened without a durable key")
	}
	mustSeal(t, k, Binding{Account: account}, "x")
	damaged := bytes.Clone(file.b)
	damaged[len(damaged)-1] ^= 1
	other := &memory{}
	mustOpen(t, Config{Store: other, Client: startEtcd(t)})
	for name, tt := range map[string]struct {
		file *memory
		want error
		say  string
	}{
		"missing": {&memory{}, ErrMissing, "backup"},
		"empty":   {&memory{b: []byte{}}, ErrDamaged, "backup"},
		"damaged": {&memory{b: damaged}, ErrDamaged, "backup"},
		"foreign": {other, ErrForeign, "restore"},
	} {
		saves, before := tt.file.saves, bytes.Clone(tt.file.b)
		_, err := Open(t.Context(), Config{Store: tt.file, Client: client})
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.say) {
			t.Errorf("%s: %v", name, err)
		}
		if tt.file.saves != saves || !bytes.Equal(tt.file.b, before) {
			t.Errorf("%s: the file was written", name)
		}
	}
	// A record that cannot be read is sealed data as well.
	fresh := startEtcd(t)
	if _, err := fresh.Put(t.Context(), accountsPrefix+account+"/keys", `{"version":2}`); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{Store: &memory{}, Client: fresh}); !errors.Is(err, ErrMissing) {
		t.Errorf("with a record of another version: %v", err)
	}
}

func TestSwappedAccountKeysAreRefused(t *testing.T) {
	client, file := startEtcd(t), &memory{}
	k := mustOpen(t, Config{Store: file, Client: client})
	mustSeal(t, k, Binding{Account: account}, "x")
	r, _ := k.lookup(account)
	b, err := json.Marshal(map[string]any{"version": 1, "record": &accountKeys{Account: "111111111111", Keys: r.Keys}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Put(t.Context(), accountsPrefix+"111111111111/keys", string(b)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), Config{Store: file, Client: client}); !errors.Is(err, ErrForeign) {
		t.Errorf("an account took another's key: %v", err)
	}
}

// TestRotationThatCrashed leaves the master key made and the accounts' keys
// under the one before.
func TestRotationThatCrashed(t *testing.T) {
	client, file := startEtcd(t), &memory{}
	k := mustOpen(t, Config{Store: file, Client: client})
	b := Binding{Account: account}
	sealed := mustSeal(t, k, b, "x")
	if err := k.addMaster(t.Context(), k.ring); err != nil {
		t.Fatal(err)
	}
	k2 := mustOpen(t, Config{Store: file, Client: client})
	r, _ := k2.lookup(account)
	if by, err := sealedVersion(r.Keys[0].Wrapped); err != nil || by != 2 {
		t.Errorf("after a start the key is wrapped by master key %d, %v", by, err)
	}
	wantOpen(t, k2, b, sealed, "x")
	// A file that cannot be written changes nothing.
	file.fail = errors.New("no space")
	if _, err := k2.RotateMaster(t.Context()); err == nil || k2.MasterVersion() != 2 {
		t.Errorf("rotated to %d, %v", k2.MasterVersion(), err)
	}
	wantOpen(t, k2, b, sealed, "x")
}

func TestConcurrentSealsAndRotations(t *testing.T) {
	k := mustOpen(t, Config{Store: &memory{}, Client: startEtcd(t)})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			b := Binding{Account: account, Record: fmt.Sprint(w)}
			for i := range 20 {
				sealed := mustSeal(t, k, b, fmt.Sprint(i))
				wantOpen(t, k, b, sealed, fmt.Sprint(i))
			}
		})
		wg.Go(func() {
			if _, err := k.Rotate(t.Context(), account); err != nil {
				t.Error(err)
			}
			if _, err := k.RotateMaster(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if v, err := k.Rotate(t.Context(), account); err != nil || v < 5 {
		t.Errorf("version %d, %v", v, err)
	}
	if k.MasterVersion() != 5 {
		t.Errorf("master key %d", k.MasterVersion())
	}
}

// wrapper is an External of a test.
type wrapper struct {
	arn   string
	fail  error
	calls int
}

func (w *wrapper) KeyARN() string { return w.arn }

func (w *wrapper) Wrap(_ context.Context, about map[string]string, key []byte) ([]byte, error) {
	w.calls++
	return append([]byte(w.arn+fmt.Sprint(about)), key...), w.fail
}

func (w *wrapper) Unwrap(_ context.Context, arn string, about map[string]string, wrapped []byte) ([]byte, error) {
	w.calls++
	key, ok := bytes.CutPrefix(wrapped, []byte(arn+fmt.Sprint(about)))
	if !ok {
		return nil, errors.New("refused")
	}
	return key, w.fail
}

func TestExternal(t *testing.T) {
	client, file := startEtcd(t), &memory{}
	local := mustOpen(t, Config{Store: file, Client: client})
	b := Binding{Account: account}
	sealed := mustSeal(t, local, b, "x")

	outside := &wrapper{arn: "arn:aws:kms:us-east-1:000000000000:key/outside"}
	k := mustOpen(t, Config{Store: file, Client: client, External: outside})
	if r, _ := k.lookup(account); k.MasterVersion() != 2 || k.ring.current().arn != outside.arn {
		t.Errorf("moved to %+v, %+v", k.ring.current(), r)
	}
	wantOpen(t, k, b, sealed, "x")
	calls := outside.calls
	wantOpen(t, k, b, mustSeal(t, k, b, "y"), "y")
	if outside.calls != calls {
		t.Error("sealing asked the external KMS")
	}
	if k := mustOpen(t, Config{Store: file, Client: client, External: outside}); k.MasterVersion() != 2 {
		t.Errorf("a second start made master key %d", k.MasterVersion())
	}
	if _, err := Open(t.Context(), Config{Store: file, Client: client}); err == nil || !strings.Contains(err.Error(), "--kms-key "+outside.arn) {
		t.Errorf("without the external KMS: %v", err)
	}
	outside.fail = errors.New("access denied")
	if _, err := Open(t.Context(), Config{Store: file, Client: client, External: outside}); !errors.Is(err, outside.fail) {
		t.Errorf("with a KMS that refuses: %v", err)
	}
	wantOpen(t, k, b, sealed, "x")
	// A keyring file of another installation is not unwrapped.
	outside.fail = nil
	r, err := decodeRing(file.b)
	if err != nil {
		t.Fatal(err)
	}
	r.id[0] ^= 1
	if _, err := Open(t.Context(), Config{Store: &memory{b: r.encode()}, Client: client, External: outside}); err == nil {
		t.Error("another keyring's wrapped key was taken")
	}
}

func TestNewAWSRefuses(t *testing.T) {
	for _, arn := range []string{"", "alias/x", "arn:aws:kms:us-east-1:000000000000:alias/x", "arn:aws:kms:us-east-1:0:key/x"} {
		if _, err := NewAWS(AWSConfig{KeyARN: arn}); err == nil || !strings.Contains(err.Error(), "not the ARN of a key") {
			t.Errorf("%q: %v", arn, err)
		}
	}
	if _, err := NewAWS(AWSConfig{KeyARN: "arn:aws:kms:us-east-1:000000000000:key/x"}); err == nil || !strings.Contains(err.Error(), "AWS_ACCESS_KEY_ID") {
		t.Errorf("without credentials: %v", err)
	}
}

func TestErrorsHoldNoKey(t *testing.T) {
	file := &memory{}
	mustOpen(t, Config{Store: file, Client: startEtcd(t), Clock: func() time.Time { return time.Unix(1, 0) }})
	r, err := decodeRing(file.b)
	if err != nil {
		t.Fatal(err)
	}
	for i := range file.b {
		bad := bytes.Clone(file.b)
		bad[i] ^= 0x40
		_, err := decodeRing(bad)
		if err == nil {
			t.Fatalf("byte %d changed, and nobody noticed", i)
		}
		if strings.Contains(err.Error(), string(r.masters[0].key[:4])) {
			t.Error("the error holds the key")
		}
	}
}
