package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"hearth/internal/osthread"
)

// create makes a namespace with its loopback interface up, bound to a new
// file.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o400)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return osthread.Run(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("new network namespace: %w", err)
		}
		// IPv6 is off before there is an interface that could get an address.
		// A kernel without IPv6 has no such file.
		const noIPv6 = "/proc/sys/net/ipv6/conf/default/disable_ipv6"
		if err := os.WriteFile(noIPv6, []byte("1"), 0o644); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(lo); err != nil {
			return err
		}
		return unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	})
}

// link joins the namespace to the host with a veth pair at a free slot.
func (ns *Namespace) link() error {
	handle, err := netns.GetFromPath(ns.path)
	if err != nil {
		return err
	}
	defer handle.Close()
	first := ns.network.firstSlot()
	for i := range slots {
		slot := (first + i) % slots
		if ns.network.used[slot] {
			continue
		}
		ns.slot = slot
		ns.network.used[slot] = true
		err := ns.linkHost(handle)
		if err == nil {
			return ns.linkInside(handle)
		}
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
		// The addresses are taken, by another Hearth.
		err = removeLink(ns.hostName())
		delete(ns.network.used, slot)
		ns.slot = -1
		if err != nil {
			return err
		}
	}
	return errors.New("no free address for a sandbox")
}

// linkHost makes the pair and gives the host's end its address. EEXIST means
// that somebody has the slot; the name can only be a former life's, as names
// hold the instance.
func (ns *Namespace) linkHost(inside netns.NsHandle) error {
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: ns.hostName()})
	veth.PeerName = "eth0"
	veth.PeerNamespace = netlink.NsFd(inside)
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("add interface %s: %w", ns.hostName(), err)
	}
	const noIPv6 = "/proc/sys/net/ipv6/conf/%s/disable_ipv6"
	err := os.WriteFile(fmt.Sprintf(noIPv6, ns.hostName()), []byte("1"), 0o644)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	host, err := netlink.LinkByName(ns.hostName())
	if err != nil {
		return err
	}
	// Without the address's own route: that would be added silently beside
	// another's. The explicit one is refused if there is one already.
	address := &netlink.Addr{IPNet: ipNet(ns.address(1)), Flags: unix.IFA_F_NOPREFIXROUTE}
	if err := netlink.AddrAdd(host, address); err != nil {
		return fmt.Errorf("add address: %w", err)
	}
	if err := netlink.LinkSetUp(host); err != nil {
		return err
	}
	subnet := ipNet(ns.address(0))
	err = netlink.RouteAdd(&netlink.Route{
		LinkIndex: host.Attrs().Index, Dst: subnet, Scope: netlink.SCOPE_LINK, Src: ipNet(ns.address(1)).IP,
	})
	if err != nil {
		return fmt.Errorf("add route to %v: %w", subnet, err)
	}
	return nil
}

// linkInside gives the sandbox's end its address and a way out. gVisor takes
// both off the interface when it boots.
func (ns *Namespace) linkInside(inside netns.NsHandle) error {
	handle, err := netlink.NewHandleAt(inside)
	if err != nil {
		return err
	}
	defer handle.Close()
	link, err := handle.LinkByName("eth0")
	if err != nil {
		return err
	}
	if err := handle.AddrAdd(link, &netlink.Addr{IPNet: ipNet(ns.address(2))}); err != nil {
		return fmt.Errorf("add address inside: %w", err)
	}
	if err := handle.LinkSetUp(link); err != nil {
		return err
	}
	_, everywhere, err := net.ParseCIDR("0.0.0.0/0")
	if err != nil {
		return err
	}
	return handle.RouteAdd(&netlink.Route{
		LinkIndex: link.Attrs().Index, Dst: everywhere, Gw: ipNet(ns.address(1)).IP,
	})
}

// ipNet is the address with the mask of a sandbox's four.
func ipNet(address netip.Addr) *net.IPNet {
	return &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(30, 32)}
}
