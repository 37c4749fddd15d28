package iam

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
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

	// awsAccount owns AWS's managed policies; no real account has its form.
	awsAccount    = "aws"
	accountRecord = "account"

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
	// Audit, if not nil, is told of decisions: of those that Audits, if not
	// nil, says it keeps.
	Audit  func(audit.Event)
	Audits func(action string, allowed bool) bool
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
	uses      *table.Table[use]

	// keys finds the owner of an access key: map[string]table.Key, the key of
	// its user, or of its account for a root user's.
	keys sync.Map
	// secrets are opened secrets by access key id, so that no request opens
	// one again.
	secrets sync.Map

	sets     sync.Map // *policySet of principals, by setKey
	setCount atomic.Int64
	trusted  sync.Map // *trustPolicy of roles, by table.Key
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
	if cfg.Audits == nil {
		cfg.Audits = func(string, bool) bool { return true }
	}
	return &Service{
		cfg:       cfg,
		users:     newTable(cfg, "users", checkUser),
		roles:     newTable(cfg, "roles", checkRole),
		policies:  newTable(cfg, "policies", checkManaged),
		providers: newTable(cfg, "providers", checkProvider),
		accounts:  newTable(cfg, "accounts", checkAccount),
		marks:     newTable(cfg, "marks", checkMark),
		uses:      newTable(cfg, "uses", checkUse),
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
	}{s.users, s.roles, s.policies, s.providers, s.accounts, s.marks, s.uses} {
		if err := t.Start(ctx); err != nil {
			s.Stop()
			return fmt.Errorf("iam: %w", err)
		}
		s.unsubscribe = append(s.unsubscribe, t.Stop)
	}
	s.watch()
	return s.makeDefaultRole(ctx, s.cfg.Root.Account)
}

// watch keeps the index of access keys.
func (s *Service) watch() {
	s.unsubscribe = append(s.unsubscribe,
		s.users.Subscribe(func(k table.Key, before, after *user) {
			var was, is []accessKey
			if before != nil {
				was = before.Keys
			}
			if after != nil {
				is = after.Keys
			}
			s.index(k, was, is)
		}),
		s.accounts.Subscribe(func(k table.Key, before, after *account) {
			var was, is []accessKey
			if before != nil {
				was = []accessKey{before.Root}
			}
			if after != nil {
				is = []accessKey{after.Root}
			}
			s.index(k, was, is)
		}),
		s.roles.Subscribe(func(k table.Key, _, after *role) {
			if after == nil {
				s.trusted.Delete(k)
			}
		}),
	)
}

// index makes the keys of an owner be found. Those that stay are never away
// meanwhile, for requests go on.
func (s *Service) index(owner table.Key, was, is []accessKey) {
	for i := range is {
		s.keys.Store(is[i].ID, owner)
	}
	for i := range was {
		id := was[i].ID
		stays := slices.ContainsFunc(is, func(k accessKey) bool { return k.ID == id })
		// A user who was renamed has the keys under another name already.
		if !stays && s.keys.CompareAndDelete(id, owner) {
			s.secrets.Delete(id)
		}
	}
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
