// Package netns gives sandboxes a network of their own with a way out: a
// network namespace, a veth pair, an address, and packet filter rules that
// let it reach the outside world and nothing near.
//
// Sandboxes without egress need none of this: their namespace is empty.
//
// What lies outside the sandbox's directory is named after the instance, so
// that Sweep finds it and two Hearths on a machine leave each other alone:
//
//	h<instance>-<slot>   the host's end of a veth pair
//	hearth_<instance>    the nftables table (family inet)
//
// Invariants:
//
//  1. A packet leaves a sandbox's interface only with the sandbox's own IPv4
//     address as its source. IPv6 is dropped.
//  2. It reaches no address of the host, no other sandbox, and no private,
//     link-local (169.254.169.254 among them), loopback, shared, multicast or
//     reserved address; but for port 53 of the name servers that are given to
//     New, if they are not on the host.
//  3. Nothing reaches a sandbox but answers.
//  4. The rules are there before the first interface, and until after the last.
//  5. Forwarding is switched on only while there is a sandbox with egress; if
//     it was off before, it is then on for sandboxes alone, and off again after.
//
// Failure modes: no free address (Open says so); another packet filter on the
// host that drops forwarded packets (its accept cannot be given from here: a
// sandbox then has no way out; docs/sandbox.md has the rule to add); software
// that expects forwarding and starts after this package has switched it on is
// held back by invariant 5.
package netns

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"hearth/internal/mount"
)

// pool is where sandboxes get their addresses from, four each: the range set
// aside for benchmarks (RFC 2544), which no network routes.
var pool = netip.MustParsePrefix("198.18.0.0/15")

const slots = 1 << (32 - 15 - 2)

// Network makes the namespaces of one instance.
type Network struct {
	instance  string
	resolvers []netip.Addr
	marker    string // file that exists while we have forwarding switched on

	mu   sync.Mutex
	used map[int]bool // slots
}

// New returns the network of an instance, a few letters and digits. dir is
// for its record of what it has changed. Sandboxes may ask the resolvers, IPv4
// addresses, wherever they are outside the host.
func New(instance, dir string, resolvers ...netip.Addr) *Network {
	return &Network{
		instance:  instance,
		resolvers: resolvers,
		marker:    filepath.Join(dir, "ip_forward"),
		used:      make(map[int]bool),
	}
}

func (n *Network) prefix() string { return "h" + n.instance + "-" }

// Namespace is one sandbox's network.
type Namespace struct {
	network *Network
	path    string
	slot    int
}

// Open makes a namespace with a way out and binds it to the file path, which
// it creates.
func (n *Network) Open(path string) (*Namespace, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.used) == 0 {
		if err := n.begin(); err != nil {
			return nil, fmt.Errorf("netns: %w", errors.Join(err, n.end()))
		}
	}
	ns := &Namespace{network: n, path: path, slot: -1}
	if err := ns.open(); err != nil {
		return nil, fmt.Errorf("netns: open %s: %w", path, errors.Join(err, ns.close()))
	}
	return ns, nil
}

func (ns *Namespace) open() error {
	if err := create(ns.path); err != nil {
		return err
	}
	if err := ns.link(); err != nil {
		return err
	}
	return ns.network.allow(ns.hostName(), ns.address(2))
}

// Close removes the namespace. Its processes must be dead. It may be repeated.
func (ns *Namespace) Close() error {
	ns.network.mu.Lock()
	defer ns.network.mu.Unlock()
	if err := ns.close(); err != nil {
		return fmt.Errorf("netns: close %s: %w", ns.path, err)
	}
	return nil
}

func (ns *Namespace) close() error {
	// The interface first: it is the one that lets packets through.
	if ns.slot >= 0 {
		if err := removeLink(ns.hostName()); err != nil {
			return err
		}
		if err := ns.network.disallow(ns.hostName(), ns.address(2)); err != nil {
			return err
		}
		delete(ns.network.used, ns.slot)
		ns.slot = -1
	}
	if err := mount.Unmount(ns.path); err != nil {
		return err
	}
	if err := os.Remove(ns.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(ns.network.used) == 0 {
		return ns.network.end()
	}
	return nil
}

// address is the nth of the sandbox's four: 1 is the host's, 2 the sandbox's.
func (ns *Namespace) address(nth int) netip.Addr {
	address := pool.Addr().As4()
	value := binary.BigEndian.Uint32(address[:]) + uint32(ns.slot*4+nth) //nolint:gosec // below 1<<17
	binary.BigEndian.PutUint32(address[:], value)
	return netip.AddrFrom4(address)
}

func (ns *Namespace) hostName() string {
	return ns.network.prefix() + strconv.FormatInt(int64(ns.slot), 36)
}

// firstSlot spreads instances over the pool. Should two meet nevertheless,
// the kernel's routing table tells (see link).
func (n *Network) firstSlot() int {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(n.instance)) // never fails
	return int(hash.Sum32() % slots)
}

// Sweep removes what a former life of the instance left outside its
// directory. No namespace may be open.
func (n *Network) Sweep() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.used) > 0 {
		return fmt.Errorf("netns: sweep: %d namespaces are open", len(n.used))
	}
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("netns: sweep: %w", err)
	}
	var all error
	for _, link := range links {
		if name := link.Attrs().Name; strings.HasPrefix(name, n.prefix()) {
			all = errors.Join(all, removeLink(name))
		}
	}
	if err := errors.Join(all, n.end()); err != nil {
		return fmt.Errorf("netns: sweep: %w", err)
	}
	return nil
}

// begin prepares the host for the first namespace, end undoes it.
func (n *Network) begin() error {
	opened, err := n.openForwarding()
	if err != nil {
		return err
	}
	return n.addTable(opened)
}

func (n *Network) end() error {
	// Forwarding goes before the rules do.
	if err := n.closeForwarding(); err != nil {
		return err
	}
	return n.removeTable()
}

const forwarding = "/proc/sys/net/ipv4/ip_forward"

// openForwarding switches forwarding on and reports whether it was off.
func (n *Network) openForwarding() (opened bool, err error) {
	if _, err := os.Stat(n.marker); err == nil {
		return true, os.WriteFile(forwarding, []byte("1"), 0o644)
	}
	state, err := os.ReadFile(forwarding)
	if err != nil || strings.TrimSpace(string(state)) == "1" {
		return false, err
	}
	// Record first: a crash in between must not leave it on.
	if err := os.WriteFile(n.marker, nil, 0o600); err != nil {
		return false, err
	}
	return true, os.WriteFile(forwarding, []byte("1"), 0o644)
}

func (n *Network) closeForwarding() error {
	if _, err := os.Stat(n.marker); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err := os.WriteFile(forwarding, []byte("0"), 0o644); err != nil {
		return err
	}
	return os.Remove(n.marker)
}

func removeLink(name string) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err != nil {
		return err
	}
	// The other end goes with it, also from inside the namespace.
	if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("remove interface %s: %w", name, err)
	}
	return nil
}
