package cluster

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httputil"
	"regexp"
	"strings"
	"time"

	"hearth/internal/ca"
)

// HealthPath is where load balancers ask a frontend whether it answers.
const HealthPath = "/hearth/health"

// forwarded marks requests that another node has sent on: they go no further.
const forwarded = "X-Hearth-Forwarded"

// invokePath are the paths of invokes.
var invokePath = regexp.MustCompile(`^/20[0-9]{2}-[0-9]{2}-[0-9]{2}/functions/[^/]+/(invocations|invoke-async|response-streaming-invocations)/?$`)

// isInvoke says whether a request is one that every frontend answers.
func isInvoke(r *http.Request) bool {
	return r.Method == http.MethodPost && invokePath.MatchString(r.URL.Path) || strings.Contains(r.Host, ".lambda-url.")
}

// route answers invokes here, and has all else answered by whoever leads the
// control plane.
func (n *Node) route(invokes http.Handler, inside bool) http.Handler {
	there := n.elsewhere(n.controlLeader)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sent := inside && r.Header.Get(forwarded) != ""
		r.Header.Del(forwarded) // nobody outside says so
		switch l := n.leading.Load(); {
		case r.URL.Path == HealthPath:
			w.WriteHeader(http.StatusNoContent)
		case isInvoke(r):
			invokes.ServeHTTP(w, r)
		case l != nil:
			l.handler.ServeHTTP(w, r)
		case sent:
			unavailable(w)
		default:
			there.ServeHTTP(w, r)
		}
	})
}

// errNowhere is why a request cannot be sent on.
var errNowhere = errors.New("cluster: nobody leads the control plane at the moment")

// controlLeader is where the leader of the control plane serves other nodes.
func (n *Node) controlLeader() (string, error) {
	leader := n.control.Load()
	if leader == nil {
		return "", errNowhere
	}
	node, ok := n.tracker.Node(string(leader.Value))
	if !ok {
		return "", errNowhere
	}
	return node.API, nil
}

// anyFrontend is where a frontend serves other nodes, of this zone if it lives.
func (n *Node) anyFrontend() (string, error) {
	for _, f := range n.tracker.Nodes(ca.Frontend, n.id.Zone) {
		return f.API, nil
	}
	return "", errNowhere
}

// elsewhere has requests answered by another node.
func (n *Node) elsewhere(where func() (string, error)) http.Handler {
	dialer := &net.Dialer{Timeout: 2 * time.Second}
	transport := &http.Transport{
		TLSClientConfig: n.node.Client(ca.Frontend), DialContext: dialer.DialContext, TLSHandshakeTimeout: 3 * time.Second,
		MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute, DisableCompression: true,
	}
	n.stopLast(transport.CloseIdleConnections)
	type key struct{}
	proxy := &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1,
		Rewrite: func(p *httputil.ProxyRequest) {
			p.Out.URL.Scheme, p.Out.URL.Host = "https", p.In.Context().Value(key{}).(string)
			p.Out.Host = p.In.Host // it is signed
			p.Out.Header.Set(forwarded, n.id.Name)
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			n.cfg.Log.Warn("a request cannot be sent on", "error", err)
			unavailable(w)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		address, err := where()
		if err != nil {
			n.cfg.Log.Warn("a request cannot be sent on", "error", err)
			unavailable(w)
			return
		}
		proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, address)))
	})
}

// unavailable answers in a way that AWS's clients try again after.
func unavailable(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Amzn-Errortype", "ServiceUnavailableException")
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = w.Write([]byte(`{"Type":"Service","Message":"Nobody leads the control plane at the moment. Retry."}`)) // the client may be gone
}

func portOf(address string) string {
	_, port, _ := net.SplitHostPort(address)
	return port
}
