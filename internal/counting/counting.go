package counting

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/invocation"
)

// RequestsPerUnit is AWS's request rate quota: ten requests a second for each
// unit of account concurrency.
const RequestsPerUnit = 10

// Config is what a Service needs; zero fields take their defaults.
type Config struct {
	// AccountConcurrency is each account's limit; default 1,000, as AWS.
	AccountConcurrency int
	Now                func() time.Time
}

func (c *Config) fill() error {
	if c.AccountConcurrency == 0 {
		c.AccountConcurrency = 1000
	}
	if c.AccountConcurrency < 0 {
		return fmt.Errorf("counting: account concurrency is %d; it must be at least 1", c.AccountConcurrency)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return nil
}

// Service admits invokes.
type Service struct {
	cfg      Config
	start    time.Time
	accounts sync.Map // account id → *account
}

// New makes a Service.
func New(cfg Config) (*Service, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	return &Service{cfg: cfg, start: cfg.Now()}, nil
}

// account is the state of one account.
type account struct {
	inFlight atomic.Int64
	// arrival is the theoretical arrival time of the generic cell rate
	// algorithm, in nanoseconds since the service's start: a token bucket in
	// one word.
	arrival atomic.Int64
}

// unit is one admitted invoke of an account. It is the account itself under
// another name, so that handing it out allocates nothing.
type unit account

// Release implements invocation.Unit.
func (u *unit) Release() {
	if u.inFlight.Add(-1) < 0 {
		panic("counting: a unit was released twice")
	}
}

// Admit takes a unit of the account's concurrency, or answers AWS's 429 with
// its reason.
func (s *Service) Admit(accountID string) (invocation.Unit, error) {
	v, ok := s.accounts.Load(accountID)
	if !ok {
		v, _ = s.accounts.LoadOrStore(accountID, &account{})
	}
	a := v.(*account)
	if a.inFlight.Add(1) > int64(s.cfg.AccountConcurrency) {
		a.inFlight.Add(-1)
		return nil, awserr.Throttled(awserr.ReasonConcurrentInvocationLimit)
	}
	if !s.conform(a) {
		a.inFlight.Add(-1)
		return nil, awserr.Throttled(awserr.ReasonCallerRateLimit)
	}
	return (*unit)(a), nil
}

// conform is GCRA with a burst of one second's worth of requests.
func (s *Service) conform(a *account) bool {
	interval := int64(time.Second) / int64(s.cfg.AccountConcurrency*RequestsPerUnit)
	now := int64(s.cfg.Now().Sub(s.start))
	for {
		old := a.arrival.Load()
		next := max(old, now) + interval
		if next-now > int64(time.Second) {
			return false
		}
		if a.arrival.CompareAndSwap(old, next) {
			return true
		}
	}
}

// Limit is the account's concurrency limit.
func (s *Service) Limit(string) int { return s.cfg.AccountConcurrency }

// InFlight is the number of units held for an account.
func (s *Service) InFlight(accountID string) int {
	if v, ok := s.accounts.Load(accountID); ok {
		return int(v.(*account).inFlight.Load())
	}
	return 0
}
