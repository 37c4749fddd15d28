package netns_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"hearth/internal/mount"
	"hearth/internal/netns"
	"hearth/internal/osthread"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a host of the test's own, a network namespace, with an internet of
// one machine behind it. Nothing leaves this machine, and nothing of the real
// host is touched.
type world struct {
	internet vnetns.NsHandle
	dir      string
	network  *netns.Network
}

// The internet's one machine has these addresses and serves on all of them.
const (
	public   = "203.0.113.10"
	metadata = "169.254.169.254"
	private  = "10.77.0.10"
	shared   = "100.64.7.7"
	host     = "203.0.113.1"
)

// inWorld runs do on a thread whose host is a fresh world.
func inWorld(t *testing.T, do func(w *world) error) {
	t.Helper()
	dir := t.TempDir()
	err := osthread.Run(func() error {
		internet, err := vnetns.New()
		if err != nil {
			return err
		}
		defer internet.Close()
		own, err := vnetns.New() // now the thread's
		if err != nil {
			return err
		}
		defer own.Close()
		// A new namespace has it as this machine has, whoever has switched it there.
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("0"), 0o644); err != nil {
			return err
		}
		w := &world{internet: internet, dir: dir, network: netns.New("test", dir, netip.MustParseAddr(private))}
		if err := w.connect(); err != nil {
			return err
		}
		// A later life cleans up: it knows the names only.
		return errors.Join(do(w), netns.New("test", dir).Sweep())
	})
	if err != nil {
		t.Error(err)
	}
	if err := mount.UnmountBelow(dir); err != nil {
		t.Error(err)
	}
}

func (w *world) connect() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	veth := netlink.NewVeth(netlink.LinkAttrs{Name: "uplink"})
	veth.PeerName, veth.PeerNamespace = "eth0", netlink.NsFd(w.internet)
	if err := errors.Join(netlink.LinkSetUp(lo), netlink.LinkAdd(veth)); err != nil {
		return err
	}
	if err := setUp(nil, "uplink", host+"/24"); err != nil {
		return err
	}
	inside, err := netlink.NewHandleAt(w.internet)
	if err != nil {
		return err
	}
	defer inside.Close()
	addresses := []string{public + "/24", metadata + "/32", private + "/32", shared + "/32"}
	if err := setUp(inside, "eth0", addresses...); err != nil {
		return err
	}
	// The internet knows the way to the sandboxes: only rules keep it out.
	_, pool, err := net.ParseCIDR("198.18.0.0/15")
	if err != nil {
		return err
	}
	if err := inside.RouteAdd(&netlink.Route{Dst: pool, Gw: net.ParseIP(host)}); err != nil {
		return err
	}
	uplink, err := netlink.LinkByName("uplink")
	if err != nil {
		return err
	}
	for _, address := range addresses[1:] {
		_, to, err := net.ParseCIDR(address)
		if err != nil {
			return err
		}
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: uplink.Attrs().Index, Dst: to}); err != nil {
			return err
		}
	}
	return nil
}

// setUp gives an interface addresses and switches it on.
func setUp(handle *netlink.Handle, name string, addresses ...string) error {
	if handle == nil {
		handle = &netlink.Handle{}
	}
	link, err := handle.LinkByName(name)
	if err != nil {
		return err
	}
	for _, text := range addresses {
		address, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		if err := handle.AddrAdd(link, address); err != nil {
			return err
		}
	}
	return handle.LinkSetUp(link)
}

// in runs do on a thread in another namespace.
func in(ns vnetns.NsHandle, do func() error) error {
	return osthread.Run(func() error {
		if err := vnetns.Set(ns); err != nil {
			return err
		}
		return do()
	})
}

func (w *world) open(name string) (*netns.Namespace, vnetns.NsHandle, error) {
	path := filepath.Join(w.dir, name)
	ns, err := w.network.Open(path)
	if err != nil {
		return nil, -1, err
	}
	handle, err := vnetns.GetFromPath(path)
	return ns, handle, err
}

// serve answers every connection with the address that it came from.
func serve(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		fmt.Fprint(conn, conn.RemoteAddr().(*net.TCPAddr).IP)
		conn.Close()
	}
}

func listen(ns vnetns.NsHandle, address string) (net.Listener, error) {
	var listener net.Listener
	err := in(ns, func() (err error) {
		listener, err = net.Listen("tcp4", address)
		return err
	})
	if err == nil {
		go serve(listener)
	}
	return listener, err
}

