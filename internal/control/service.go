package control

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"hearth/internal/archive"
	"hearth/internal/catalog"
	"hearth/internal/function"
	"hearth/internal/objectstore"
)

// Preparer makes a configuration ready to run, for instance by building its
// runtime's image and trying to unpack its code. An error that is a
// *PrepareError tells the function's owner why it failed.
type Preparer interface {
	Prepare(ctx context.Context, r *function.Record, cfg *function.Config) error
}

// Volumes are what Preparers make of archives and images.
type Volumes interface {
	// Delete forgets the volume of an object, which may have none.
	Delete(ctx context.Context, object string) error
	// Objects lists the objects that have a volume, with a prefix.
	Objects(ctx context.Context, prefix string) ([]string, error)
}

// noVolumes is nil Volumes.
type noVolumes struct{}

func (noVolumes) Delete(context.Context, string) error              { return nil }
func (noVolumes) Objects(context.Context, string) ([]string, error) { return nil, nil }

// Limits are an account's quotas.
type Limits struct {
	// Functions is the most functions; no limit if zero.
	Functions int
	// Concurrency is how many invokes can run at once; 1,000 if zero.
	Concurrency int
	// CodeBytes is the most bytes of code archives; AWS's 75 GB if zero.
	CodeBytes int64
	// Archive bounds one unpacked archive; archive.Default if zero.
	Archive archive.Limits
}

// Config is what the control plane needs.
type Config struct {
	Catalog *catalog.Catalog // started before the service
	Objects objectstore.Store
	// Volumes are made of archives, and go with them; there are none if nil.
	Volumes  Volumes
	Preparer Preparer
	// Poller polls event sources. If it is nil nothing does: mappings are
	// stored and shown, and no event is read.
	Poller Poller
	// Buckets is where code is fetched from that a request names in S3; nil if
	// there is no S3 endpoint.
	Buckets Buckets
	Images  Images
	Sealer  Sealer
	Log     *slog.Logger
	// Clock is time.Now if nil.
	Clock  func() time.Time
	Region string
	Limits Limits
	// Preparers is how many functions are prepared at once; 2 if zero.
	Preparers int
	// PrepareTimeout bounds one preparation; 15 minutes if zero, as the first
	// function of a runtime waits until its image is built.
	PrepareTimeout time.Duration
	// ObjectGrace is how long an archive stays after it was replaced, for
	// environments that were being started from it; 10 minutes if zero.
	ObjectGrace time.Duration
}

func (c Config) withDefaults() Config {
	setDefault(&c.Log, slog.New(slog.DiscardHandler), c.Log == nil)
	setDefault[Volumes](&c.Volumes, noVolumes{}, c.Volumes == nil)
	setDefault[Poller](&c.Poller, unpolled{}, c.Poller == nil)
	setDefault(&c.Clock, time.Now, c.Clock == nil)
	setDefault(&c.Limits.Concurrency, 1000, c.Limits.Concurrency == 0)
	setDefault(&c.Limits.CodeBytes, 75<<30, c.Limits.CodeBytes == 0)
	setDefault(&c.Limits.Archive, archive.Default(), c.Limits.Archive == archive.Limits{})
	setDefault(&c.Preparers, 2, c.Preparers == 0)
	setDefault(&c.PrepareTimeout, 15*time.Minute, c.PrepareTimeout == 0)
	setDefault(&c.ObjectGrace, 10*time.Minute, c.ObjectGrace == 0)
	return c
}

func setDefault[T any](p *T, v T, unset bool) {
	if unset {
		*p = v
	}
}

// Service is the control plane.
type Service struct {
	cfg     Config
	queue   *queue
	garbage *garbage
	quota   quota
	// fetching holds a token for each fetch from S3 under way.
	fetching chan struct{}
	// asideMu orders the changes of what functions set aside.
	asideMu sync.Mutex
	// mappingMu orders the changes that could make two event source mappings
	// alike.
	mappingMu sync.Mutex
	// signingMu is held by those who give functions code signing
	// configurations, and alone by who deletes one.
	signingMu sync.RWMutex
	unsettled *queue // event source mappings

	unsubscribe []func()
	cancel      context.CancelCauseFunc
	wg          sync.WaitGroup
}

// New makes the service; Start starts it.
func New(cfg Config) *Service {
	cfg = cfg.withDefaults()
	return &Service{
		cfg:     cfg,
		queue:   newQueue(),
		garbage: newGarbage(cfg),
		quota:   quota{limits: cfg.Limits, reserved: make(map[string]function.Usage)},

		unsettled: newQueue(),
		fetching:  make(chan struct{}, fetches),
	}
}

