package cluster

import (
	"errors"
	"net/http"
	"time"

	"hearth/internal/iam"
	"hearth/internal/outbound"
	"hearth/internal/webidentity"
)

// providerTimeout bounds one request to an identity provider.
const providerTimeout = 10 * time.Second

var errRedirect = errors.New("identity providers must answer at their own address: redirects are not followed")

// webTokens verifies tokens of identity providers, if Hearth is to ask them.
func (h *Hearth) webTokens() (iam.WebTokens, error) {
	if !h.cfg.WebIdentity {
		return nil, nil
	}
	// Providers on private networks are asked, this host and what is next to it
	// are not.
	transport := outbound.PrivateAllowed().Transport()
	transport.ResponseHeaderTimeout, transport.MaxConnsPerHost = providerTimeout, 2
	h.stopLast(transport.CloseIdleConnections)
	return webidentity.New(webidentity.Config{Client: &http.Client{
		Transport: transport, Timeout: providerTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return errRedirect },
	}})
}
