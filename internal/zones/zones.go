package zones

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"hearth/internal/ca"
	"hearth/internal/cluster"
	"hearth/internal/datadir"
	"hearth/internal/etcd"
	"hearth/internal/keyring"
	"hearth/internal/netns"
)

// Config is what Start needs.
type Config struct {
	// Node is what all processes are told alike. Its DataDir is the cluster's.
	Node cluster.Config
	// Program is this program.
	Program string
	Log     *slog.Logger
}

// Zones are the names of the zones.
var Zones = []string{"az1", "az2", "az3"}

// Ports of roles, the same in each zone.
const (
	portPeer       = "2380"
	portEtcd       = "2379"
	portAssignment = "7100"
	portWorker     = "7200"
	portFrontend   = "7300"
	portAPI        = "7301"
)

// Cluster is a running cluster of zones.
type Cluster struct {
	cfg    Config
	dir    *datadir.Dir
	fabric *netns.Fabric
	log    *slog.Logger

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	undo   []func()

	processes []*process
	balancer  *balancer
	url       string
}

// record is what of a cluster must stay the same from one start to the next.
type record struct {
	// Name is the cluster's in its certificates.
	Name string `json:"name"`
	// Network is the first of the fabric's addresses.
	Network netip.Addr `json:"network"`
}

const (
	recordFile    = "cluster.json"
	authorityFile = "ca.pem"
)

// Start brings a cluster up.
func Start(ctx context.Context, cfg Config) (_ *Cluster, err error) {
	c := &Cluster{cfg: cfg, log: cfg.Log}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			c.unwind()
		}
	}()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Node.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; stop what uses the port, or choose another with --listen HOST:PORT", cfg.Node.Listen, err)
	}
	c.cfg.Node.Listen = listener.Addr().String()
	c.later(func() { _ = listener.Close() }) // closed by the balancer already, as a rule
	if c.dir, err = datadir.Open(cfg.Node.DataDir); err != nil {
		return nil, err
	}
	c.later(func() {
		if err := c.dir.Close(); err != nil {
			c.log.Error("not stopped cleanly", "part", "data directory", "error", err)
		}
	})
	// Of a former life that was killed. Other commands name the data directory, too:
	// only the processes of zones name what is below.
	for _, zone := range Zones {
		killLeft(filepath.Join(c.dir.Path(), zone))
	}
	if err := c.prepare(ctx); err != nil {
		return nil, err
	}
	c.later(func() {
		if err := c.fabric.Close(); err != nil {
			c.log.Error("not stopped cleanly", "part", "network of zones", "error", err)
		}
	})
	if err := c.fabric.Open(); err != nil {
		return nil, err
	}
	c.later(c.stopProcesses)
	for _, p := range c.processes {
		p.begin(c)
	}
	var backends []string
	for _, zone := range Zones {
		backends = append(backends, net.JoinHostPort(c.fabric.Address(zone).String(), portOf(listener.Addr())))
	}
	c.balancer = newBalancer(listener, backends)
	c.later(c.balancer.stop)
	if err := c.balancer.await(ctx, len(backends)); err != nil {
		return nil, fmt.Errorf("the frontends do not come up: %w; look into %s", err, c.logs())
	}
	if err := c.takeOrders(); err != nil {
		return nil, err
	}
	c.url = "http://" + listener.Addr().String()
	return c, c.dir.Serving(c.url)
}

func (c *Cluster) later(f func()) { c.undo = append(c.undo, f) }

func (c *Cluster) unwind() {
	c.cancel()
	for _, f := range slices.Backward(c.undo) {
		f()
	}
	c.undo = nil
	c.wg.Wait()
}

// Stop stops all processes, the frontends first, and takes the network away.
func (c *Cluster) Stop() { c.unwind() }

// URL is where clients reach the cluster.
func (c *Cluster) URL() string { return c.url }

// logs is where the processes' logs are.
func (c *Cluster) logs() string { return filepath.Join(c.dir.Path(), "az*", "*.log") }

func portOf(a net.Addr) string {
	_, port, _ := net.SplitHostPort(a.String())
	return port
}

// prepare makes what the processes need: a network, certificates, keys.
func (c *Cluster) prepare(ctx context.Context) error {
	r, err := c.record()
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(c.dir.Path()))
	c.fabric = netns.NewFabric(hex.EncodeToString(sum[:3]), filepath.Join(c.dir.Path(), "network"), r.Network, Zones)
	authority, err := c.authority(r.Name)
	if err != nil {
		return err
	}
	if _, err := c.dir.Credentials(); err != nil {
		return err
	}
	if err := keyring.Make(ctx, keyring.Config{Store: c.dir.Keyring(), Log: c.log}); err != nil {
		return err
	}
	for _, zone := range Zones {
		for _, role := range ca.Roles {
			p, err := c.enrol(authority, zone, role)
			if err != nil {
				return fmt.Errorf("process %s of %s: %w", role, zone, err)
			}
			c.processes = append(c.processes, p)
		}
	}
	return nil
}

