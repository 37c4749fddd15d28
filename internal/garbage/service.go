package garbage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"hearth/internal/artifact"
	"hearth/internal/chunk"
	"hearth/internal/chunkstore/origin"
	"hearth/internal/volume"
)

// Volumes are those that chunks are kept for. artifact.Service has them.
type Volumes interface {
	// Placed lists the volumes. One that becomes visible meanwhile may be
	// missing.
	Placed(ctx context.Context) ([]artifact.Placed, error)
	// Migrate moves a volume to the active root, and says whether it did.
	Migrate(ctx context.Context, object string) (moved bool, stats volume.Stats, err error)
	// Mend makes a volume anew some of whose chunks are gone, and says how many
	// they were.
	Mend(ctx context.Context, object string) (damaged int, err error)
	// Names returns the chunks of a root that volumes are made of.
	Names(ctx context.Context, root chunk.Root) (map[chunk.Name]struct{}, error)
}

// Readers know what is open. volumefs.Host does.
type Readers interface {
	// Reading says whether volumes of a root are open. A volume that is being
	// opened counts before Migrate can move it.
	Reading(root chunk.Root) bool
	// Leave has volumes closed that are open for later use only. From now on
	// volumes are opened as they are found, also those that are open already.
	Leave() error
	// Unreadable lists the objects of open volumes of which reads have failed
	// since it was asked last.
	Unreadable(ctx context.Context) ([]string, error)
}

// Defaults of Config.
const (
	DefaultRotation = 7 * 24 * time.Hour
	DefaultExpiry   = 24 * time.Hour
	defaultEvery    = 10 * time.Minute
	// mostPatience is the longest that a volume is left alone which cannot be
	// moved.
	mostPatience = 24 * time.Hour
)

// Config is what the service needs.
type Config struct {
	Store  Store
	Chunks origin.Roots
	// Claim, which may be nil, makes sure that the chunks are ours. Nothing is
	// collected before it has succeeded.
	Claim func(context.Context) error
	// Rotation is how long a root is written to, Expiry how long it must have
	// been expired before it is deleted; DefaultRotation and DefaultExpiry if
	// zero.
	Rotation, Expiry time.Duration
	// Every is how often is looked for what is due; 10 minutes if zero.
	Every time.Duration
	Log   *slog.Logger
	// Now is the clock; time.Now if nil.
	Now func() time.Time
}

func (c *Config) fill() error {
	var problems []error
	if c.Store == nil || c.Chunks == nil {
		problems = append(problems, errors.New("garbage: config: a store of records and one of chunks are needed"))
	}
	for d, usual := range map[*time.Duration]time.Duration{&c.Rotation: DefaultRotation, &c.Expiry: DefaultExpiry, &c.Every: defaultEvery} {
		if *d == 0 {
			*d = usual
		}
		if *d < 0 {
			problems = append(problems, fmt.Errorf("garbage: config: a period of %v", *d))
		}
	}
	if c.Claim == nil {
		c.Claim = func(context.Context) error { return nil }
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return errors.Join(problems...)
}

// Service looks after roots.
type Service struct {
	cfg     Config
	volumes Volumes
	readers Readers

	// turn is held by the cycle that runs.
	turn chan struct{}
	// adopted says that the store's roots are known; only Open and who has the
	// turn use it.
	adopted bool
	// Of the cycle that has the turn: when it was last looked whether a rotation
	// is worth its while, and what could not be moved.
	looked   time.Time
	patience patience

	mu       sync.Mutex
	record   *record
	revision int64
	// builds counts those under way, by root.
	builds map[chunk.Root]int
	totals Totals

	ctx    context.Context // ends with Stop
	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
}

// errStopped is why cycles end when the service does.
var errStopped = errors.New("garbage: stopping")

// Open reads the record of roots, which is made the first time. Builds can begin
// from then on; nothing is collected before Start. A store that does not answer
// is no error, one that is another's is origin.ErrOwned.
func Open(ctx context.Context, cfg Config) (*Service, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, turn: make(chan struct{}, 1), builds: make(map[chunk.Root]int)}
	s.patience = patience{first: 2 * cfg.Every, most: mostPatience, stuck: make(map[string]*stuck)}
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	if err := s.adopt(ctx); errors.Is(err, origin.ErrOwned) {
		return nil, err
	} else if err != nil {
		// The store is far, and may be away: what is cached is served meanwhile.
		cfg.Log.LogAttrs(ctx, slog.LevelWarn, "garbage: the store of chunks does not answer, nothing is collected until it does", slog.Any("error", err))
	}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s, nil
}

// load reads the record.
func (s *Service) load(ctx context.Context) error {
	value, revision, err := s.cfg.Store.Load(ctx)
	if err != nil {
		return err
	}
	now := &record{Next: firstRoot + 1, Roots: []Root{{firstRoot, Active, s.cfg.Now()}}}
	if revision != 0 {
		if now, err = decode(value); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record, s.revision = now, revision
	return nil
}

// adopt takes up the roots that the store has and the record does not.
func (s *Service) adopt(ctx context.Context) error {
	if err := s.cfg.Claim(ctx); err != nil {
		return err
	}
	live, err := s.cfg.Chunks.Roots(ctx)
	if err != nil {
		return err
	}
	expired, err := s.cfg.Chunks.Expired(ctx)
	if err != nil {
		return err
	}
	err = s.change(ctx, func(r *record) error {
		for _, root := range live {
			r.adopt(root, Retired, s.cfg.Now())
		}
		for _, root := range expired {
			r.adopt(root, Expired, s.cfg.Now())
		}
		return nil
	})
	s.adopted = err == nil
	return err
}

// change edits the record, durably. Only Open and the cycle that has the turn
// call it.
func (s *Service) change(ctx context.Context, edit func(r *record) error) error {
	s.mu.Lock()
	next, revision := s.record.clone(), s.revision
	s.mu.Unlock()
	if err := edit(next); err != nil {
		return err
	}
	value, err := next.encode()
	if err != nil {
		return err
	}
	if revision, err = s.cfg.Store.Swap(ctx, value, revision); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record, s.revision = next, revision
	return nil
}

// Begin implements artifact.Roots: it returns the active root, which does not
// expire before end was called. end may be called more than once.
func (s *Service) Begin(ctx context.Context) (root chunk.Root, end func(), err error) {
	if ctx.Err() != nil {
		return 0, nil, context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	root = s.record.active().ID
	s.builds[root]++
	return root, sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.builds[root]--; s.builds[root] == 0 {
			delete(s.builds, root)
		}
	}), nil
}

// Start begins to collect: volumes are those that chunks are kept for, readers
// those that are open. What was open in a former life must be closed by now.
func (s *Service) Start(volumes Volumes, readers Readers) {
	s.volumes, s.readers = volumes, readers
	s.wg.Go(func() { s.run(s.ctx) })
}

// Stop ends the cycle that runs, and all further ones.
func (s *Service) Stop() {
	s.cancel(errStopped)
	s.wg.Wait()
	s.turn <- struct{}{} // waits for one that was asked for
	<-s.turn
}

func (s *Service) run(ctx context.Context) {
	tick := time.NewTicker(s.cfg.Every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, err := s.Collect(ctx, Options{patient: true}); err != nil && ctx.Err() == nil {
			s.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "garbage: a cycle failed, it is tried again later", slog.Any("error", err))
		}
	}
}
