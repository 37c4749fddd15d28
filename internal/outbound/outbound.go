// Package outbound guards connections to hosts that users may name: image
// registries, identity providers. Whoever names one must not reach by it what
// only this machine can: its own services, its neighbours, a cloud's metadata.
//
// Invariants:
//
//  1. The address that is checked is the address that is dialled: names are
//     looked up first, and each of their addresses is checked when the kernel
//     is about to connect. A name whose addresses change cannot get around it.
//  2. What is not a public unicast address is refused, unless the operator
//     allowed the host by name, or the address.
//  3. Connections in the clear are made only to hosts that the operator allowed
//     with http:// before their names.
//
// Proxies of the environment are not used: behind one, no address can be
// checked here.
package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

var (
	// ErrRefused says that a connection was not made because of its address.
	ErrRefused = errors.New("the address is not a public one")
	// ErrPlain says that a connection was not made because it would be in the clear.
	ErrPlain = errors.New("plain HTTP is not spoken with this host")
)

const (
	dialTimeout      = 10 * time.Second
	handshakeTimeout = 10 * time.Second
	idleTimeout      = 30 * time.Second
	maxHeader        = 64 << 10
)

// Guard decides what may be dialled. The zero value allows public addresses
// only.
type Guard struct {
	private bool
	hosts   map[string]bool // HOST or HOST:PORT, lower-case
	plain   map[string]bool // of them, those with http://
	nets    []netip.Prefix
}

// NewGuard makes a guard that allows, beside public addresses, what is listed:
// HOST, HOST:PORT, an address, or a network in CIDR form. An http:// before a
// host allows it in the clear, too.
func NewGuard(allow []string) (*Guard, error) {
	g := &Guard{hosts: map[string]bool{}, plain: map[string]bool{}}
	var problems []error
	for _, entry := range allow {
		if err := g.allow(entry); err != nil {
			problems = append(problems, err)
		}
	}
	return g, errors.Join(problems...)
}

// PrivateAllowed makes a guard that allows private networks, too, but not this
// host and what is next to it.
func PrivateAllowed() *Guard { return &Guard{private: true} }

func (g *Guard) allow(entry string) error {
	rest, plain := strings.CutPrefix(strings.ToLower(strings.TrimSpace(entry)), "http://")
	rest = strings.TrimPrefix(rest, "https://")
	if network, err := netip.ParsePrefix(rest); err == nil && !plain {
		g.nets = append(g.nets, network.Masked())
		return nil
	}
	u, err := url.Parse("//" + rest)
	if err != nil || u.Host != rest || u.Hostname() == "" || strings.ContainsAny(rest, "*, ") {
		return fmt.Errorf("allowed host %.100q: want HOST, HOST:PORT, http://HOST:PORT or a network like 10.0.0.0/8", entry)
	}
	g.hosts[rest] = true
	if plain {
		g.plain[rest] = true
	}
	return nil
}

// Plain says whether a host, HOST or HOST:PORT, may be spoken with in the clear.
func (g *Guard) Plain(host string) bool { return named(g.plain, host, "80") }

// named says whether a set holds a host. An entry without a port is for all.
func named(set map[string]bool, host, port string) bool {
	host = strings.ToLower(host)
	name := host
	if h, p, err := net.SplitHostPort(host); err == nil {
		name, port = h, p
	}
	name = strings.Trim(name, "[]")
	if strings.Contains(name, ":") && set["["+name+"]"] {
		return true
	}
	return set[name] || set[net.JoinHostPort(name, port)]
}

// DialContext dials as http.Transport asks.
func (g *Guard) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	if !named(g.hosts, address, "443") {
		d.Control = g.Control
	}
	return d.DialContext(ctx, network, address)
}

// Control is that of a net.Dialer: it sees the address after names have been
// looked up, once for each address that is tried.
func (g *Guard) Control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %.100q", ErrRefused, address)
	}
	return g.Check(at.Addr())
}

// Check says whether an address may be dialled.
func (g *Guard) Check(ip netip.Addr) error {
	ip = ip.Unmap().WithZone("")
	for _, network := range g.nets {
		if network.Contains(ip) {
			return nil
		}
	}
	if !ip.IsValid() || !ip.IsGlobalUnicast() || within(ip, next) {
		return ErrRefused
	}
	if !g.private && (ip.IsPrivate() || within(ip, inner)) {
		return ErrRefused
	}
	return nil
}

func within(ip netip.Addr, networks []netip.Prefix) bool {
	for _, network := range networks {
		if network.Contains(ip) {
			return true
		}
	}
	return false
}

// From the IANA registries of special-purpose addresses. IsGlobalUnicast
// refuses loopback, link-local, multicast, broadcast and unspecified ones.
var (
	// next is what is never anyone's public address, and may lead to this
	// host: "this network", reserved ones, and those that hold an IPv4 address
	// which a translator unwraps.
	next = []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("240.0.0.0/4"),
		netip.MustParsePrefix("::/96"), netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"),
		netip.MustParsePrefix("2001::/32"), netip.MustParsePrefix("2002::/16"), netip.MustParsePrefix("fec0::/10"),
	}
	// inner is what is private beside IsPrivate's: carriers' networks,
	// protocol assignments and benchmarks.
	inner = []netip.Prefix{
		netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
	}
)

// Transport is an http.Transport through the guard, which its caller may
// adjust before its first use.
func (g *Guard) Transport() *http.Transport {
	return &http.Transport{
		DialContext:            g.DialContext,
		TLSHandshakeTimeout:    handshakeTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeader,
		ForceAttemptHTTP2:      true,
	}
}

// Secure wraps a transport so that requests in the clear fail unless the
// guard allows their host; redirects pass through it as well.
func (g *Guard) Secure(t http.RoundTripper) http.RoundTripper { return secure{g, t} }

type secure struct {
	guard *Guard
	next  http.RoundTripper
}

func (s secure) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && (r.URL.Scheme != "http" || !s.guard.Plain(r.URL.Host)) {
		if r.Body != nil {
			_ = r.Body.Close() // a RoundTripper closes it; nothing was read
		}
		return nil, ErrPlain
	}
	return s.next.RoundTrip(r)
}
