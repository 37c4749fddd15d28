package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"hearth/internal/api"
	"hearth/internal/artifact"
	"hearth/internal/assignment"
	"hearth/internal/audit"
	"hearth/internal/blockfs"
	"hearth/internal/catalog"
	"hearth/internal/chunkstore/origin"
	"hearth/internal/control"
	"hearth/internal/counting"
	"hearth/internal/datadir"
	"hearth/internal/environment"
	"hearth/internal/etcd"
	"hearth/internal/frontend"
	"hearth/internal/garbage"
	"hearth/internal/iam"
	"hearth/internal/journal"
	"hearth/internal/keyring"
	"hearth/internal/kms"
	"hearth/internal/logsapi"
	"hearth/internal/logstore"
	"hearth/internal/managedruntime"
	"hearth/internal/objectstore"
	"hearth/internal/ociimage"
	"hearth/internal/placement"
	"hearth/internal/registry"
	"hearth/internal/scratch"
	"hearth/internal/volumefs"
	"hearth/internal/worker"
)

// theWorker is the name of the only worker.
const theWorker environment.WorkerID = "worker-0"

// startsPerCore bounds environments being started at once.
const startsPerCore = 3

// heartbeat is how often the worker tells placement that it is well.
const heartbeat = 2 * time.Second

// Hearth is a running process with all its services, or what one process of a
// cluster has of them: Node.
type Hearth struct {
	cfg Config

	dir        *datadir.Dir
	creds      datadir.Credentials
	etcd       *etcd.Server
	client     *clientv3.Client
	objects    *objectstore.Dir
	logs       *logstore.Store
	keyring    *keyring.Keyring
	audit      *audit.Log
	people     *iam.Service
	kms        *kms.Service
	catalog    *catalog.Catalog
	registry   *registry.Store
	resolver   *ociimage.Resolver
	chunks     origin.Origin
	garbage    *garbage.Service
	artifacts  *artifact.Service
	blockfs    *blockfs.Client
	volumes    *volumefs.Host
	runtimes   *managedruntime.Store
	placement  *placement.Service
	assignment *assignment.Service
	worker     *worker.Worker
	machines   machines
	control    *control.Service
	server     *http.Server
	inside     inside
	listen     string // the address that is listened on
	url        string
	draining   atomic.Bool // the worker takes nothing new
	// provisioner knows of environments that are initialised ahead.
	provisioner api.Provisioner
	// ending is called when clients are about to be refused.
	ending []func()

	ctx context.Context
	wg  sync.WaitGroup
	// undo stops what has been started, last first.
	undo []func()
}

// Start brings everything up; on error everything that had been started is
// stopped again.
func Start(ctx context.Context, cfg Config) (_ *Hearth, err error) {
	if err := cfg.Fill(); err != nil {
		return nil, err
	}
	h := &Hearth{cfg: cfg}
	h.begin(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			h.unwind()
		}
	}()
	// A taken port is the likeliest mistake: it is found before anything is
	// swept or started.
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; stop what uses the port, or choose another with --listen HOST:PORT", cfg.Listen, err)
	}
	h.stopLast(func() { _ = listener.Close() }) // closed by the server already, as a rule
	h.listen = listener.Addr().String()
	for _, step := range []func(context.Context) error{
		h.openDir, h.startEtcd, h.openObjects, h.openLogs, h.openIdentities, h.openCatalog, h.openImages, h.openArtifacts, h.startBlockfs,
		h.openRuntimes, h.sweepRuntimes, h.openAlone, h.openControl, h.collectGarbage,
	} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	h.url = "http://" + h.listen
	return h, h.serve(listener)
}

// begin gives what runs in the background its context, which unwind ends, and waits
// for it.
func (h *Hearth) begin(ctx context.Context) {
	run, cancel := context.WithCancel(ctx)
	h.ctx = run
	h.stopLast(h.wg.Wait)
	h.stopLast(cancel)
}

func (h *Hearth) stopLast(f func()) { h.undo = append(h.undo, f) }

func (h *Hearth) unwind() {
	for _, f := range slices.Backward(h.undo) {
		f()
	}
	h.undo = nil
}

// openDir takes the data directory.
func (h *Hearth) openDir(context.Context) (err error) {
	if err := h.lockDir(); err != nil {
		return err
	}
	h.creds, err = h.dir.Credentials()
	return err
}

