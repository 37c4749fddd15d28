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
	"time"

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

// Hearth is a running process with all its services.
type Hearth struct {
	cfg Config

	dir        *datadir.Dir
	creds      datadir.Credentials
	etcd       *etcd.Server
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
	control    *control.Service
	server     *http.Server
	inside     inside
	listen     string // the address that is listened on
	url        string

	ctx context.Context
	wg  sync.WaitGroup
	// undo stops what has been started, last first.
	undo []func()
}

// Start brings everything up; on error everything that had been started is
// stopped again.
func Start(ctx context.Context, cfg Config) (_ *Hearth, err error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	h := &Hearth{cfg: cfg}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h.ctx = run
	h.stopLast(h.wg.Wait)
	h.stopLast(cancel)
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
	for _, step := range []func(context.Context) error{h.openStores, h.openImages, h.openVolumes, h.openWorker, h.openControl, h.collectGarbage} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	h.url = "http://" + h.listen
	return h, h.serve(listener)
}

func (h *Hearth) stopLast(f func()) { h.undo = append(h.undo, f) }

func (h *Hearth) unwind() {
	for _, f := range slices.Backward(h.undo) {
		f()
	}
	h.undo = nil
}

// openStores opens what lasts: the data directory, etcd, objects and logs.
func (h *Hearth) openStores(ctx context.Context) (err error) {
	if h.dir, err = datadir.Open(h.cfg.DataDir); err != nil {
		return err
	}
	h.stopLast(func() { h.stopped("data directory", h.dir.Close()) })
	if h.creds, err = h.dir.Credentials(); err != nil {
		return err
	}
	if h.etcd, err = etcd.Start(ctx, etcd.Config{Dir: h.dir.Etcd(), Log: h.cfg.Log, OnFatal: h.cfg.Fatal}); err != nil {
		return err
	}
	h.stopLast(h.etcd.Stop)
	if h.objects, err = objectstore.OpenDir(h.dir.Objects()); err != nil {
		return err
	}
	h.stopLast(func() { h.stopped("object store", h.objects.Close()) })
	if h.logs, err = logstore.Open(logstore.Config{Dir: h.dir.Logs(), Account: h.creds.AccountID, Log: h.cfg.Log}); err != nil {
		return err
	}
	h.stopLast(h.logs.Stop)
	if err := h.openIdentities(ctx); err != nil {
		return err
	}
	h.catalog = catalog.New(catalog.Config{Client: h.etcd.Client(), Log: h.cfg.Log})
	if err := h.catalog.Start(ctx); err != nil {
		return err
	}
	h.stopLast(h.catalog.Stop)
	return nil
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
		Client: h.etcd.Client(), Sealer: h.keyring, Log: h.cfg.Log,
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
		Client: h.etcd.Client(), Keeper: h.keyring, Region: h.cfg.Region, Log: h.cfg.Log,
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
	cfg := keyring.Config{Store: h.dir.Keyring(), Client: h.etcd.Client(), Log: h.cfg.Log}
	if h.cfg.KMSKey != "" {
		external, err := keyring.NewAWS(keyring.AWSConfig{KeyARN: h.cfg.KMSKey, Endpoint: h.cfg.KMSEndpoint, Credentials: h.cfg.KMSCredentials})
		if err != nil {
			return nil, err
		}
		cfg.External = external
	}
	return keyring.Open(ctx, cfg)
}