// Patience with what must answer, and with what must not.
const (
	long  = 10 * time.Second
	short = 300 * time.Millisecond
)

// ask connects from a namespace and returns the answer.
func ask(from vnetns.NsHandle, address string, patience time.Duration) (answer string, err error) {
	err = in(from, func() error {
		conn, err := net.DialTimeout("tcp4", address, patience)
		if err != nil {
			return err
		}
		defer conn.Close()
		buf := make([]byte, 64)
		n, err := conn.Read(buf)
		answer = string(buf[:n])
		return err
	})
	return answer, err
}

func TestEgress(t *testing.T) {
	inWorld(t, func(w *world) error {
		here, err := vnetns.Get()
		if err != nil {
			return err
		}
		defer here.Close()
		_, first, err := w.open("first")
		if err != nil {
			return err
		}
		defer first.Close()
		_, second, err := w.open("second")
		if err != nil {
			return err
		}
		defer second.Close()
		for _, ns := range []vnetns.NsHandle{w.internet, here, second} {
			for _, address := range []string{"0.0.0.0:80", "0.0.0.0:53"} {
				listener, err := listen(ns, address)
				if err != nil {
					return err
				}
				defer listener.Close()
			}
		}
		if got, err := ask(first, public+":80", long); err != nil || got != host {
			t.Errorf("the internet: got %q, %v, want an answer to %s", got, err, host)
		}
		neighbour, gateway, err := addresses(second)
		if err != nil {
			return err
		}
		for name, address := range map[string]string{
			"the host's uplink": host, "the host's end of the pair": gateway, "another sandbox": neighbour,
			"instance metadata": metadata, "a private network": private, "a shared network": shared,
		} {
			if got, err := ask(first, address+":80", short); err == nil {
				t.Errorf("%s at %s answers %q, want it out of reach", name, address, got)
			}
		}
		if got, err := ask(first, private+":53", long); err != nil || got != host {
			t.Errorf("the name server: got %q, %v, want an answer to %s", got, err, host)
		}
		for _, address := range []string{metadata, shared, host, gateway, neighbour} {
			if got, err := ask(first, address+":53", short); err == nil {
				t.Errorf("port 53 of %s answers %q, and it is no name server", address, got)
			}
		}
		// They are out of reach by the rules, not for want of an answer.
		for _, address := range []string{metadata, private, shared} {
			if _, err := ask(here, address+":80", long); err != nil {
				t.Errorf("the host does not reach %s: %v", address, err)
			}
		}
		if got, err := ask(w.internet, neighbour+":80", short); err == nil {
			t.Errorf("the internet reaches into a sandbox: %q", got)
		}
		return nil
	})
}

// addresses returns a sandbox's own and its gateway's.
func addresses(ns vnetns.NsHandle) (own, gateway string, err error) {
	handle, err := netlink.NewHandleAt(ns)
	if err != nil {
		return "", "", err
	}
	defer handle.Close()
	link, err := handle.LinkByName("eth0")
	if err != nil {
		return "", "", err
	}
	list, err := handle.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return "", "", err
	}
	if len(list) != 1 {
		return "", "", fmt.Errorf("eth0 has the addresses %v, want one", list)
	}
	routes, err := handle.RouteList(link, netlink.FAMILY_V4)
	if err != nil {
		return "", "", err
	}
	for _, route := range routes {
		if route.Gw != nil {
			return list[0].IP.String(), route.Gw.String(), nil
		}
	}
	return "", "", fmt.Errorf("no gateway among %v", routes)
}

func TestSpoofedSourcesAreDropped(t *testing.T) {
	inWorld(t, func(w *world) error {
		_, sandbox, err := w.open("sandbox")
		if err != nil {
			return err
		}
		defer sandbox.Close()
		own, _, err := addresses(sandbox)
		if err != nil {
			return err
		}
		handle, err := netlink.NewHandleAt(sandbox)
		if err != nil {
			return err
		}
		defer handle.Close()
		const spoofed = "203.0.113.77"
		if err := setUp(handle, "eth0", spoofed+"/32"); err != nil {
			return err
		}
		var received *net.UDPConn
		err = in(w.internet, func() (err error) {
			received, err = net.ListenUDP("udp4", &net.UDPAddr{Port: 53})
			return err
		})
		if err != nil {
			return err
		}
		defer received.Close()
		// The true source last: when that has arrived, so would the other.
		for _, source := range []string{spoofed, own} {
			err := in(sandbox, func() error {
				conn, err := net.DialUDP("udp4", &net.UDPAddr{IP: net.ParseIP(source)}, &net.UDPAddr{IP: net.ParseIP(public), Port: 53})
				if err != nil {
					return err
				}
				defer conn.Close()
				_, err = conn.Write([]byte(source))
				return err
			})
			if err != nil {
				return err
			}
		}
		buf := make([]byte, 64)
		if err := received.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
		n, err := received.Read(buf)
		if got := string(buf[:n]); err != nil || got != own {
			t.Errorf("received %q, %v, want only what %s sent", got, err, own)
		}
		return nil
	})
}