// lockDir takes the data directory of a process that has no keys of clients.
func (h *Hearth) lockDir() (err error) {
	if h.dir, err = datadir.Open(h.cfg.DataDir); err == nil {
		h.stopLast(func() { h.stopped("data directory", h.dir.Close()) })
	}
	return err
}

// startEtcd starts a member of its own.
func (h *Hearth) startEtcd(ctx context.Context) (err error) {
	if h.etcd, err = etcd.Start(ctx, etcd.Config{Dir: h.dir.Etcd(), Log: h.cfg.Log, OnFatal: h.cfg.Fatal}); err != nil {
		return err
	}
	h.stopLast(h.etcd.Stop)
	h.client = h.etcd.Client()
	return nil
}

func (h *Hearth) openObjects(context.Context) (err error) {
	if h.objects, err = objectstore.OpenDir(h.kept(h.dir.Objects())); err != nil {
		return err
	}
	h.stopLast(func() { h.stopped("object store", h.objects.Close()) })
	return nil
}

func (h *Hearth) openLogs(context.Context) (err error) {
	if h.logs, err = logstore.Open(logstore.Config{Dir: h.kept(h.dir.Logs()), Account: h.creds.AccountID, Log: h.cfg.Log}); err != nil {
		return err
	}
	h.stopLast(h.logs.Stop)
	return nil
}

func (h *Hearth) openCatalog(ctx context.Context) error {
	h.catalog = catalog.New(catalog.Config{Client: h.client, Log: h.cfg.Log})
	if err := h.catalog.Start(ctx); err != nil {
		return err
	}
	h.stopLast(h.catalog.Stop)
	return nil
}

// kept is where something is kept whose place in a data directory of its own
// would be dir.
func (h *Hearth) kept(dir string) string {
	if h.cfg.StoreDir == "" {
		return dir
	}
	return filepath.Join(h.cfg.StoreDir, filepath.Base(dir))
}

// openIdentities starts what keeps secrets and knows who may do what.
func (h *Hearth) openIdentities(ctx context.Context) (err error) {
	if h.keyring, err = h.openKeyring(ctx); err != nil {
		return err
	}
	h.stopLast(h.keyring.Stop)
	if h.audit, err = audit.Open(audit.Config{Dir: h.dir.Audit(), Log: h.cfg.Log, Data: h.cfg.AuditData}); err != nil {
		return err
	}
	h.stopLast(h.audit.Stop)
	tokens, err := h.webTokens()
	if err != nil {
		return err
	}
	h.people, err = iam.New(iam.Config{
		Tokens: tokens,
		Audit:  h.audit.Record,
		Audits: h.audit.Keeps,
		Client: h.client, Sealer: h.keyring, Log: h.cfg.Log,
		Root: iam.Root{Account: h.creds.AccountID, AccessKeyID: h.creds.AccessKeyID, Secret: h.creds.SecretAccessKey},
	})
	if err != nil {
		return err
	}
	if err := h.people.Start(ctx); err != nil {
		return err
	}
	h.stopLast(h.people.Stop)
	h.kms, err = kms.New(kms.Config{
		Client: h.client, Keeper: h.keyring, Region: h.cfg.Region, Log: h.cfg.Log,
		Authorize: h.people.Authorize, Operator: h.creds.AccountID,
	})
	if err != nil {
		return err
	}
	if err := h.kms.Start(ctx); err != nil {
		return err
	}
	h.stopLast(h.kms.Stop)
	return nil
}

func (h *Hearth) openKeyring(ctx context.Context) (*keyring.Keyring, error) {
	cfg := keyring.Config{Store: h.dir.Keyring(), Client: h.client, Log: h.cfg.Log}
	if h.cfg.KMSKey != "" {
		external, err := keyring.NewAWS(keyring.AWSConfig{KeyARN: h.cfg.KMSKey, Endpoint: h.cfg.KMSEndpoint, Credentials: h.cfg.KMSCredentials})
		if err != nil {
			return nil, err
		}
		cfg.External = external
	}
	return keyring.Open(ctx, cfg)
}

// openRuntimes opens the images of managed runtimes.
func (h *Hearth) openRuntimes(context.Context) (err error) {
	cache := h.cfg.RuntimeCache
	if cache == "" {
		cache = h.dir.Runtimes()
	}
	if h.runtimes, err = managedruntime.Open(cache, h.cfg.Log); err != nil {
		return err
	}
	return h.dir.KeepsImages(cache)
}

