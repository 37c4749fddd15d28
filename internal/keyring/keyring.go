package keyring

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strconv"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"hearth/internal/table"
)

var (
	// ErrMissing says that there is no keyring file where there must be one.
	ErrMissing = errors.New("the keyring file is missing")
	// ErrForeign says that a keyring file is not the one that the account keys
	// were wrapped by.
	ErrForeign = errors.New("the keyring file does not fit the data directory")
)

// Store keeps the keyring file. Save replaces it in one step and durably.
type Store interface {
	// Load returns an error that is fs.ErrNotExist if there is no file.
	Load() ([]byte, error)
	Save(b []byte) error
	// Name is what errors call the file.
	Name() string
}

// External is a KMS outside of Hearth that wraps master keys.
type External interface {
	// KeyARN is the key that wraps new master keys.
	KeyARN() string
	Wrap(ctx context.Context, about map[string]string, key []byte) ([]byte, error)
	// Unwrap opens what the key of an ARN has wrapped about the same.
	Unwrap(ctx context.Context, keyARN string, about map[string]string, wrapped []byte) ([]byte, error)
}

// Config is what a keyring needs.
type Config struct {
	Store  Store
	Client *clientv3.Client
	Log    *slog.Logger
	// External, if not nil, wraps the master keys.
	External External
	// Clock is time.Now if nil.
	Clock func() time.Time
}

// externalTimeout bounds one call of the external KMS.
const externalTimeout = 30 * time.Second

// Keyring seals and opens values by the keys of accounts.
type Keyring struct {
	cfg      Config
	accounts *table.Table[accountKeys]

	// mu orders changes of the master keys, and guards them.
	mu      sync.RWMutex
	ring    *ring
	masters map[uint32]cipher.AEAD

	// keys are the unwrapped account keys, by keyVersion.
	keys sync.Map
}

// Open reads the keyring file, or makes it where nothing has been sealed yet,
// and the keys of all accounts. Stop ends what it has begun.
func Open(ctx context.Context, cfg Config) (_ *Keyring, err error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	k := &Keyring{cfg: cfg, masters: make(map[uint32]cipher.AEAD), accounts: newAccounts(cfg)}
	if err := k.accounts.Start(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			k.Stop()
		}
	}()
	if err := k.load(ctx); err != nil {
		return nil, err
	}
	if err := k.checkAccounts(); err != nil {
		return nil, err
	}
	if x := cfg.External; x != nil && k.ring.current().arn != x.KeyARN() {
		_, err = k.RotateMaster(ctx)
		return k, err
	}
	// A crash may have come between a new master key and what it was to wrap.
	return k, k.rewrap(ctx)
}

// Make makes a keyring file where there is none, for a cluster in which nothing
// has been sealed yet.
func Make(ctx context.Context, cfg Config) error {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if _, err := cfg.Store.Load(); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	k := &Keyring{cfg: cfg, masters: make(map[uint32]cipher.AEAD)}
	return k.create(ctx)
}

// Stop stops following etcd; what is known can still be used.
func (k *Keyring) Stop() { k.accounts.Stop() }

// load reads or makes the keyring file and unwraps the master keys.
func (k *Keyring) load(ctx context.Context) error {
	name := k.cfg.Store.Name()
	b, err := k.cfg.Store.Load()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if len(k.accounts.All()) > 0 || k.accounts.Refused() > 0 {
			return fmt.Errorf("%s: %w, and keys of accounts are wrapped by it; restore it from a backup: "+
				"without it no function's environment can be read", name, ErrMissing)
		}
		return k.create(ctx)
	case err != nil:
		return err
	}
	r, err := decodeRing(b)
	if err != nil {
		return fmt.Errorf("%s: %w; restore it from a backup: without it no function's environment can be read. "+
			"It is never made anew by itself", name, err)
	}
	for _, m := range r.masters {
		key, err := k.unwrapMaster(ctx, r, m)
		if err != nil {
			return fmt.Errorf("%s: master key %d: %w", name, m.version, err)
		}
		if k.masters[m.version], err = newAEAD(key); err != nil {
			return err
		}
	}
	k.ring = r
	return nil
}