func TestCloseRestoresTheHost(t *testing.T) {
	inWorld(t, func(w *world) error {
		for _, before := range []string{"0", "1"} {
			if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte(before), 0o644); err != nil {
				return err
			}
			first, handle, err := w.open("first")
			if err != nil {
				return err
			}
			handle.Close()
			second, handle, err := w.open("second")
			if err != nil {
				return err
			}
			handle.Close()
			if got := traces(t); len(got) != 3 {
				t.Errorf("two namespaces make %v, want two interfaces and a table", got)
			}
			if got := forwarding(t); got != "1" {
				t.Errorf("ip_forward with a namespace open: got %s, want 1", got)
			}
			// Close may be repeated.
			if err := errors.Join(first.Close(), first.Close(), second.Close()); err != nil {
				return err
			}
			if got := traces(t); len(got) != 0 {
				t.Errorf("left behind: %v", got)
			}
			if got := forwarding(t); got != before {
				t.Errorf("ip_forward after the last Close: got %s, want %s", got, before)
			}
		}
		return nil
	})
}

func TestSweep(t *testing.T) {
	inWorld(t, func(w *world) error {
		for _, name := range []string{"first", "second"} {
			_, handle, err := w.open(name)
			if err != nil {
				return err
			}
			handle.Close()
		}
		if err := w.network.Sweep(); err == nil {
			t.Error("Sweep with open namespaces: got no error")
		}
		// The next life knows the names only.
		if err := netns.New("test", w.dir).Sweep(); err != nil {
			return err
		}
		if got := traces(t); len(got) != 0 {
			t.Errorf("left behind: %v", got)
		}
		if got := forwarding(t); got != "0" {
			t.Errorf("ip_forward: got %s, want 0", got)
		}
		w.network = netns.New("test", w.dir)
		return nil
	})
}

func TestInstancesShareTheAddresses(t *testing.T) {
	inWorld(t, func(w *world) error {
		if err := os.Mkdir(filepath.Join(w.dir, "other"), 0o700); err != nil {
			return err
		}
		// Another Hearth's route is where our first address would be.
		first, handle, err := w.open("first")
		if err != nil {
			return err
		}
		own, _, err := addresses(handle)
		if err != nil {
			return err
		}
		if err := errors.Join(handle.Close(), first.Close()); err != nil {
			return err
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		ip := net.ParseIP(own).To4()
		taken := &net.IPNet{IP: ip.Mask(net.CIDRMask(30, 32)), Mask: net.CIDRMask(30, 32)}
		err = netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: taken, Scope: unix.RT_SCOPE_LINK})
		if err != nil {
			return err
		}
		second, handle, err := w.open("second")
		if err != nil {
			return err
		}
		defer handle.Close()
		if got, _, err := addresses(handle); err != nil || got == own {
			t.Errorf("got the address %s, %v, which is taken", got, err)
		}
		return second.Close()
	})
}

// traces lists the interfaces and tables of the instance.
func traces(t *testing.T) []string {
	t.Helper()
	var found []string
	links, err := netlink.LinkList()
	if err != nil {
		t.Error(err)
	}
	for _, link := range links {
		if name := link.Attrs().Name; strings.HasPrefix(name, "htest-") {
			found = append(found, name)
		}
	}
	conn, err := nftables.New()
	if err != nil {
		t.Error(err)
		return nil
	}
	tables, err := conn.ListTables()
	if err != nil {
		t.Error(err)
	}
	for _, table := range tables {
		found = append(found, "table "+table.Name)
	}
	return found
}

func forwarding(t *testing.T) string {
	t.Helper()
	state, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	if err != nil {
		t.Error(err)
	}
	return strings.TrimSpace(string(state))
}
