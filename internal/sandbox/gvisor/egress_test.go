package gvisor_test

import (
	"errors"
	"net"
	"net/netip"
	"strconv"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"hearth/internal/osthread"
	"hearth/internal/sandbox"
	"hearth/internal/sandbox/sandboxtest"
)

// An internet of one machine, a network namespace beside the host. Its
// addresses are set aside for documentation; no packet leaves this machine.
const (
	internetHost = "203.0.113.10"
	uplinkHost   = "203.0.113.1"
	uplinkName   = "htestuplink"
	// A name server is mostly at a private address.
	nameServer       = "10.77.53.53"
	nameServerUplink = "10.77.53.1"
)

func TestEgress(t *testing.T) {
	listener := serveInternet(t)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	check(t, err)
	onHost, err := net.Listen("tcp4", "0.0.0.0:"+port)
	check(t, err)
	defer onHost.Close()
	driver, root := newDriver(t, t.TempDir(), netip.MustParseAddr(nameServer)), sandboxtest.Root(t)
	with := sandboxtest.Boot(t, driver, sandbox.Spec{Root: root, Egress: true})
	neighbour := sandboxtest.Boot(t, driver, sandbox.Spec{Root: root, Egress: true})
	without := sandboxtest.Boot(t, driver, sandbox.Spec{Root: root})

	if got, err := with.Act("dial", "tcp", net.JoinHostPort(internetHost, port)); err != nil || got != uplinkHost {
		t.Errorf("with egress: got %q, %v, want an answer to %s", got, err, uplinkHost)
	}
	if got, err := with.Act("read", "/etc/resolv.conf"); err != nil || got != "nameserver "+nameServer+"\n" {
		t.Errorf("name servers: got %q, %v, want %s", got, err, nameServer)
	}
	if got, err := with.Act("dial", "tcp", nameServer+":53"); err != nil || got != nameServerUplink {
		t.Errorf("name server: got %q, %v, want an answer to %s", got, err, nameServerUplink)
	}
	if _, err := with.Act("write", "/etc/resolv.conf", "nameserver 192.0.2.1"); err == nil {
		t.Error("a sandbox can choose its name server")
	}
	if got, err := with.Act("loopback"); err != nil || got != "looped" {
		t.Errorf("loopback: got %q, %v, want %q", got, err, "looped")
	}
	if got, err := without.Act("dial", "tcp", net.JoinHostPort(internetHost, port)); err == nil {
		t.Errorf("without egress: got %q, want it out of reach", got)
	}
	targets := []string{"169.254.169.254", "198.18.0.1", uplinkHost, nameServer}
	own, err := net.InterfaceAddrs()
	check(t, err)
	for _, address := range own {
		if ip := address.(*net.IPNet).IP; ip.To4() != nil && !ip.IsLoopback() {
			targets = append(targets, ip.String()) // among them the gateways
		}
	}
	for _, target := range targets {
		if got, err := with.Act("dial", "tcp", net.JoinHostPort(target, port)); err == nil {
			t.Errorf("%s answers %q, want it out of reach", target, got)
		}
	}
	if err := neighbour.Echo("unharmed"); err != nil {
		t.Error(err)
	}
}

// serveInternet makes the internet, whose machine answers each connection
// with the address that it came from, and so does its name server.
func serveInternet(t *testing.T) net.Listener {
	t.Helper()
	var listener, names net.Listener
	check(t, osthread.Run(func() error {
		host, err := netns.Get()
		if err != nil {
			return err
		}
		defer host.Close()
		// The namespace lives as long as the listening socket in it.
		internet, err := netns.New()
		if err != nil {
			return err
		}
		defer internet.Close()
		veth := netlink.NewVeth(netlink.LinkAttrs{Name: "eth0"})
		veth.PeerName, veth.PeerNamespace = uplinkName, netlink.NsFd(host)
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		if err := errors.Join(setUp("eth0", internetHost), setUp("eth0", nameServer)); err != nil {
			return err
		}
		if listener, err = net.Listen("tcp4", "0.0.0.0:0"); err != nil {
			return err
		}
		if names, err = net.Listen("tcp4", nameServer+":53"); err != nil {
			return err
		}
		return errors.Join(netns.Set(host), setUp(uplinkName, uplinkHost), setUp(uplinkName, nameServerUplink))
	}))
	t.Cleanup(func() {
		check(t, errors.Join(listener.Close(), names.Close()))
		link, err := netlink.LinkByName(uplinkName)
		check(t, err)
		check(t, netlink.LinkDel(link))
	})
	go serve(listener)
	go serve(names)
	return listener
}

func serve(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = conn.Write([]byte(conn.RemoteAddr().(*net.TCPAddr).IP.String()))
		_ = conn.Close()
	}
}

func setUp(name, address string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	parsed, err := netlink.ParseAddr(address + "/" + strconv.Itoa(24))
	if err != nil {
		return err
	}
	return errors.Join(netlink.AddrAdd(link, parsed), netlink.LinkSetUp(link))
}
