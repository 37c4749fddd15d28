package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"hearth/internal/artifact"
	"hearth/internal/assignment"
	"hearth/internal/ca"
	"hearth/internal/environment"
	"hearth/internal/etcd"
	"hearth/internal/frontend"
	"hearth/internal/journal"
	"hearth/internal/objectstore"
	"hearth/internal/placement"
	"hearth/internal/rpc"
	"hearth/internal/volumefs"
	"hearth/internal/wire"
	"hearth/internal/worker"
)

// NodeConfig is what one process of a cluster is told. Its name, zone and roles
// are in its certificate, which is in the data directory.
type NodeConfig struct {
	Config
	// Address is where other processes call this one, and API where frontends
	// serve the API to other nodes, both HOST:PORT.
	Address, API string
	// Join are the addresses of assignment processes, of which one must live.
	Join []string
	// Etcd are the addresses of etcd's members for clients.
	Etcd []string
	// Member says which of them a process of the state role is.
	Member *etcd.Member
}

// nodeDir is where in a data directory the node's key and certificates are.
const nodeDir = "node"

// NodeDir is where the key and certificates of a node are whose data directory is
// data.
func NodeDir(data string) string { return filepath.Join(data, nodeDir) }

// Node is one process of a cluster.
type Node struct {
	*Hearth
	cfg      NodeConfig
	node     *ca.Node
	id       ca.Identity
	tracker  *wire.Tracker
	assigner *wire.Assigner
	workers  *wire.Workers
	rpc      *rpc.Server
	life     uint64 // tells this process from what had its name before

	// leading is the part that one frontend has; nil elsewhere.
	leading atomic.Pointer[leader]
	// control is who leads the control plane, as far as this frontend knows.
	control atomic.Pointer[journal.Leader]
}

const (
	// term is how long a leader of assignment leads that nobody hears of: etcd
	// allows no less.
	term = 2 * time.Second
	// startGrace is how long after its caller an invoke's end may be heard of: a
	// hop of the network, and what a busy machine adds.
	startGrace = 5 * time.Millisecond
	// stale is how long a worker may be silent before its environments are left
	// alone.
	stale = 3 * time.Second
	// settled is how long an assignment process must live before partitions are
	// moved to it.
	settled = 3 * time.Second
)

// StartNode brings up what the process's roles need; on error everything that had
// been started is stopped again.
func StartNode(ctx context.Context, cfg NodeConfig) (_ *Node, err error) {
	node, err := ca.Load(NodeDir(cfg.DataDir))
	if err != nil {
		return nil, err
	}
	if err := cfg.Fill(); err != nil {
		return nil, err
	}
	n := &Node{Hearth: &Hearth{cfg: cfg.Config}, cfg: cfg, node: node, id: node.Identity()}
	n.life = uint64(time.Now().UnixNano())
	n.begin(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			n.unwind()
		}
	}()
	if err := n.takeDir(); err != nil {
		return nil, err
	}
	if n.id.Has(ca.State) {
		if err := n.startMember(ctx); err != nil {
			return nil, err
		}
	}
	if n.id.Has(ca.Frontend, ca.Assignment, ca.Worker) {
		if err := n.startServices(ctx); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func (n *Node) takeDir() error {
	if n.id.Has(ca.Frontend, ca.Assignment) {
		return n.openDir(n.ctx)
	}
	return n.lockDir() // the others have no keys
}

// startMember starts this process's member of etcd, and waits for a majority.
func (n *Node) startMember(ctx context.Context) (err error) {
	member := *n.cfg.Member
	member.Name, member.Files = n.id.Name, n.node.Files()
	n.etcd, err = etcd.Start(ctx, etcd.Config{Dir: n.dir.Etcd(), Log: n.cfg.Log, OnFatal: n.cfg.Fatal, Member: &member})
	if err != nil {
		return err
	}
	n.stopLast(n.etcd.Stop)
	return nil
}

// partition is that of a function by its UID, or of a pool of concurrency.
func partition(key string) int { return assignment.PartitionOf(key, assignment.DefaultPartitions) }

// startServices starts all but etcd.
func (n *Node) startServices(ctx context.Context) (err error) {
	listener, err := n.listenAt(ctx, n.cfg.Address)
	if err != nil {
		return err
	}
	n.rpc = rpc.NewServer(n.node, n.cfg.Log)
	if n.tracker, err = wire.NewTracker(n.node, n.cfg.Join, n.cfg.Log); err != nil {
		return err
	}
	n.stopLast(n.tracker.Stop)
	n.assigner = wire.NewAssigner(n.tracker, partition, n.cfg.Log)
	n.stopLast(n.assigner.Stop)
	n.workers = wire.NewWorkers(n.tracker)
	if n.id.Has(ca.Frontend, ca.Assignment) {
		if err := n.openState(ctx); err != nil {
			return err
		}
	}
	if n.id.Has(ca.Assignment) {
		if err := n.startAssignment(ctx); err != nil {
			return err
		}
	}
	n.tracker.Start()
	if n.id.Has(ca.Worker) {
		if err := n.startWorker(ctx); err != nil {
			return err
		}
	}
	if n.id.Has(ca.Frontend) {
		if err := n.startFrontend(ctx); err != nil {
			return err
		}
	}
	n.wg.Go(func() {
		if err := n.rpc.Serve(listener); err != nil {
			n.cfg.Log.Error("node: not served any more", "error", err)
		}
	})
	n.stopLast(n.rpc.Stop)
	self := wire.Node{Name: n.id.Name, Zone: n.id.Zone, Roles: n.id.Roles, Address: n.cfg.Address, API: n.cfg.API, Life: n.life}
	if err := n.tracker.Join(ctx, self); err != nil {
		return fmt.Errorf("join the cluster through %v: %w", n.cfg.Join, err)
	}
	if n.id.Has(ca.Worker) {
		n.beat(func(s placement.Status) { n.tracker.Heartbeat(n.ctx, s) })
	}
	return nil
}

func (n *Node) listenAt(ctx context.Context, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; it must be an address of this machine that nothing else uses", address, err)
	}
	n.stopLast(func() { _ = l.Close() }) // closed by its server already, as a rule
	return l, nil
}