// Start removes what a crash left and takes up the preparations it
// interrupted.
func (s *Service) Start(ctx context.Context) error {
	if err := s.sweep(ctx); err != nil {
		return fmt.Errorf("start control plane: %w", err)
	}
	if err := s.sealClear(ctx); err != nil {
		return fmt.Errorf("start control plane: %w", err)
	}
	runCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	s.cancel = cancel
	for range s.cfg.Preparers {
		s.wg.Go(func() { s.prepareLoop(runCtx) })
	}
	s.wg.Go(func() { s.garbage.run(runCtx) })
	s.wg.Go(func() { s.settleLoop(runCtx) })
	// Subscribing reports the present records too, so what was Pending or
	// InProgress when the last control plane ended is queued here.
	s.unsubscribe = []func(){
		s.cfg.Catalog.Subscribe(s.observe),
		s.cfg.Catalog.EventSources.Subscribe(s.observeMapping),
		s.cfg.Catalog.LayerVersions.Subscribe(s.observeLayer),
	}
	return nil
}

// Stop interrupts preparations, which go on at the next Start, and waits.
func (s *Service) Stop() {
	if s.cancel == nil {
		return
	}
	for _, unsubscribe := range s.unsubscribe {
		unsubscribe()
	}
	s.cancel(errStopped)
	s.queue.close()
	s.unsettled.close()
	s.wg.Wait()
}

// observe sees every change of a record, its own and others'.
func (s *Service) observe(before, after *function.Record) {
	if after != nil && needsPreparing(after) {
		s.queue.add(target{after.Account, after.Name, after.Version})
	}
	s.garbage.observe(before, after)
}

// Get returns a function.
func (s *Service) Get(_ context.Context, account, name string) (*function.Record, error) {
	r, ok := s.cfg.Catalog.Lookup(account, name)
	if !ok {
		return nil, s.notFound(account, name)
	}
	return r, nil
}

// List returns up to limit functions of an account in the order of their
// names, beginning after the name after. If there are more, next is what to
// give as after for them.
func (s *Service) List(_ context.Context, account, after string, limit int) (records []*function.Record, next string, err error) {
	if limit < 1 {
		return nil, "", fmt.Errorf("list functions: limit %d", limit)
	}
	records = s.cfg.Catalog.Functions.List(account, "", after, limit+1)
	if len(records) > limit {
		records = records[:limit]
		next = records[limit-1].Name
	}
	return records, next, nil
}

// OpenCode returns the archive of a record's latest code. The
// caller closes it.
func (s *Service) OpenCode(ctx context.Context, r *function.Record) (io.ReadSeekCloser, error) {
	f, _, err := s.cfg.Objects.Open(ctx, r.Latest.Code.Object)
	if err != nil {
		return nil, fmt.Errorf("open code of %s: %w", r.Name, err)
	}
	return f, nil
}

// ListVersions is List with the published versions behind each function.
func (s *Service) ListVersions(_ context.Context, account string, after function.Ref, limit int) (records []*function.Record, next function.Ref, err error) {
	if limit < 1 {
		return nil, next, fmt.Errorf("list functions: limit %d", limit)
	}
	if after.Name != "" {
		records = s.versionsBehind(account, after, limit+1)
	}
	for name := after.Name; len(records) <= limit; {
		functions := s.cfg.Catalog.Functions.List(account, "", name, 1)
		if len(functions) == 0 {
			return records, next, nil
		}
		name = functions[0].Name
		records = append(records, functions[0])
		records = append(records, s.versionsBehind(account, function.Ref{Name: name}, limit+1-len(records))...)
	}
	records = records[:limit]
	last := records[limit-1]
	return records, function.Ref{Name: last.Name, Version: last.Version}, nil
}

func (s *Service) versionsBehind(account string, after function.Ref, limit int) []*function.Record {
	from := ""
	if after.Version != "" {
		from = catalog.VersionKey(account, after.Name, after.Version).Name
	}
	return s.cfg.Catalog.Versions.List(account, catalog.VersionsOf(after.Name), from, limit)
}

// Usage returns what an account takes of its quotas.
func (s *Service) Usage(_ context.Context, account string) (function.Usage, error) {
	return measure(s.cfg.Catalog, account), nil
}
