package counting

import (
	"context"
	"sync"
	"time"

	"hearth/internal/invocation"
)

// slice is the units of a pool that a frontend has been granted: from them it
// admits by itself.
type slice struct {
	mu sync.Mutex
	// life is the frontend's in which they were granted; those of a former one are
	// nobody's any more.
	life       uint64
	held, used int
	// single says that units go back as soon as they are free.
	single bool
	// peak is the most that were used since it was last looked at, in this period
	// and the one before.
	peak, before int
	limit        int
	longest      time.Duration
}

func (s *slice) inUse() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

// shared is a unit of a slice.
type shared struct {
	service *Service
	pool    *pool
	key     string
	life    uint64
}

// Key names the unit's pool, and Life the frontend's life that it was granted in:
// a worker that was told that this life is over does not take the invoke.
func (u *shared) Key() (pool string, life uint64) { return u.key, u.life }

// Refused says that a worker was told that the unit's life is over. A leader that is
// one no more may have taken the frontend for gone; it begins another life.
func (u *shared) Refused() { u.service.cfg.Source.Over(u.life) }

// batch is how many units a frontend asks for that needs one.
func (s *slice) batch() int { return max(8, s.used/4) }

// takeShared takes a unit of the slice, or of a larger one.
func (s *Service) takeShared(ctx context.Context, a asked) (invocation.Unit, error) {
	sl := &a.pool.slice
	sl.mu.Lock()
	sl.limit, sl.longest = int(a.limit), max(sl.longest, a.longest)
	if sl.used < sl.held && int64(sl.used) < a.limit {
		u := &shared{s, a.pool, a.key, sl.life}
		sl.use()
		sl.mu.Unlock()
		return u, nil
	}
	want := sl.batch()
	sl.mu.Unlock()
	if a.limit <= 0 {
		return nil, nil
	}
	var u *shared
	err := s.cfg.Source.Take(ctx, a.key, int(a.limit), want, a.longest, func(granted int, single bool, life uint64) {
		sl.mu.Lock()
		defer sl.mu.Unlock()
		sl.begin(life)
		if granted == 0 || life < sl.life {
			return
		}
		sl.held += granted
		sl.single = single
		sl.use()
		u = &shared{s, a.pool, a.key, life}
	})
	if u == nil {
		return nil, err
	}
	return u, err
}

// begin forgets what was granted in former lives.
func (s *slice) begin(life uint64) {
	if life > s.life {
		s.life, s.held, s.used, s.peak, s.before = life, 0, 0, 0, 0
	}
}

func (s *slice) use() {
	s.used++
	s.peak = max(s.peak, s.used)
}

// Release implements invocation.Unit.
func (u *shared) Release() {
	sl := &u.pool.slice
	sl.mu.Lock()
	if u.life != sl.life {
		sl.mu.Unlock()
		return
	}
	if sl.used--; sl.used < 0 {
		panic("counting: a unit was released twice")
	}
	single := sl.single
	sl.mu.Unlock()
	if single {
		u.service.cfg.Source.Give(u.key, sl.spare)
	}
}

// spare takes what is not used.
func (s *slice) spare() (n int, life uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = s.held - s.used
	s.held = s.used
	return n, s.life
}

// surplus takes what has not been used for a while.
func (s *slice) surplus() (n int, life uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n = max(0, s.held-max(s.peak, s.before, s.used))
	s.held -= n
	return n, s.life
}

// period ends one of peak's.
func (s *slice) period() (surplus bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peak, s.before = s.used, s.peak
	return s.held > max(s.peak, s.before)
}

// Trim gives back what has not been used for a while; it is called once a second or
// so.
func (s *Service) Trim() {
	s.slices(func(key string, sl *slice) {
		if sl.period() {
			s.cfg.Source.Give(key, sl.surplus)
		}
	})
}

// slices goes through all slices.
func (s *Service) slices(do func(key string, sl *slice)) {
	s.accounts.Range(func(id, v any) bool {
		do("account/"+id.(string), &v.(*account).shared.slice)
		return true
	})
	s.functions.Range(func(uid, v any) bool {
		p := v.(*pool)
		do("function/"+uid.(string), &p.slice)
		return true
	})
}

// Holdings are what this frontend holds of the pools that choose wants, in a life;
// what was granted in former ones is forgotten.
func (s *Service) Holdings(life uint64, choose func(pool string) bool) map[string]Holding {
	held := make(map[string]Holding)
	s.slices(func(key string, sl *slice) {
		if !choose(key) {
			return
		}
		sl.mu.Lock()
		defer sl.mu.Unlock()
		sl.begin(life)
		if sl.held > 0 {
			held[key] = Holding{Units: sl.held, Longest: sl.longest}
		}
	})
	return held
}