func (k *Keyring) create(ctx context.Context) error {
	r := &ring{}
	rand.Read(r.id[:]) // never fails: it ends the program instead
	return k.addMaster(ctx, r)
}

// addMaster adds a master key to those of a ring and makes the result the
// keyring, once it is durable.
func (k *Keyring) addMaster(ctx context.Context, r *ring) error {
	next := &ring{id: r.id, masters: append([]master(nil), r.masters...)}
	m := master{version: 1, created: k.cfg.Clock().UTC().Truncate(time.Second)}
	if len(r.masters) > 0 {
		m.version = r.current().version + 1
	}
	key := newKey()
	aead, err := newAEAD(key)
	if err != nil {
		return err
	}
	m.key = key
	if x := k.cfg.External; x != nil {
		ctx, cancel := context.WithTimeout(ctx, externalTimeout)
		defer cancel()
		m.arn = x.KeyARN()
		if m.key, err = x.Wrap(ctx, about(next, m.version), key); err != nil {
			return fmt.Errorf("wrap a master key by %s: %w", m.arn, err)
		}
	}
	next.masters = append(next.masters, m)
	encoded := next.encode()
	// What could not be read again is not written.
	if _, err := decodeRing(encoded); err != nil {
		return fmt.Errorf("%s: a master key cannot be added: %w", k.cfg.Store.Name(), err)
	}
	if err := k.cfg.Store.Save(encoded); err != nil {
		return err
	}
	k.ring, k.masters[m.version] = next, aead
	return nil
}

func (k *Keyring) unwrapMaster(ctx context.Context, r *ring, m master) ([]byte, error) {
	if m.arn == "" {
		return m.key, nil
	}
	if k.cfg.External == nil {
		return nil, fmt.Errorf("it is wrapped by %s; start with --kms-key %s", m.arn, m.arn)
	}
	ctx, cancel := context.WithTimeout(ctx, externalTimeout)
	defer cancel()
	key, err := k.cfg.External.Unwrap(ctx, m.arn, about(r, m.version), m.key)
	if err != nil {
		return nil, fmt.Errorf("unwrap it by %s: %w", m.arn, err)
	}
	if len(key) != KeySize {
		return nil, fmt.Errorf("%s unwrapped %d bytes: %w", m.arn, len(key), ErrDamaged)
	}
	return key, nil
}

// about is what an external KMS binds a master key to.
func about(r *ring, version uint32) map[string]string {
	return map[string]string{"hearth:keyring": hex.EncodeToString(r.id[:]), "hearth:master-key": strconv.FormatUint(uint64(version), 10)}
}

// RotateMaster makes a new master key and wraps the keys of all accounts by
// it. The ones before stay, for backups of what they have wrapped.
func (k *Keyring) RotateMaster(ctx context.Context) (version uint32, err error) {
	k.mu.Lock()
	err = k.addMaster(ctx, k.ring)
	version = k.ring.current().version
	k.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return version, k.rewrap(ctx)
}

// MasterVersion is the version of the current master key.
func (k *Keyring) MasterVersion() uint32 {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.ring.current().version
}

// wrap wraps an account's key by the current master key.
func (k *Keyring) wrap(b Binding, key []byte) ([]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	version := k.ring.current().version
	return seal(k.masters[version], version, b, key)
}

func (k *Keyring) unwrap(b Binding, wrapped []byte) ([]byte, error) {
	version, err := sealedVersion(wrapped)
	if err != nil {
		return nil, err
	}
	k.mu.RLock()
	aead, ok := k.masters[version]
	k.mu.RUnlock()
	if !ok {
		return nil, ErrRefused
	}
	return open(aead, b, wrapped)
}
