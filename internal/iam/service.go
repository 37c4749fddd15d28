package iam

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"hearth/internal/audit"
	"hearth/internal/keyring"
	"hearth/internal/policy"
	"hearth/internal/table"
)

const (
	userPrefix   = "AIDA"
	rolePrefix   = "AROA"
	policyPrefix = "ANPA"
	// keyPrefix and sessionPrefix begin access keys: AWS's tools tell
	// long-lived from session keys by them.
	keyPrefix     = "AKIA"
	sessionPrefix = "ASIA"

	// awsAccount owns AWS's managed policies; no real account has its form.
	awsAccount    = "aws"
	accountRecord = "account"

	idLength  = 21
	keyLength = 20

	// decisions is how many decisions are remembered.
	decisions = 16 << 10
)

// Sealer seals what must not lie in the clear.
type Sealer interface {
	Seal(ctx context.Context, b keyring.Binding, plaintext []byte) ([]byte, error)
	Open(ctx context.Context, b keyring.Binding, sealed []byte) ([]byte, error)
}

// Root is the access key of the first account's root user.
type Root struct{ Account, AccessKeyID, Secret string }

// Config is what a Service needs.
type Config struct {
	Client *clientv3.Client
	Sealer Sealer
	Root   Root
	Log    *slog.Logger
	// Clock is time.Now if nil.
	Clock func() time.Time
	// Tokens reads the keys of identity providers; see Provider. No web
	// identity is believed if it is nil.
	Tokens WebTokens
	// Audit, if not nil, is told of every decision.
	Audit func(audit.Event)
}

// Service is the identity service.
type Service struct {
	cfg Config

	users     *table.Table[user]
	roles     *table.Table[role]
	policies  *table.Table[managed]
	providers *table.Table[provider]
	accounts  *table.Table[account]
	marks     *table.Table[mark]

	// keys finds the owner of an access key: map[string]table.Key, the key of
	// its user, or of its account for a root user's.
	keys sync.Map
	// secrets are opened secrets by access key id, so that no request opens
	// one again.
	secrets sync.Map

	// changes counts changes of anything that policies are made of.
	changes  atomic.Uint64
	sets     sync.Map // policySet of principals, by setKey
	setCount atomic.Int64
	cache    *policy.Cache
	opened   sessionCache

	unsubscribe []func()
}

// New makes a Service; Start starts it.
func New(cfg Config) (*Service, error) {
	if cfg.Client == nil || cfg.Sealer == nil || cfg.Root.AccessKeyID == "" {
		return nil, errors.New("iam: a client, a sealer and the root user's key are needed")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Audit == nil {
		cfg.Audit = func(audit.Event) {}
	}
	return &Service{
		cfg:       cfg,
		users:     newTable(cfg, "users", checkUser),
		roles:     newTable(cfg, "roles", checkRole),
		policies:  newTable(cfg, "policies", checkManaged),
		providers: newTable(cfg, "providers", checkProvider),
		accounts:  newTable(cfg, "accounts", checkAccount),
		marks:     newTable(cfg, "marks", checkMark),
		cache:     policy.NewCache(decisions),
	}, nil
}

func newTable[T any](cfg Config, kind string, check func(table.Key, *T) error) *table.Table[T] {
	return table.New(table.Config[T]{Client: cfg.Client, Log: cfg.Log, Prefix: "hearth/iam/" + kind + "/", Check: check})
}

// Start reads all records and makes the first account's default role, if it
// has never been there.
func (s *Service) Start(ctx context.Context) error {
	for _, t := range []interface {
		Start(ctx context.Context) error
		Stop()
	}{s.users, s.roles, s.policies, s.providers, s.accounts, s.marks} {
		if err := t.Start(ctx); err != nil {
			s.Stop()
			return fmt.Errorf("iam: %w", err)
		}
		s.unsubscribe = append(s.unsubscribe, t.Stop)
	}
	s.watch()
	return s.makeDefaultRole(ctx, s.cfg.Root.Account)
}

// watch keeps the index of access keys, and counts what changes.
func (s *Service) watch() {
	changed := func() { s.changes.Add(1) }
	s.unsubscribe = append(s.unsubscribe,
		s.users.Subscribe(func(k table.Key, before, after *user) {
			if before != nil {
				for _, key := range before.Keys {
					s.forget(key.ID)
				}
			}
			if after != nil {
				for _, key := range after.Keys {
					s.keys.Store(key.ID, k)
				}
			}
			changed()
		}),
		s.accounts.Subscribe(func(k table.Key, before, after *account) {
			if before != nil {
				s.forget(before.Root.ID)
			}
			if after != nil {
				s.keys.Store(after.Root.ID, k)
			}
			changed()
		}),
		s.roles.Subscribe(func(table.Key, *role, *role) { changed() }),
		s.policies.Subscribe(func(table.Key, *managed, *managed) { changed() }),
		s.providers.Subscribe(func(table.Key, *provider, *provider) { changed() }),
	)
}

func (s *Service) forget(keyID string) {
	s.keys.Delete(keyID)
	s.secrets.Delete(keyID)
}

// Stop stops following etcd.
func (s *Service) Stop() {
	for _, f := range s.unsubscribe {
		f()
	}
	s.unsubscribe = nil
}

// now is the time as IAM shows it, in seconds.
func (s *Service) now() time.Time { return s.cfg.Clock().UTC().Truncate(time.Second) }

// letters are those of AWS's ids: base 32.
const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

// newID returns a random id with a prefix; AWS's have 21 characters, access keys 20.
func newID(prefix string, length int) string {
	return prefix + text(length-len(prefix), letters)
}

// newSecret returns a random secret of AWS's form: 40 characters.
func newSecret() string {
	return text(40, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
}

// text returns n random characters; the alphabet's length divides 256.
func text(n int, alphabet string) string {
	b := make([]byte, n)
	rand.Read(b) // never fails: it ends the program instead
	for i := range b {
		b[i] = alphabet[int(b[i])%len(alphabet)]
	}
	return string(b)
}
