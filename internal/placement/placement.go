package placement

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"hearth/internal/environment"
)

// Config is what a Service needs; zero fields take their defaults.
type Config struct {
	// Lease is how long an environment lives at most; default 2 h. The end
	// is spread over the last tenth.
	Lease time.Duration
	// Silence is how long a worker may miss heartbeats; default 10 s.
	Silence time.Duration
	Now     func() time.Time
	// Random draws from [0, n); default math/rand.
	Random func(n int64) int64
}

func (c *Config) fill() error {
	if c.Lease == 0 {
		c.Lease = 2 * time.Hour
	}
	if c.Silence == 0 {
		c.Silence = 10 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Int64N
	}
	if c.Lease < 0 || c.Silence < 0 {
		return fmt.Errorf("placement: lease %v and silence %v must be positive", c.Lease, c.Silence)
	}
	return nil
}

// Status is a worker's heartbeat.
type Status struct {
	Worker environment.WorkerID
	// Zone is the worker's availability zone.
	Zone string
	// CapacityMB is the memory that environments may use in all.
	CapacityMB int
	Draining   bool
	// Environments are those that the worker has or starts. It is they that count:
	// grants by another placement service, or that this one has lost, are found
	// by them.
	Environments map[environment.ID]environment.Promise
}

// unclaimed is how long a grant counts that the worker does not tell of: the
// environment is on its way there, or was given up.
const unclaimed = 5 * time.Minute

// Service chooses workers.
type Service struct {
	cfg Config

	mu      sync.Mutex
	workers map[environment.WorkerID]*worker
	grants  map[environment.ID]*grant
}

type worker struct {
	status Status
	heard  time.Time
	// down says that it could not be reached since.
	down   bool
	usedMB int
	grants map[environment.ID]*grant
}

type grant struct {
	environment.Promise
	worker *worker
	at     time.Time
	// seen says that the worker has told of it, returned that it is over: until
	// the worker does not tell of it any more it is remembered for that.
	seen, returned bool
}

// New makes a Service.
func New(cfg Config) (*Service, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	return &Service{
		cfg:     cfg,
		workers: make(map[environment.WorkerID]*worker),
		grants:  make(map[environment.ID]*grant),
	}, nil
}

// Heartbeat takes note of a worker's status.
func (s *Service) Heartbeat(st Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.workers[st.Worker]
	if w == nil {
		w = &worker{grants: make(map[environment.ID]*grant)}
		s.workers[st.Worker] = w
	}
	now := s.cfg.Now()
	w.status, w.heard, w.down = st, now, false
	for id, g := range w.grants {
		if _, there := st.Environments[id]; there {
			g.seen = true
		} else if g.seen || g.returned || now.Sub(g.at) > unclaimed {
			s.forget(id, g)
		}
	}
	for id, promise := range st.Environments {
		if s.grants[id] == nil {
			s.add(id, &grant{worker: w, Promise: promise, at: now, seen: true})
		}
	}
}

func (s *Service) add(id environment.ID, g *grant) {
	g.worker.usedMB += g.MemoryMB
	s.grants[id], g.worker.grants[id] = g, g
}

func (s *Service) forget(id environment.ID, g *grant) {
	if !g.returned {
		g.worker.usedMB -= g.MemoryMB
	}
	delete(s.grants, id)
	delete(g.worker.grants, id)
}

// Place grants a place for a new environment. First the zone: where the function
// has the fewest, and then where the least is used, so that the loss of a zone
// costs every function its share and no more. There, best fit: the healthy
// worker with the least room that is still enough, so that large environments
// keep finding room.
func (s *Service) Place(ask environment.PlaceRequest) (environment.Place, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	var fit []*worker
	usedMB := make(map[string]int) // by zone
	for _, w := range s.workers {
		usedMB[w.status.Zone] += w.usedMB
	}
	ofFunction := make(map[string]int) // by zone
	for _, g := range s.grants {
		if g.Function == ask.Function && !g.returned {
			ofFunction[g.worker.status.Zone]++
		}
	}
	for _, w := range s.workers {
		healthy := !w.status.Draining && !w.down && now.Sub(w.heard) <= s.cfg.Silence
		if healthy && w.room() >= ask.MemoryMB {
			fit = append(fit, w)
		}
	}
	if len(fit) == 0 {
		return environment.Place{}, fmt.Errorf("placement: %w (%d MB)", environment.ErrNoCapacity, ask.MemoryMB)
	}
	best := slices.MinFunc(fit, func(a, b *worker) int {
		x, y := a.status.Zone, b.status.Zone
		return cmp.Or(cmp.Compare(ofFunction[x], ofFunction[y]), cmp.Compare(usedMB[x], usedMB[y]), cmp.Compare(x, y),
			cmp.Compare(a.room(), b.room()), cmp.Compare(a.status.Worker, b.status.Worker))
	})
	s.add(ask.ID, &grant{worker: best, Promise: ask.Promise, at: now})
	jitter := time.Duration(s.cfg.Random(int64(s.cfg.Lease/10) + 1))
	return environment.Place{Worker: best.status.Worker, LeaseEnd: now.Add(s.cfg.Lease - jitter)}, nil
}

// Return ends a grant: the environment is gone or never came to be. Returning
// twice is harmless.
func (s *Service) Return(id environment.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.grants[id]
	if g == nil || g.returned {
		return
	}
	// A heartbeat that is on its way may still tell of it.
	g.returned = true
	g.worker.usedMB -= g.MemoryMB
}

// Down says that a worker could not be reached: it is given nothing until its
// next heartbeat.
func (s *Service) Down(id environment.WorkerID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.workers[id]; w != nil {
		w.down = true
	}
}

// Silent lists workers that have not been heard for that long.
func (s *Service) Silent(than time.Duration) (all []environment.WorkerID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Now()
	for id, w := range s.workers {
		if now.Sub(w.heard) > than {
			all = append(all, id)
		}
	}
	return all
}

func (w *worker) room() int { return w.status.CapacityMB - w.usedMB }