// assigning is the configuration of assignment with its journals in etcd.
func (h *Hearth) assigning() assignment.Config {
	return assignment.Config{
		Placer: h.placement, Functions: h.catalog, Secrets: secrets{h.kms, h.people}, Log: h.cfg.Log,
		Journal: func(partition int) journal.Log {
			return journal.NewEtcd(h.client, "assignment/"+strconv.Itoa(partition))
		},
		// A start is a second of work for a core or less. More of them at once
		// than the cores can do make all of them late, and the invokes that
		// wait get no environment that turns idle meanwhile.
		Starts: startsPerCore * runtime.NumCPU(),
		Tuning: assignment.Tuning{IdleTimeout: h.cfg.IdleTimeout, StartsPerFunction: startsPerCore * runtime.NumCPU()},
	}
}

// openAlone starts the machine's only worker, and placement and assignment, which
// own its environments.
func (h *Hearth) openAlone(ctx context.Context) (err error) {
	if h.placement, err = placement.New(placement.Config{Lease: h.cfg.Lease}); err != nil {
		return err
	}
	cfg := h.assigning()
	cfg.Name = string(theWorker)
	cfg.Worker = func(environment.WorkerID) assignment.Worker { return h.worker }
	cfg.Workers = func() []environment.WorkerID { return []environment.WorkerID{theWorker} }
	if h.assignment, err = assignment.New(cfg); err != nil {
		return err
	}
	if h.volumes, err = volumefs.NewHost(h.artifacts, h.blockfs, h.buildDir(), h.cfg.Log); err != nil {
		return err
	}
	err = h.openWorker(ctx, worker.Config{ID: theWorker, Images: images{h}, Logs: h.logs, Reporter: h.assignment, API: &h.inside})
	if err != nil {
		return err
	}
	h.machines = thisMachine{h.volumes, h.worker}
	h.provisioner = h.assignment
	h.assignment.Start()
	h.stopLast(h.assignment.Stop)
	h.beat(func(s placement.Status) { h.placement.Heartbeat(s) })
	unsubscribe := h.catalog.Subscribe(h.assignment.Changed)
	h.stopLast(unsubscribe)
	return nil
}

// openWorker starts the machine's worker, given what differs from one Hearth to
// another.
func (h *Hearth) openWorker(ctx context.Context, cfg worker.Config) error {
	maker, err := scratch.New(filepath.Join(h.dir.Worker(), "templates"))
	if err != nil {
		return err
	}
	if cfg.Driver, err = h.newDriver(); err != nil {
		return err
	}
	cfg.Dir, cfg.Code, cfg.Volumes = h.dir.Worker(), code{h}, volumes{maker}
	cfg.Log, cfg.Region, cfg.Egress, cfg.CapacityMB, cfg.Pool = h.cfg.Log, h.cfg.Region, h.cfg.Egress, h.cfg.MemoryMB, h.cfg.Pool
	if h.worker, err = worker.New(cfg); err != nil {
		return err
	}
	if err := h.worker.Open(ctx); err != nil {
		return err
	}
	h.stopLast(func() { h.stopped("worker", h.worker.Close()) })
	// Nothing of a former life is mounted any more.
	_, err = h.blockfs.Sweep(ctx)
	return err
}

// status is how the worker is.
func (h *Hearth) status() placement.Status {
	return placement.Status{
		Worker: theWorker, CapacityMB: h.cfg.MemoryMB, Draining: h.draining.Load(), Environments: h.worker.Promised(),
	}
}

// beat tells placement that the worker is well, now and from time to time.
func (h *Hearth) beat(tell func(placement.Status)) {
	beat := func() { tell(h.status()) }
	beat()
	h.wg.Go(func() {
		tick := time.NewTicker(heartbeat)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				beat()
			case <-h.ctx.Done():
				return
			}
		}
	})
}