// openState connects to etcd and opens what is kept there.
func (n *Node) openState(ctx context.Context) (err error) {
	if n.client, err = etcd.Dial(n.node, n.cfg.Etcd, n.cfg.Log); err != nil {
		return err
	}
	n.stopLast(func() { _ = n.client.Close() }) // what was written is written
	if err := etcd.Await(ctx, n.client); err != nil {
		return err
	}
	if err := n.openIdentities(ctx); err != nil {
		return err
	}
	return n.openCatalog(ctx)
}

func (n *Node) startAssignment(ctx context.Context) (err error) {
	directory := wire.NewDirectory(n.client, n.cfg.Log)
	if err := directory.Start(ctx); err != nil {
		return err
	}
	n.stopLast(directory.Stop)
	nodes := func() []wire.Node {
		all, _, _ := directory.All()
		return all
	}
	if n.placement, err = placement.New(placement.Config{Lease: n.cfg.Lease}); err != nil {
		return err
	}
	cfg := n.assigning()
	cfg.Name, cfg.Term, cfg.StartGrace = n.id.Name, term, startGrace
	cfg.ZoneOf = func(id environment.WorkerID) string {
		other, _ := directory.Node(string(id))
		return other.Zone
	}
	cfg.Worker = func(id environment.WorkerID) assignment.Worker { return n.workers.Worker(id) }
	cfg.Workers = func() (all []environment.WorkerID) {
		for _, other := range nodes() {
			if other.Has(ca.Worker) {
				all = append(all, environment.WorkerID(other.Name))
			}
		}
		return all
	}
	cfg.Prefer = func(partition int) bool {
		alive := n.tracker.Alive(settled)
		return !slices.Contains(alive, n.id.Name) || alive[partition%len(alive)] == n.id.Name
	}
	if n.assignment, err = assignment.New(cfg); err != nil {
		return err
	}
	n.tracker.Dead = func(name string) {
		if name != n.id.Name {
			n.assignment.Evict(name)
		}
	}
	counts := &wire.Counting{Led: n.assignment.Led, Nodes: nodes, Tracker: n.tracker, Self: n.id.Name, Log: n.cfg.Log}
	err = counts.Start(ctx, n.rpc, assignment.DefaultPartitions, func(ctx context.Context, partition int) (uint64, error) {
		leader, err := cfg.Journal(partition).Leader(ctx)
		if err != nil || leader == nil {
			return 0, err
		}
		return uint64(leader.Term), nil //nolint:gosec // terms are positive
	})
	if err != nil {
		return err
	}
	n.stopLast(counts.Stop)
	server := &wire.Assignment{
		Service: n.assignment, Placement: n.placement, Directory: directory, Counting: counts, Find: n.catalog.Version, Current: n.catalog.CatchUp,
	}
	server.Register(n.rpc)
	n.assignment.Start()
	n.stopLast(n.assignment.Stop)
	n.stopLast(n.catalog.Subscribe(n.assignment.Changed))
	n.wg.Go(n.watchWorkers)
	return nil
}

