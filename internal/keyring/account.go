package keyring

import (
	"context"
	"crypto/cipher"
	"errors"
	"fmt"
	"strconv"
	"time"

	"hearth/internal/table"
)

// accountsPrefix begins the keys of the records of account keys in etcd.
const accountsPrefix = "hearth/account-keys/"

// accountRecord names an account's record in the table.
const accountRecord = "keys"

// wrapPurpose binds account keys to what they are.
const wrapPurpose = "account-key"

// maxVersions bounds the versions of an account's key.
const maxVersions = 2048

// accountKeys are the versions of an account's key, the last is the current.
type accountKeys struct {
	Account string       `json:"account"`
	Keys    []accountKey `json:"keys"`
}

type accountKey struct {
	Version uint32    `json:"version"`
	Created time.Time `json:"created"`
	// Wrapped is the key, sealed by a master key.
	Wrapped []byte `json:"wrapped"`
}

func newAccounts(cfg Config) *table.Table[accountKeys] {
	return table.New(table.Config[accountKeys]{Client: cfg.Client, Log: cfg.Log, Prefix: accountsPrefix, Check: checkAccount})
}

func checkAccount(key table.Key, r *accountKeys) error {
	if r.Account != key.Account || key.Name != accountRecord {
		return fmt.Errorf("it is the record of account %.20q", r.Account)
	}
	if len(r.Keys) == 0 || len(r.Keys) > maxVersions {
		return fmt.Errorf("%d keys", len(r.Keys))
	}
	for i, v := range r.Keys {
		if int64(v.Version) != int64(i)+1 {
			return fmt.Errorf("key %d in place %d", v.Version, i+1)
		}
		if _, err := sealedVersion(v.Wrapped); err != nil || len(v.Wrapped) != Overhead+KeySize {
			return fmt.Errorf("key %d is not a wrapped key", v.Version)
		}
	}
	return nil
}

// keyVersion names an unwrapped key in memory.
type keyVersion struct {
	account string
	version uint32
}

func wrapBinding(v keyVersion) Binding {
	return Binding{Account: v.account, Purpose: wrapPurpose, Record: strconv.FormatUint(uint64(v.version), 10)}
}

// Seal seals a value for a place, by the current key of its account.
func (k *Keyring) Seal(ctx context.Context, b Binding, plaintext []byte) ([]byte, error) {
	r, ok := k.lookup(b.Account)
	if !ok {
		var err error
		if r, err = k.grow(ctx, b.Account, false); err != nil {
			return nil, err
		}
	}
	version := r.Keys[len(r.Keys)-1].Version
	aead, err := k.key(r, version)
	if err != nil {
		return nil, err
	}
	return seal(aead, version, b, plaintext)
}

// Open opens a value that was sealed for the same place.
func (k *Keyring) Open(_ context.Context, b Binding, sealed []byte) ([]byte, error) {
	version, err := sealedVersion(sealed)
	if err != nil {
		return nil, err
	}
	r, ok := k.lookup(b.Account)
	if !ok || version == 0 || int64(version) > int64(len(r.Keys)) {
		return nil, ErrRefused
	}
	aead, err := k.key(r, version)
	if err != nil {
		return nil, err
	}
	return open(aead, b, sealed)
}

// Stale says whether a value was sealed by a key that is not the account's
// current one, so that it should be sealed anew when it is next written.
func (k *Keyring) Stale(account string, sealed []byte) bool {
	version, err := sealedVersion(sealed)
	r, ok := k.lookup(account)
	return err == nil && ok && version < r.Keys[len(r.Keys)-1].Version
}

// Rotate makes a new version of an account's key. What the ones before have
// sealed still opens.
func (k *Keyring) Rotate(ctx context.Context, account string) (version uint32, err error) {
	r, err := k.grow(ctx, account, true)
	if err != nil {
		return 0, err
	}
	return r.Keys[len(r.Keys)-1].Version, nil
}

func (k *Keyring) lookup(account string) (*accountKeys, bool) {
	return k.accounts.Lookup(table.Key{Account: account, Name: accountRecord})
}

// grow adds a version to an account's keys: the first one, or with more
// another.
func (k *Keyring) grow(ctx context.Context, account string, more bool) (*accountKeys, error) {
	return k.accounts.Change(ctx, table.Key{Account: account, Name: accountRecord}, func(now *accountKeys) (*accountKeys, error) {
		next := &accountKeys{Account: account}
		if now != nil {
			if !more {
				return now, nil // another was faster
			}
			next.Keys = append(next.Keys, now.Keys...)
		}
		v := keyVersion{account, uint32(len(next.Keys)) + 1} //nolint:gosec // at most maxVersions
		if v.version > maxVersions {
			return nil, fmt.Errorf("keyring: account %s has %d versions of its key, which is the most", account, maxVersions)
		}
		wrapped, err := k.wrap(wrapBinding(v), newKey())
		if err != nil {
			return nil, err
		}
		next.Keys = append(next.Keys, accountKey{Version: v.version, Created: k.cfg.Clock().UTC().Truncate(time.Second), Wrapped: wrapped})
		return next, nil
	})
}

// key returns a version of an account's key.
func (k *Keyring) key(r *accountKeys, version uint32) (cipher.AEAD, error) {
	v := keyVersion{r.Account, version}
	if aead, ok := k.keys.Load(v); ok {
		return aead.(cipher.AEAD), nil
	}
	key, err := k.unwrap(wrapBinding(v), r.Keys[version-1].Wrapped)
	if err != nil {
		return nil, fmt.Errorf("keyring: key %d of account %s cannot be unwrapped: %w", version, r.Account, errors.Join(ErrForeign, err))
	}
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	k.keys.Store(v, aead)
	return aead, nil
}

// checkAccounts unwraps every account's keys: a keyring that is another's is
// found now and not with the first function that is to run.
func (k *Keyring) checkAccounts() error {
	for _, r := range k.accounts.All() {
		for _, v := range r.Keys {
			if _, err := k.key(r, v.Version); err != nil {
				return fmt.Errorf("%s: %w; restore the keyring file that belongs to this data directory", k.cfg.Store.Name(), err)
			}
		}
	}
	return nil
}

// rewrap wraps every account's keys by the current master key.
func (k *Keyring) rewrap(ctx context.Context) error {
	for _, r := range k.accounts.All() {
		_, err := k.accounts.Change(ctx, table.Key{Account: r.Account, Name: accountRecord}, k.rewrapped)
		if err != nil {
			return fmt.Errorf("keyring: wrap the keys of account %s anew: %w; what is sealed can still be opened, and the next start tries again",
				r.Account, err)
		}
	}
	return nil
}

func (k *Keyring) rewrapped(now *accountKeys) (*accountKeys, error) {
	if now == nil {
		return nil, nil
	}
	current := k.MasterVersion()
	next := &accountKeys{Account: now.Account, Keys: append([]accountKey(nil), now.Keys...)}
	changed := false
	for i := range next.Keys {
		v := &next.Keys[i]
		if by, err := sealedVersion(v.Wrapped); err == nil && by >= current {
			continue
		}
		b := wrapBinding(keyVersion{now.Account, v.Version})
		key, err := k.unwrap(b, v.Wrapped)
		if err != nil {
			return nil, err
		}
		if v.Wrapped, err = k.wrap(b, key); err != nil {
			return nil, err
		}
		changed = true
	}
	if !changed {
		return now, nil
	}
	return next, nil
}
