package assignment

import (
	"time"

	"hearth/internal/awserr"
	"hearth/internal/environment"
	"hearth/internal/function"
)

// initFailed is AWS's word for provisioned environments whose function does
// not initialise.
const initFailed = "FUNCTION_ERROR_INIT_FAILURE"

// provision sees a changed function or version and keeps the environments that
// it asks for initialised ahead. Functions and versions are told of by two
// goroutines, so one at a time reads what is asked for and acts on it.
func (s *Service) provision(old, now *function.Record) {
	s.provisioning.Lock()
	defer s.provisioning.Unlock()
	switch {
	case now != nil && now.Version != "":
		// A version that was published with Publish becomes active later.
		if fn, ok := s.cfg.Functions.Lookup(now.Account, now.Name); ok {
			s.provide(now, fn.ProvisionedFor(now.Version))
		}
		return
	case now == nil && old != nil && old.Version != "":
		s.provide(old, 0)
		return
	}
	for _, r := range []*function.Record{old, now} {
		if r == nil {
			continue
		}
		for qualifier := range r.Provisioned {
			version := r.VersionOf(qualifier)
			if v, ok := s.cfg.Functions.Version(r.Account, r.Name, version); ok {
				n := 0
				if now != nil {
					n = now.ProvisionedFor(version)
				}
				s.provide(v, n)
			}
		}
	}
}

// provide sets how many environments of a version are kept ready.
func (s *Service) provide(version *function.Record, n int) {
	if version.State != function.Active || version.Serving == nil {
		return // it is told again when it is
	}
	s.partition(version.UID).Provide(version, n)
}

// Provide sets how many environments of a version are kept ready by whoever
// leads.
func (p *Partition) Provide(version *function.Record, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n == 0 && p.pools[version.UID] == nil {
		return
	}
	pl := p.pool(version)
	pl.provisioned, pl.rec = n, version
	pl.provisionRetry, pl.provisionFailure = time.Time{}, ""
	p.startMore(pl, p.cfg.Now())
}

// Provisioned returns how many environments of a version are ready, of those
// that are kept ready, how many of them are idle, and why no more are.
func (s *Service) Provisioned(version *function.Record) (allocated, available int, failure string) {
	return s.partition(version.UID).provisioned(version)
}

func (p *Partition) provisioned(version *function.Record) (allocated, available int, failure string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	pl := p.pools[version.UID]
	if pl == nil {
		return 0, 0, ""
	}
	return min(pl.live, pl.provisioned), min(len(pl.idle), pl.provisioned), pl.provisionFailure
}

// missing is how many environments must be started, beyond those on their way,
// to have as many as are provisioned.
func (pl *pool) missing(now time.Time) int {
	if pl.provisioned == 0 || now.Before(pl.provisionRetry) {
		return 0
	}
	return pl.provisioned - pl.live
}

// spare says whether the pool can lose an idle environment.
func (pl *pool) spare() bool { return pl.live > pl.provisioned }

// noteProvisioned keeps the outcome of a start that no invoke waits for. It
// returns false if the environment is of no use.
func (p *Partition) noteProvisioned(pl *pool, started *environment.Started, err error, now time.Time) bool {
	if len(pl.waiters) > 0 || pl.provisioned == 0 {
		return true
	}
	switch {
	case err != nil:
		pl.provisionFailure = reason(err)
	case started.InitFailed:
		pl.provisionFailure = initFailed
	default:
		pl.provisionFailure = ""
		return true
	}
	pl.provisionRetry = now.Add(p.cfg.MaxBackoff)
	return false
}

// reason says to a function's owner why an environment could not be started.
func reason(err error) string {
	if e, ok := awserr.As(err); ok && e.Code == "TooManyRequestsException" {
		return "No worker has room for more environments. Give Hearth more memory, or provision less."
	}
	return "Internal error; the server's log tells more. Starting is tried again."
}