// watchWorkers leaves alone what is at workers that are not heard any more.
func (n *Node) watchWorkers() {
	tick := time.NewTicker(stale / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			for _, id := range n.placement.Silent(stale) {
				n.assignment.WorkerAway(id)
			}
		case <-n.ctx.Done():
			return
		}
	}
}

func (n *Node) startWorker(ctx context.Context) error {
	frontends := wire.NewFrontends(n.tracker, n.id.Zone, n.cfg.Log)
	n.stopLast(frontends.Stop)
	if err := n.makeBuildDir(); err != nil {
		return err
	}
	if err := n.startBlockfs(ctx); err != nil {
		return err
	}
	var err error
	if n.volumes, err = volumefs.NewHost(frontends, n.blockfs, n.buildDir(), n.cfg.Log); err != nil {
		return err
	}
	err = n.openWorker(ctx, worker.Config{
		ID: environment.WorkerID(n.id.Name), Images: frontends, Logs: frontends, Reporter: n.assigner,
		API: n.elsewhere(n.anyFrontend),
	})
	if err != nil {
		return err
	}
	(&wire.Worker{Worker: n.worker, Volumes: n.volumes}).Register(n.rpc)
	return nil
}

func (n *Node) startFrontend(ctx context.Context) (err error) {
	public, err := n.listenAt(ctx, n.cfg.Listen)
	if err != nil {
		return err
	}
	internal, err := n.listenAt(ctx, n.cfg.API)
	if err != nil {
		return err
	}
	n.listen = public.Addr().String()
	n.url = "http://" + n.listen
	if n.objects, err = objectstore.OpenShared(n.kept(n.dir.Objects())); err != nil {
		return err
	}
	n.stopLast(func() { n.stopped("object store", n.objects.Close()) })
	if err := n.openRuntimes(ctx); err != nil {
		return err
	}
	salt, err := artifact.LoadSalt(ctx, n.client, n.keyring, n.creds.AccountID)
	if err != nil {
		return err
	}
	n.artifacts = artifact.New(artifact.Config{Objects: n.objects, Keys: n.keyring, Salt: salt, Operator: n.creds.AccountID, Log: n.cfg.Log})
	n.stopLast(n.artifacts.Stop)
	n.machines = &fleet{n}
	n.provisioner = n.assigner

	counts := wire.NewCounts(n.tracker, n.life, assignment.DefaultPartitions, partition, n.cfg.Log)
	front, counter, err := n.front(counts, n.assigner, func(id environment.WorkerID) frontend.Worker { return n.workers.Worker(id) })
	if err != nil {
		return err
	}
	invokes, err := n.invokes(front)
	if err != nil {
		return err
	}
	counts.Start(counter.Holdings, counter.Trim)
	n.stopLast(counts.Stop)
	n.serveWorkers()
	n.wg.Go(func() { n.lead(front) })
	n.wg.Go(func() { n.controlLog().WatchLeader(n.ctx, n.control.Store) })
	n.listenAndServe(public, n.route(invokes, false))
	n.serveInside(internal, n.route(invokes, true))
	return n.dir.Serving(n.url)
}

// serveInside serves other nodes.
func (n *Node) serveInside(listener net.Listener, handler http.Handler) {
	server := &http.Server{
		Handler: handler, TLSConfig: n.node.Server(),
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}
	n.wg.Go(func() {
		if err := server.ServeTLS(listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
			n.cfg.Log.Error("listener failed", "error", err)
		}
	})
	n.stopLast(func() { _ = server.Close() })
}

// Stop lets what is under way end, for a while, and stops.
func (n *Node) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, n.cfg.Drain)
	defer cancel()
	var err error
	if n.worker != nil {
		n.drainWorker(ctx)
	}
	if n.server != nil {
		err = n.server.Shutdown(ctx)
	}
	n.unwind()
	return err
}

// drainWorker has invokes go elsewhere and waits for those under way.
func (n *Node) drainWorker(ctx context.Context) {
	n.draining.Store(true)
	n.tracker.Heartbeat(ctx, n.status())
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n.worker.Busy() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Identity is who this process is.
func (n *Node) Identity() ca.Identity { return n.id }
