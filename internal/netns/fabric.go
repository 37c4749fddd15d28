package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"hearth/internal/mount"
	"hearth/internal/osthread"
)

// Fabric is a network of zones on one machine: each zone is a namespace of its
// own, behind a router that can cut it off as a broken line would: nothing that
// is sent arrives, and nobody is told.
//
//	host ──────── router ──┬── az1
//	                       ├── az2
//	                       └── az3
//
// Zones reach each other, the host, and through the host what the host reaches.
// Nothing from outside reaches them. Functions' sandboxes reach no address of the
// fabric: it is in a range that Network forbids.
type Fabric struct {
	instance string
	dir      string
	base     netip.Addr // of 256 addresses
	zones    []string
	host     *Network // for what is changed on the host

	mu     sync.Mutex
	losses map[string]Loss
}

// Loss is how many of a hundred packets are dropped, of those that a zone sends and
// of those that are sent to it.
type Loss struct{ Out, In int }

// FabricRange is where fabrics have their addresses: shared address space
// (RFC 6598), of which each takes 256.
var FabricRange = netip.MustParsePrefix("100.127.0.0/16")

// NewFabric returns the fabric of an instance, a few letters and digits. dir is
// for its files, base the first of its 256 addresses.
func NewFabric(instance, dir string, base netip.Addr, zones []string) *Fabric {
	return &Fabric{
		instance: instance, dir: dir, base: base, zones: zones, host: New(instance+"z", dir), losses: make(map[string]Loss),
	}
}

const (
	routerName = "router"
	hostName   = "host" // the router's end towards the host
)

func (f *Fabric) path(name string) string { return filepath.Join(f.dir, name) }

// link is the host's interface.
func (f *Fabric) link() string { return "hz" + f.instance }

// address is the nth of the four addresses of a line, which are numbered from 0,
// the host's. The router has the first, the other end the second.
func (f *Fabric) address(line, nth int) netip.Addr {
	b := f.base.As4()
	b[3] = byte(4*line + nth) //nolint:gosec // there are few zones
	return netip.AddrFrom4(b)
}

// Address is a zone's.
func (f *Fabric) Address(zone string) netip.Addr { return f.address(1+slices.Index(f.zones, zone), 2) }

// Open makes the fabric, after it has removed what a former life left.
func (f *Fabric) Open() (err error) {
	if err := f.Close(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("network of zones: %w", errors.Join(err, f.Close()))
		}
	}()
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return err
	}
	opened, err := f.host.openForwarding()
	if err != nil {
		return err
	}
	if err := f.guard(opened); err != nil {
		return err
	}
	if err := create(f.path(routerName)); err != nil {
		return err
	}
	if err := f.in(routerName, func() error { return os.WriteFile(forwarding, []byte("1"), 0o644) }); err != nil {
		return err
	}
	router, err := netns.GetFromPath(f.path(routerName))
	if err != nil {
		return err
	}
	defer router.Close()
	if err := f.connectHost(router); err != nil {
		return err
	}
	for i, zone := range f.zones {
		if err := create(f.path(zone)); err != nil {
			return err
		}
		if err := f.connectZone(router, i+1, zone); err != nil {
			return err
		}
	}
	return nil
}

// Close removes the fabric. Its processes must be dead. It may be repeated.
func (f *Fabric) Close() error {
	errs := []error{removeLink(f.link())}
	for _, name := range append([]string{routerName}, f.zones...) {
		if _, err := os.Lstat(f.path(name)); err != nil {
			continue
		}
		errs = append(errs, mount.Unmount(f.path(name)))
		if err := os.Remove(f.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	errs = append(errs, f.host.end())
	return errors.Join(errs...)
}

// in runs do in a namespace of the fabric.
func (f *Fabric) in(name string, do func() error) error {
	return osthread.Run(func() error {
		ns, err := netns.GetFromPath(f.path(name))
		if err != nil {
			return err
		}
		defer ns.Close()
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("enter %s: %w", name, err)
		}
		return do()
	})
}

// Start starts a process in a zone.
func (f *Fabric) Start(zone string, cmd *exec.Cmd) error { return f.in(zone, cmd.Start) }

// setUp gives an interface its name's address and switches it on.
func setUpLink(h *netlink.Handle, name string, address netip.Addr) (netlink.Link, error) {
	link, err := h.LinkByName(name)
	if err != nil {
		return nil, err
	}
	if err := h.AddrAdd(link, &netlink.Addr{IPNet: ipNet(address)}); err != nil {
		return nil, fmt.Errorf("add address to %s: %w", name, err)
	}
	return link, h.LinkSetUp(link)
}

// everywhereVia is the route to everything else.
func everywhereVia(h *netlink.Handle, link netlink.Link, via netip.Addr) error {
	return h.RouteAdd(&netlink.Route{
		LinkIndex: link.Attrs().Index, Gw: via.AsSlice(), Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)},
	})
}

