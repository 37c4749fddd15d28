package wire

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"hearth/internal/table"
)

// directoryPrefix is where nodes are recorded in etcd.
const directoryPrefix = "hearth/node/"

// Directory is the record of the cluster's nodes. A node stays in it when it is
// away: its environments are still there when it comes back.
type Directory struct {
	table *table.Table[Node]

	mu      sync.Mutex
	version uint64
	changed chan struct{}
	cancel  func()
}

// NewDirectory makes the directory that is kept in etcd.
func NewDirectory(client *clientv3.Client, log *slog.Logger) *Directory {
	return &Directory{
		table:   table.New(table.Config[Node]{Client: client, Prefix: directoryPrefix, Log: log, Check: check}),
		changed: make(chan struct{}), version: 1,
	}
}

// Start reads the directory and follows it.
func (d *Directory) Start(ctx context.Context) error {
	if err := d.table.Start(ctx); err != nil {
		return fmt.Errorf("wire: read the nodes of the cluster: %w", err)
	}
	d.cancel = d.table.Subscribe(func(table.Key, *Node, *Node) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.version++
		close(d.changed)
		d.changed = make(chan struct{})
	})
	return nil
}

// Stop ends following.
func (d *Directory) Stop() {
	d.cancel()
	d.table.Stop()
}

// check says what is wrong with a record.
func check(key table.Key, n *Node) error {
	if key != nodeKey(n.Name) || n.Address == "" {
		return fmt.Errorf("wire: the record of node %.64q is of %.64q at %.64q", key.Name, n.Name, n.Address)
	}
	return nil
}

// nodeKey is a node's; the cluster is everybody's.
func nodeKey(name string) table.Key { return table.Key{Account: "cluster", Name: name} }

// Put records a node.
func (d *Directory) Put(ctx context.Context, n Node) error {
	_, err := d.table.Change(ctx, nodeKey(n.Name), func(now *Node) (*Node, error) {
		if now != nil && reflect.DeepEqual(*now, n) {
			return now, nil
		}
		return &n, nil
	})
	if err != nil {
		return fmt.Errorf("wire: record node %s: %w", n.Name, err)
	}
	return nil
}

// All are the nodes; version changes with them, and then changed is closed.
func (d *Directory) All() (nodes []Node, version uint64, changed <-chan struct{}) {
	d.mu.Lock()
	version, changed = d.version, d.changed
	d.mu.Unlock()
	for _, n := range d.table.All() {
		nodes = append(nodes, *n)
	}
	return nodes, version, changed
}

// Node finds a node.
func (d *Directory) Node(name string) (Node, bool) {
	n, ok := d.table.Lookup(nodeKey(name))
	if !ok {
		return Node{}, false
	}
	return *n, true
}
