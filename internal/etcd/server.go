package etcd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/features"
)

const (
	memberName = "hearth"
	// memberURL identifies the member in its own cluster record. Nothing
	// listens on it.
	memberURL = "unix://hearth-embedded:0"

	quotaBytes = 8 << 30
	// snapshotCount and catchUpEntries bound how many raft entries stay in
	// memory. There is no follower that has to catch up, so both can be far
	// below etcd's defaults (10,000 and 5,000), which are made for three members.
	snapshotCount  = 2000
	catchUpEntries = 100
	// bootstrapDefragMegabytes of free pages are worth a rewrite at start.
	bootstrapDefragMegabytes = 64

	readyTimeout = 60 * time.Second
)

// Config says where the member keeps its data and whom it tells.
type Config struct {
	// Dir is the member's directory; it is created with mode 0700.
	Dir string
	// Log receives etcd's warnings and errors.
	Log *slog.Logger
	// OnFatal is called when the member can no longer keep its promises, for
	// instance because the disk is full, with an error that says what to do.
	// It must end the process; when it is nil or returns, the member panics.
	OnFatal func(error)
	// DefragInterval is how often the database is looked at for free space
	// that is worth giving back; one hour if zero.
	DefragInterval time.Duration
	// Member says which one this is of several; nil if it is the only one.
	Member *Member
}

// Server is a running member.
type Server struct {
	etcd   *embed.Etcd
	client *clientv3.Client
	log    *slog.Logger

	stopOnce sync.Once
	stop     context.CancelFunc
	done     chan struct{}
}

// Start starts the member and returns once it can serve. The error is one of
// ErrInUse, ErrCorrupt or ErrDiskFull, wrapped, where the cause is known.
//
// After an error some of etcd's goroutines may be left behind, as etcd has no
// way to take a half-started member down; the process is expected to end.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.DefragInterval == 0 {
		cfg.DefragInterval = time.Hour
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, explain(cfg.Dir, err)
	}
	if err := checkData(cfg.Dir); err != nil {
		return nil, explain(cfg.Dir, err)
	}
	e, err := startMember(cfg)
	if err != nil {
		return nil, explain(cfg.Dir, err)
	}
	if err := waitReady(ctx, e, cfg.Member != nil); err != nil {
		e.Close()
		return nil, fmt.Errorf("start etcd in %s: %w", cfg.Dir, err)
	}

	runCtx, cancel := context.WithCancel(context.Background())
	s := &Server{
		etcd:   e,
		client: v3client.New(e.Server),
		log:    cfg.Log,
		stop:   cancel,
		done:   make(chan struct{}),
	}
	go s.maintain(runCtx, cfg.DefragInterval)
	return s, nil
}

// Client is a client of the member that works without a connection. It must
// not be used after Stop.
func (s *Server) Client() *clientv3.Client { return s.client }

// Size is the database's size on disk and the part of it in use, in bytes.
func (s *Server) Size() (total, inUse int64) {
	b := s.etcd.Server.Backend()
	return b.Size(), b.SizeInUse()
}

// Stop stops the member and waits until it is down.
func (s *Server) Stop() {
	s.stopOnce.Do(func() {
		s.stop()
		<-s.done
		// The client's watches end with an error of their own when it closes;
		// there is no connection whose error could matter.
		_ = s.client.Close()
		s.etcd.Close()
	})
}

func waitReady(ctx context.Context, e *embed.Etcd, others bool) error {
	timeout := time.NewTimer(readyTimeout)
	defer timeout.Stop()
	if others {
		timeout.Stop() // they may come much later
	}
	select {
	case <-e.Server.ReadyNotify():
		return nil
	case err := <-e.Err():
		return err
	case <-timeout.C:
		return errors.New("the member did not get ready within a minute; is the disk very slow? Try again, and see the log above")
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// memberConfig is etcd's configuration; docs/control.md gives the reasons.
func memberConfig(cfg Config, log *zapBridge) (*embed.Config, error) {
	member, err := url.Parse(memberURL)
	if err != nil {
		return nil, fmt.Errorf("member url: %w", err)
	}
	c := embed.NewConfig()
	c.Name = memberName
	c.Dir = cfg.Dir
	c.ListenPeerUrls = nil
	c.ListenClientUrls = nil
	c.AdvertisePeerUrls = []url.URL{*member}
	c.AdvertiseClientUrls = []url.URL{*member}
	c.InitialCluster = memberName + "=" + memberURL
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(log.logger())

	c.UnsafeNoFsync = false
	c.PreVote = true
	c.QuotaBackendBytes = quotaBytes
	c.AutoCompactionMode = embed.CompactorModePeriodic
	c.AutoCompactionRetention = "5m"
	c.SnapshotCount = snapshotCount
	c.SnapshotCatchUpEntries = catchUpEntries
	c.BootstrapDefragThresholdMegabytes = bootstrapDefragMegabytes
	c.MaxTxnOps = 128
	c.MaxRequestBytes = 1536 << 10
	c.EnableGRPCGateway = false
	gates, ok := c.ServerFeatureGate.(interface {
		SetFromMap(map[string]bool) error
	})
	if !ok {
		return nil, errors.New("etcd's feature gates cannot be set")
	}
	if err := gates.SetFromMap(map[string]bool{string(features.InitialCorruptCheck): true}); err != nil {
		return nil, fmt.Errorf("switch on the initial corruption check: %w", err)
	}
	if cfg.Member != nil {
		return c, cfg.Member.configure(c)
	}
	return c, nil
}