func (f *Fabric) connectHost(router netns.NsHandle) error {
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: f.link()})
	veth.PeerName, veth.PeerNamespace = hostName, netlink.NsFd(router)
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("add interface %s: %w", f.link(), err)
	}
	here, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer here.Close()
	there, err := netlink.NewHandleAt(router)
	if err != nil {
		return err
	}
	defer there.Close()
	out, err := setUpLink(there, hostName, f.address(0, 1))
	if err != nil {
		return err
	}
	if err := everywhereVia(there, out, f.address(0, 2)); err != nil {
		return err
	}
	in, err := setUpLink(here, f.link(), f.address(0, 2))
	if err != nil {
		return err
	}
	return here.RouteAdd(&netlink.Route{
		LinkIndex: in.Attrs().Index, Gw: f.address(0, 1).AsSlice(),
		Dst: &net.IPNet{IP: f.base.AsSlice(), Mask: net.CIDRMask(24, 32)},
	})
}

func (f *Fabric) connectZone(router netns.NsHandle, line int, zone string) error {
	inside, err := netns.GetFromPath(f.path(zone))
	if err != nil {
		return err
	}
	defer inside.Close()
	at, err := netlink.NewHandleAt(router)
	if err != nil {
		return err
	}
	defer at.Close()
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: zone})
	veth.PeerName, veth.PeerNamespace = "eth0", netlink.NsFd(inside)
	if err := at.LinkAdd(veth); err != nil {
		return fmt.Errorf("add interface %s: %w", zone, err)
	}
	if _, err := setUpLink(at, zone, f.address(line, 1)); err != nil {
		return err
	}
	there, err := netlink.NewHandleAt(inside)
	if err != nil {
		return err
	}
	defer there.Close()
	link, err := setUpLink(there, "eth0", f.address(line, 2))
	if err != nil {
		return err
	}
	return everywhereVia(there, link, f.address(line, 1))
}

// guard lets zones out and nobody in. With isolate, the host forwards nothing
// else.
func (f *Fabric) guard(isolate bool) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	conn.AddTable(f.host.table())
	conn.DelTable(f.host.table()) // of a former life
	t := conn.AddTable(f.host.table())
	chain := chains(conn, t)
	to := exactly(expr.MetaKeyOIFNAME, expr.CmpOpEq, f.link())
	notFrom, notTo := exactly(expr.MetaKeyIIFNAME, expr.CmpOpNeq, f.link()), exactly(expr.MetaKeyOIFNAME, expr.CmpOpNeq, f.link())
	forward := chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
	forward(to, unanswered, drop)
	if isolate {
		forward(notFrom, notTo, drop)
	}
	nat := chain("nat", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	nat(f.own(), notTo, []expr.Any{&expr.Masq{}})
	return flush(conn, "add table")
}

// own matches what the fabric sends.
func (f *Fabric) own() []expr.Any {
	return append([]expr.Any{address(1, sourceOffset)},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{0xff, 0xff, 0xff, 0}, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: f.base.AsSlice()},
	)
}

// exactly matches an interface by its whole name.
func exactly(key expr.MetaKey, op expr.CmpOp, name string) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: op, Register: 1, Data: append([]byte(name), 0)},
	}
}

// Lose has packets of a zone dropped, from now on: with all of them it is cut off
// from the other zones and the host. The zero Loss joins it again.
func (f *Fabric) Lose(zone string, loss Loss) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.losses[zone] = loss
	router, err := netns.GetFromPath(f.path(routerName))
	if err != nil {
		return fmt.Errorf("network of zones: %w", err)
	}
	defer router.Close()
	conn, err := nftables.New(nftables.WithNetNSFd(int(router)))
	if err != nil {
		return fmt.Errorf("network of zones: %w", err)
	}
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: "losses"}
	conn.AddTable(table)
	conn.DelTable(table)
	conn.AddTable(table)
	forward := chains(conn, table)("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
	for _, z := range f.zones {
		for key, percent := range map[expr.MetaKey]int{expr.MetaKeyIIFNAME: f.losses[z].Out, expr.MetaKeyOIFNAME: f.losses[z].In} {
			if percent > 0 {
				forward(exactly(key, expr.CmpOpEq, z), sometimes(percent), drop)
			}
		}
	}
	return flush(conn, "losses of "+zone)
}

// sometimes matches so many packets of a hundred.
func sometimes(percent int) []expr.Any {
	return []expr.Any{
		&expr.Numgen{Register: 1, Modulus: 100, Type: unix.NFT_NG_RANDOM},
		// Numbers are compared as in a packet.
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
		&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: binaryutil.BigEndian.PutUint32(uint32(percent))}, //nolint:gosec // at most 100
	}
}

// FreeFabric finds 256 addresses of FabricRange that this machine has no route
// to.
func FreeFabric() (netip.Addr, error) {
	routes, err := netlink.RouteList(nil, unix.AF_INET)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("network of zones: %w", err)
	}
	for third := range 256 {
		b := FabricRange.Addr().As4()
		b[2] = byte(third)
		base := netip.AddrFrom4(b)
		taken := slices.ContainsFunc(routes, func(r netlink.Route) bool {
			ones := 0
			if r.Dst != nil {
				ones, _ = r.Dst.Mask.Size()
			}
			return ones > 0 && (r.Dst.Contains(base.AsSlice()) || FabricRange.Contains(addrOf(r.Dst.IP)) && addrOf(r.Dst.IP).As4()[2] == b[2])
		})
		if !taken {
			return base, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("network of zones: all of %v is in use", FabricRange)
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip.To4())
	return a
}
