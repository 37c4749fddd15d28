package etcd

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver"

	"hearth/internal/ca"
)

// Member says which member of a cluster of several this one is. Addresses are
// HOST:PORT.
type Member struct {
	Name string
	// Peer is where other members reach it, and Client where clients do.
	Peer, Client string
	// Peers are the addresses of all first members by their names, this one's too.
	Peers map[string]string
	// Files are the node's key and certificates.
	Files ca.Files `json:"-"`
}

// configure makes the configuration of a lone member that of one of several.
func (m *Member) configure(c *embed.Config) error {
	address := func(at string) ([]url.URL, error) {
		u, err := url.Parse("https://" + at)
		if err != nil {
			return nil, fmt.Errorf("address %q: want HOST:PORT: %w", at, err)
		}
		return []url.URL{*u}, nil
	}
	var err error
	if c.ListenPeerUrls, err = address(m.Peer); err != nil {
		return err
	}
	if c.ListenClientUrls, err = address(m.Client); err != nil {
		return err
	}
	c.Name, c.AdvertisePeerUrls, c.AdvertiseClientUrls = m.Name, c.ListenPeerUrls, c.ListenClientUrls
	var all []string
	for name, at := range m.Peers {
		all = append(all, name+"=https://"+at)
	}
	slices.Sort(all)
	c.InitialCluster = strings.Join(all, ",")
	// Somebody has to catch up here.
	c.SnapshotCount, c.SnapshotCatchUpEntries = etcdserver.DefaultSnapshotCount, etcdserver.DefaultSnapshotCatchUpEntries
	c.PeerTLSInfo = m.trust(ca.EtcdMember())
	c.ClientTLSInfo = m.trust(ca.EtcdClient())
	return nil
}

// trust lets nobody in without a certificate of the cluster that has a name.
func (m *Member) trust(name string) transport.TLSInfo {
	return transport.TLSInfo{
		CertFile: m.Files.Cert, KeyFile: m.Files.Key, TrustedCAFile: m.Files.Authority,
		ClientCertAuth: true, AllowedHostnames: []string{name}, SkipClientSANVerify: true,
	}
}

// Dial returns a client of the members at some addresses, HOST:PORT, for a node
// whose roles let it use etcd.
func Dial(node *ca.Node, addresses []string, log *slog.Logger) (*clientv3.Client, error) {
	endpoints := make([]string, 0, len(addresses))
	for _, at := range addresses {
		endpoints = append(endpoints, "https://"+at)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints: endpoints, TLS: node.Client(ca.State), Logger: newZapBridge(Config{Log: log}).logger(),
		DialTimeout: 5 * time.Second, DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 3 * time.Second,
		PermitWithoutStream: true,
	})
	if err != nil {
		return nil, fmt.Errorf("etcd: connect to %v: %w", addresses, err)
	}
	return client, nil
}

// Await returns when the cluster answers.
func Await(ctx context.Context, client *clientv3.Client) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		_, err := client.Get(attempt, "hearth/")
		cancel()
		if err == nil {
			return nil
		}
		timer := time.NewTimer(200 * time.Millisecond)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("etcd: no answer: %w", err)
		}
	}
}
