package kms

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"hearth/internal/awserr"
	"hearth/internal/keyring"
	"hearth/internal/policy"
	"hearth/internal/sigv4"
	"hearth/internal/table"
)

// Keeper seals the material of keys under the key of their account.
type Keeper interface {
	Seal(ctx context.Context, b keyring.Binding, plaintext []byte) ([]byte, error)
	Open(ctx context.Context, b keyring.Binding, sealed []byte) ([]byte, error)
	// Stale says that a value was sealed by a version of the account's key
	// that is not the current one.
	Stale(account string, sealed []byte) bool
	// Rotate makes a new version of an account's key.
	Rotate(ctx context.Context, account string) (version uint32, err error)
	// RotateMaster makes a new version of what wraps the keys of accounts.
	RotateMaster(ctx context.Context) (version uint32, err error)
}

// Config is what the service needs.
type Config struct {
	Client *clientv3.Client
	Keeper Keeper
	Region string
	Log    *slog.Logger
	// Authorize decides by policies whether a caller may do what a request
	// asks, and answers *awserr.Error if not. If it is nil, every principal of
	// an account may do everything with that account's keys, and nothing with
	// others'.
	Authorize func(ctx context.Context, caller *sigv4.Identity, r *policy.Request, resource *policy.Document) error
	// Operator is the account whose root may rotate the master key.
	Operator string
	// Clock is time.Now if nil.
	Clock func() time.Time
	// Chores is how often keys are looked through for what is due: deletions
	// and rotations; an hour if zero.
	Chores time.Duration
}

// MaxBody is the longest request body, in bytes: a policy of 32 KB in JSON.
const MaxBody = 256 << 10

// Service is the key service.
type Service struct {
	cfg     Config
	keys    *table.Table[key]
	aliases *table.Table[alias]
	// policies are the key policies that requests were decided by, parsed.
	policies policyCache

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// New makes the service; Start starts it.
func New(cfg Config) (*Service, error) {
	var problems []error
	if cfg.Client == nil || cfg.Keeper == nil {
		problems = append(problems, errors.New("kms: config: a client and a keeper are needed"))
	}
	if cfg.Region == "" {
		problems = append(problems, errors.New("kms: config: Region is not set"))
	}
	if err := errors.Join(problems...); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Chores == 0 {
		cfg.Chores = time.Hour
	}
	return &Service{
		cfg:     cfg,
		keys:    table.New(table.Config[key]{Client: cfg.Client, Log: cfg.Log, Prefix: keysPrefix, Check: checkKey}),
		aliases: table.New(table.Config[alias]{Client: cfg.Client, Log: cfg.Log, Prefix: aliasesPrefix, Check: checkAlias}),
	}, nil
}

// Start reads all keys and begins to look after them.
func (s *Service) Start(ctx context.Context) error {
	if err := s.keys.Start(ctx); err != nil {
		return err
	}
	if err := s.aliases.Start(ctx); err != nil {
		s.keys.Stop()
		return err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	s.wg.Go(func() { s.run(ctx) })
	return nil
}

// Stop ends what Start began. Keys in memory can still be used.
func (s *Service) Stop() {
	if s.cancel == nil {
		return
	}
	s.cancel()
	s.wg.Wait()
	s.aliases.Stop()
	s.keys.Stop()
}

// Access is one thing that a request does with one resource.
type Access struct {
	// Action is IAM's name of it, as in kms:Encrypt.
	Action string
	// Resource is the ARN of a key or alias, or * for what is none's.
	Resource string
	// Account owns the resource.
	Account string
	// Policy is the key policy of the resource; empty if it has none.
	Policy string
	// Conditions are the values of KMS's condition keys, as in
	// kms:EncryptionContext:project.
	Conditions map[string]string
}

// call is one request under way.
type call struct {
	sigv4.Identity
	s      *Service
	now    time.Time
	action string
}

// request is a call whose parameters are sound and whose keys were found.
type request struct {
	access []Access
	// lockout, if not nil, is a policy that must let the caller replace it.
	lockout *lockout
	run     func(ctx context.Context) (any, error)
}

// lockout is a policy that a key is to get.
type lockout struct {
	key    *key
	policy string
}

// targetPrefix begins X-Amz-Target of KMS's operations.
const targetPrefix = "TrentService."

func (s *Service) parse(ctx context.Context, caller sigv4.Identity, target string, body []byte) (*request, error) {
	ops := operations
	name, ok := strings.CutPrefix(target, targetPrefix)
	action := "kms:" + name
	if !ok {
		name, ok = strings.CutPrefix(target, ownPrefix)
		ops, action = ownOperations, "hearth:"+name
	}
	op := ops[name]
	if !ok || op == nil {
		return nil, awserr.New("UnknownOperationException", "KMS has no operation %.100q.", target)
	}
	if len(body) > MaxBody {
		return nil, awserr.New("ValidationException", "The request has %d bytes; at most %d are read.", len(body), MaxBody)
	}
	return op(ctx, &call{Identity: caller, s: s, now: s.now(), action: action}, body)
}

// Access tells what a request would do, without doing it. Its errors are those
// that Serve would answer. Serve asks Config.Authorize the same.
func (s *Service) Access(ctx context.Context, caller sigv4.Identity, target string, body []byte) ([]Access, error) {
	req, err := s.parse(ctx, caller, target, body)
	if err != nil {
		return nil, err
	}
	return req.access, nil
}

// Describe adds to a request for a decision what its transport knows, as the
// caller's address; it may be nil.
type Describe = func(r *policy.Request)

// Serve answers a request of AWS's JSON protocol 1.1 whose signature has been
// verified. The answer's type is application/x-amz-json-1.1.
func (s *Service) Serve(ctx context.Context, caller sigv4.Identity, d Describe, target string, body []byte) (status int, answer []byte) {
	out, err := s.serve(ctx, caller, d, target, body)
	if err != nil {
		return s.fail(ctx, target, err)
	}
	if out == nil {
		return http.StatusOK, nil // as AWS answers what has no output
	}
	answer, err = json.Marshal(out)
	if err != nil {
		return s.fail(ctx, target, fmt.Errorf("encode the answer: %w", err))
	}
	return http.StatusOK, answer
}

func (s *Service) serve(ctx context.Context, caller sigv4.Identity, d Describe, target string, body []byte) (any, error) {
	req, err := s.parse(ctx, caller, target, body)
	if err != nil {
		return nil, err
	}
	for _, a := range req.access {
		if err := s.authorize(ctx, caller, d, a); err != nil {
			return nil, err
		}
	}
	if l := req.lockout; l != nil {
		c := &call{Identity: caller, s: s, now: s.now()}
		if err := c.mayPutPolicy(ctx, d, l.key, l.policy); err != nil {
			return nil, err
		}
	}
	return req.run(ctx)
}

// fail answers an error. The protocol has 400 for whatever is the caller's
// fault, and names it in the body.
func (s *Service) fail(ctx context.Context, target string, err error) (int, []byte) {
	status := http.StatusBadRequest
	e, ok := awserr.As(err)
	if !ok {
		s.cfg.Log.LogAttrs(ctx, slog.LevelError, "kms: request failed", slog.String("operation", clip(target)), slog.Any("error", err))
		e = awserr.New("KMSInternalException", "The request could not be served because of an internal failure. Try again; the server's log tells more.")
		status = http.StatusInternalServerError
	}
	body, err := json.Marshal(map[string]string{"__type": e.Code, "message": e.Message})
	if err != nil {
		panic(err) // a map of strings
	}
	return status, body
}

func (s *Service) now() time.Time { return s.cfg.Clock().UTC().Truncate(time.Millisecond) }