// record reads what the cluster is, or settles it.
func (c *Cluster) record() (*record, error) {
	name := filepath.Join(c.dir.Path(), recordFile)
	r := &record{}
	b, err := os.ReadFile(name)
	switch {
	case err == nil:
		if err := json.Unmarshal(b, r); err != nil || !netns.FabricRange.Contains(r.Network) {
			return nil, fmt.Errorf("%s is damaged; restore it from a backup", name)
		}
		return r, nil
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if left, err := os.ReadDir(c.dir.Etcd()); err == nil && len(left) > 0 {
		return nil, fmt.Errorf("%s is the data directory of a Hearth of one zone, which cannot become one of three; "+
			"choose another directory with --data", c.dir.Path())
	}
	if r.Network, err = netns.FreeFabric(); err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(c.dir.Path() + time.Now().String()))
	r.Name = "local-" + hex.EncodeToString(sum[:4])
	if b, err = json.MarshalIndent(r, "", "  "); err != nil {
		return nil, err
	}
	return r, c.dir.Secret(recordFile).Save(append(b, '\n'))
}

// authority reads the cluster's, or makes it.
func (c *Cluster) authority(name string) (*ca.Authority, error) {
	file := c.dir.Secret(authorityFile)
	b, err := file.Load()
	if err == nil {
		return ca.ParseAuthority(name, b)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	a, err := ca.NewAuthority(name, time.Now())
	if err != nil {
		return nil, err
	}
	if b, err = a.Encode(); err != nil {
		return nil, err
	}
	return a, file.Save(b)
}

// enrol makes a process's data directory, with a new certificate for each life of
// the cluster.
func (c *Cluster) enrol(authority *ca.Authority, zone string, role ca.Role) (*process, error) {
	p := &process{zone: zone, role: role, dir: filepath.Join(c.dir.Path(), zone, string(role))}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, err
	}
	own, err := datadir.Open(p.dir)
	if err != nil {
		return nil, err
	}
	if err := own.Close(); err != nil {
		return nil, err
	}
	address := c.fabric.Address(zone).String()
	key, request, err := ca.NewKey()
	if err != nil {
		return nil, err
	}
	id := ca.Identity{Zone: zone, Name: zone + "-" + string(role), Roles: []ca.Role{role}}
	cert, err := authority.Sign(request, id, []string{address}, time.Now())
	if err != nil {
		return nil, err
	}
	if err := ca.Save(cluster.NodeDir(p.dir), key, cert, authority.Certificate()); err != nil {
		return nil, err
	}
	if role == ca.Frontend || role == ca.Assignment {
		if err := c.share(p.dir); err != nil {
			return nil, err
		}
	}
	cfg := c.tell(role, address)
	cfg.DataDir = p.dir
	return p, cluster.SaveNode(&cfg)
}

// share gives a process the keys of clients and the master keys.
func (c *Cluster) share(dir string) error {
	for _, name := range []string{"credentials", "keyring"} {
		b, err := c.dir.Secret(name).Load()
		if err != nil {
			return err
		}
		if err := datadir.SecretIn(dir, name).Save(b); err != nil {
			return err
		}
	}
	return nil
}

// tell is what a process is told.
func (c *Cluster) tell(role ca.Role, address string) cluster.NodeConfig {
	at := func(port string) (all []string) {
		for _, z := range Zones {
			all = append(all, net.JoinHostPort(c.fabric.Address(z).String(), port))
		}
		return all
	}
	cfg := cluster.NodeConfig{Config: c.cfg.Node, Join: at(portAssignment), Etcd: at(portEtcd)}
	cfg.StoreDir = c.dir.Path()
	if cfg.RuntimeCache == "" {
		cfg.RuntimeCache = c.dir.Runtimes()
	}
	_, public, _ := net.SplitHostPort(c.cfg.Node.Listen)
	cfg.Listen = net.JoinHostPort(address, public)
	switch role {
	case ca.State:
		peers := make(map[string]string)
		for _, z := range Zones {
			peers[z+"-"+string(ca.State)] = net.JoinHostPort(c.fabric.Address(z).String(), portPeer)
		}
		cfg.Member = &etcd.Member{Peer: net.JoinHostPort(address, portPeer), Client: net.JoinHostPort(address, portEtcd), Peers: peers}
	case ca.Assignment:
		cfg.Address = net.JoinHostPort(address, portAssignment)
	case ca.Worker:
		cfg.Address = net.JoinHostPort(address, portWorker)
		cfg.MemoryMB = c.cfg.Node.MemoryMB / len(Zones)
	case ca.Frontend:
		cfg.Address, cfg.API = net.JoinHostPort(address, portFrontend), net.JoinHostPort(address, portAPI)
	}
	return cfg
}

// find finds processes by zone and role.
func (c *Cluster) find(zone string, role ca.Role) ([]*process, error) {
	if !slices.Contains(Zones, zone) {
		return nil, fmt.Errorf("there is no zone %.20q; want one of %v", zone, Zones)
	}
	var found []*process
	for _, p := range c.processes {
		if p.zone == zone && (role == "" || p.role == role) {
			found = append(found, p)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("there is no role %.20q; want one of %v, or none for all", role, ca.Roles)
	}
	return found, nil
}
