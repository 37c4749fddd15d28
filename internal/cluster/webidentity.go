package cluster

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"hearth/internal/iam"
	"hearth/internal/webidentity"
)

// providerTimeout bounds one request to an identity provider.
const providerTimeout = 10 * time.Second

var (
	errRedirect = errors.New("identity providers must answer at their own address: redirects are not followed")
	errOwnHost  = errors.New("this host and link-local addresses are not asked for an identity provider's keys")
)

// webTokens verifies tokens of identity providers, if Hearth is to ask them.
func (h *Hearth) webTokens() (iam.WebTokens, error) {
	if !h.cfg.WebIdentity {
		return nil, nil
	}
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: providerTimeout, Control: guard}).DialContext,
		TLSHandshakeTimeout: providerTimeout, ResponseHeaderTimeout: providerTimeout,
		MaxConnsPerHost: 2, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: true,
	}
	h.stopLast(transport.CloseIdleConnections)
	return webidentity.New(webidentity.Config{Client: &http.Client{
		Transport: transport, Timeout: providerTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect },
	}})
}

// guard refuses to dial this host and what is next to it: whoever may name an
// identity provider must not reach by it what only this host can. It sees the
// address after names have been looked up.
func guard(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("dial %.100q: %w", address, err)
	}
	ip := at.Addr().Unmap()
	if ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.IsMulticast() {
		return errOwnHost
	}
	return nil
}