// openWorker starts the machine's worker, and placement and assignment, which
// own its environments.
func (h *Hearth) openWorker(ctx context.Context) (err error) {
	cache := h.cfg.RuntimeCache
	if cache == "" {
		cache = h.dir.Runtimes()
	}
	if h.runtimes, err = managedruntime.Open(cache, h.cfg.Log); err != nil {
		return err
	}
	if err := h.dir.KeepsImages(cache); err != nil {
		return err
	}
	if err := h.sweepRuntimes(ctx); err != nil {
		return err
	}
	maker, err := scratch.New(filepath.Join(h.dir.Worker(), "templates"))
	if err != nil {
		return err
	}
	driver, err := h.newDriver()
	if err != nil {
		return err
	}
	if h.placement, err = placement.New(placement.Config{Lease: h.cfg.Lease}); err != nil {
		return err
	}
	h.assignment, err = assignment.New(assignment.Config{
		Placer: h.placement, Functions: h.catalog,
		Worker:  func(environment.WorkerID) assignment.Worker { return h.worker },
		Workers: func() []environment.WorkerID { return []environment.WorkerID{theWorker} },
		Journal: func(partition int) journal.Log {
			return journal.NewEtcd(h.etcd.Client(), "assignment/"+strconv.Itoa(partition))
		},
		Name: string(theWorker), Log: h.cfg.Log,
		// A start is a second of work for a core or less. More of them at once
		// than the cores can do make all of them late, and the invokes that
		// wait get no environment that turns idle meanwhile.
		Starts: startsPerCore * runtime.NumCPU(),
		Tuning: assignment.Tuning{IdleTimeout: h.cfg.IdleTimeout, StartsPerFunction: startsPerCore * runtime.NumCPU()},
	})
	if err != nil {
		return err
	}
	h.worker, err = worker.New(worker.Config{
		ID: theWorker, Dir: h.dir.Worker(), Driver: driver,
		Images: images{h}, Code: code{h}, Environments: h.kms, Volumes: volumes{maker}, Logs: h.logs, Reporter: h.assignment,
		Credentials: roles{h.people}, API: &h.inside,
		Log: h.cfg.Log, Region: h.cfg.Region,
		Egress: h.cfg.Egress, CapacityMB: h.cfg.MemoryMB, Pool: h.cfg.Pool,
	})
	if err != nil {
		return err
	}
	if err := h.worker.Open(ctx); err != nil {
		return err
	}
	h.stopLast(func() { h.stopped("worker", h.worker.Close()) })
	// Nothing of a former life is mounted any more.
	if _, err := h.blockfs.Sweep(ctx); err != nil {
		return err
	}
	h.assignment.Start()
	h.stopLast(h.assignment.Stop)
	h.beat()
	unsubscribe := h.catalog.Subscribe(h.assignment.Changed)
	h.stopLast(unsubscribe)
	return nil
}

// beat tells placement that the worker is well, now and from time to time.
func (h *Hearth) beat() {
	beat := func() {
		h.placement.Heartbeat(placement.Status{Worker: theWorker, CapacityMB: h.cfg.MemoryMB, Environments: h.worker.Promised()})
	}
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
		Catalog: h.catalog, Objects: h.objects, Volumes: functionVolumes{h.artifacts, h.worker},
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
	counter, err := counting.New(counting.Config{AccountConcurrency: h.cfg.AccountConcurrency})
	if err != nil {
		return err
	}
	h.stopLast(h.catalog.Subscribe(counter.Changed))
	front, err := frontend.New(frontend.Config{
		Catalog: h.catalog, Counter: counter, Assigner: h.assignment,
		Worker: func(environment.WorkerID) frontend.Worker { return h.worker },
		Region: h.cfg.Region, Log: h.cfg.Log,
	})
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return err
	}
	logs, err := logsapi.New(logsapi.Config{Store: h.logs, Region: h.cfg.Region})
	if err != nil {
		return err
	}
	handler, err := api.New(api.Config{
		Logs: logs, KMS: h.kms,
		Functions: h.control, Invoker: front, Provisioner: h.assignment, Keys: h.people, Access: h.people, Identities: h.people,
		URLs: h.catalog, URLBase: h.cfg.urlBase(port),
		Audit: h.audit.Record, Region: h.cfg.Region,
		Runtimes: h.runtimes.Names(), RuntimeVersion: h.runtimeVersion, Progress: h.progress,
		Concurrency: h.cfg.AccountConcurrency, Log: h.cfg.Log,
		Operator: api.Operator{Authorize: h.people.AuthorizeOperator, Operations: map[string]func(context.Context, []byte) (any, error){
			"CollectGarbage": h.collectNow, "InspectFunction": h.inspect, "ChunkCounters": h.chunkCounters,
		}},
	})
	if err != nil {
		return err
	}
	h.inside.serve(handler)
	all, err := h.withRegistry(handler)
	if err != nil {
		return err
	}
	h.server = &http.Server{
		Handler:           all,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
	// A Live Tail would hold a stop up for hours.
	h.server.RegisterOnShutdown(logs.Stop)
	h.wg.Go(func() {
		if err := h.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			h.cfg.Log.Error("listener failed", "error", err)
		}
	})
	h.stopLast(func() { _ = h.server.Close() })
	return h.dir.Serving(h.url)
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