func (h *Hearth) openControl(ctx context.Context) error {
	buckets, err := h.openBuckets()
	if err != nil {
		return err
	}
	h.control = control.New(control.Config{
		Catalog: h.catalog, Objects: h.objects, Volumes: functionVolumes{h.artifacts, h.machines},
		Preparer: preparer{h}, Buckets: buckets, Images: functionImages{h}, Sealer: h.kms,
		Log: h.cfg.Log, Region: h.cfg.Region, Limits: control.Limits{Concurrency: h.cfg.AccountConcurrency},
	})
	if err := h.control.Start(ctx); err != nil {
		return err
	}
	h.stopLast(h.control.Stop)
	return nil
}

// serve answers clients.
func (h *Hearth) serve(listener net.Listener) error {
	front, _, err := h.front(nil, h.assignment, func(environment.WorkerID) frontend.Worker { return h.worker })
	if err != nil {
		return err
	}
	handler, err := h.handler(front)
	if err != nil {
		return err
	}
	h.listenAndServe(listener, handler)
	return h.dir.Serving(h.url)
}

// front makes the frontend of invokes, with what counts them; source is nil if it is
// the only one.
func (h *Hearth) front(source counting.Source, assigner frontend.Assigner, find func(environment.WorkerID) frontend.Worker) (
	*frontend.Service, *counting.Service, error,
) {
	counter, err := counting.New(counting.Config{AccountConcurrency: h.cfg.AccountConcurrency, Source: source})
	if err != nil {
		return nil, nil, err
	}
	h.stopLast(h.catalog.Subscribe(counter.Changed))
	cfg := frontend.Config{
		Catalog: h.catalog, Counter: counter, Assigner: assigner, Worker: find, Region: h.cfg.Region, Log: h.cfg.Log,
	}
	if source != nil {
		cfg.CatchUp = h.catalog.CatchUp
	}
	front, err := frontend.New(cfg)
	return front, counter, err
}

// handler makes the handler of all that clients may ask for.
func (h *Hearth) handler(front *frontend.Service) (http.Handler, error) {
	_, port, err := net.SplitHostPort(h.listen)
	if err != nil {
		return nil, err
	}
	logs, err := logsapi.New(logsapi.Config{Store: h.logs, Region: h.cfg.Region})
	if err != nil {
		return nil, err
	}
	handler, err := api.New(api.Config{
		Logs: logs, KMS: h.kms,
		Functions: h.control, Invoker: front, Provisioner: h.provisioner, Keys: h.people, Access: h.people, Identities: h.people,
		URLs: h.catalog, URLBase: h.cfg.urlBase(port),
		Audit: h.audit.Record, Region: h.cfg.Region,
		Runtimes: h.runtimes.Names(), RuntimeVersion: h.runtimeVersion, Progress: h.progress,
		Concurrency: h.cfg.AccountConcurrency, Log: h.cfg.Log,
		Operator: api.Operator{Authorize: h.people.AuthorizeOperator, Operations: map[string]func(context.Context, []byte) (any, error){
			"CollectGarbage": h.collectNow, "InspectFunction": h.inspect, "ChunkCounters": h.chunkCounters,
		}},
	})
	if err != nil {
		return nil, err
	}
	h.inside.serve(handler)
	// A Live Tail would hold a stop up for hours.
	h.ending = append(h.ending, logs.Stop)
	return h.withRegistry(handler)
}

// listenAndServe answers clients with a handler.
func (h *Hearth) listenAndServe(listener net.Listener, handler http.Handler) {
	h.server = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	for _, end := range h.ending {
		h.server.RegisterOnShutdown(end)
	}
	h.wg.Go(func() {
		if err := h.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			h.cfg.Log.Error("listener failed", "error", err)
		}
	})
	h.stopLast(func() { _ = h.server.Close() })
}

// URL is where clients reach this Hearth.
func (h *Hearth) URL() string { return h.url }

// Credentials are the root account's.
func (h *Hearth) Credentials() datadir.Credentials { return h.creds }

// Stop refuses new requests, waits for those under way up to the drain time,
// and stops everything.
func (h *Hearth) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, h.cfg.Drain)
	defer cancel()
	err := h.server.Shutdown(ctx)
	h.unwind()
	if err != nil {
		return fmt.Errorf("requests were still under way after %v and were cut off: %w", h.cfg.Drain, err)
	}
	return nil
}

// stopped logs what went wrong when a part was stopped.
func (h *Hearth) stopped(part string, err error) {
	if err != nil {
		h.cfg.Log.Error("not stopped cleanly", "part", part, "error", err)
	}
}
