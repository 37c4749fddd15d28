package api

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
)

const (
	// urlLabel is between a function URL's id and its region.
	urlLabel = ".lambda-url."
	// urlPath begins a function URL's path form, for clients that cannot
	// resolve its host.
	urlPath = "/_url/"
)

// urlSite is where function URLs are published:
// SCHEME://ID.lambda-url.REGION.DOMAIN:PORT/.
type urlSite struct{ scheme, domain, port, region string }

// readURLSite reads the base of function URLs: a scheme, a domain and, unless
// it is the scheme's own, a port.
func readURLSite(base, region string) (urlSite, error) {
	u, err := url.Parse(base)
	if err != nil {
		return urlSite{}, err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return urlSite{}, errors.New("want http:// or https://, a domain and perhaps a port")
	}
	return urlSite{scheme: u.Scheme, domain: strings.ToLower(u.Hostname()), port: u.Port(), region: region}, nil
}

// host is the host name of a function URL.
func (s *urlSite) host(id string) string { return id + urlLabel + s.region + "." + s.domain }

// url is a function URL.
func (s *urlSite) url(id string) string {
	u := s.scheme + "://" + s.host(id)
	if s.port != "" {
		u += ":" + s.port
	}
	return u + "/"
}

// publicPort is the port that clients see.
func (s *urlSite) publicPort() string {
	switch {
	case s.port != "":
		return s.port
	case s.scheme == "https":
		return "443"
	}
	return "80"
}

// urlPlace is what a request to a function URL says of where it goes.
type urlPlace struct {
	id string
	// path is that of the request as the function sees it, escaped.
	path string
	// prefix is what the path form has before it, empty in the host form.
	prefix string
}

// find tells requests to function URLs from those to the API: by their host,
// below any domain, or by their path.
func (s *urlSite) find(r *http.Request) (urlPlace, bool) {
	host := strings.ToLower(r.Host)
	if i := strings.Index(host, urlLabel); i > 0 {
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		// What is of another region, or has no id, is found to be nobody's.
		place := urlPlace{path: r.URL.EscapedPath()}
		if rest := host[i+len(urlLabel):]; rest == s.region || strings.HasPrefix(rest, s.region+".") {
			place.id = host[:i]
		}
		if !strings.HasPrefix(place.path, "/") { // OPTIONS *, http://host
			place.path = "/"
		}
		return place, true
	}
	if rest, ok := strings.CutPrefix(r.URL.EscapedPath(), urlPath); ok {
		id, path, _ := strings.Cut(rest, "/")
		return urlPlace{id: id, path: "/" + path, prefix: urlPath + id}, true
	}
	return urlPlace{}, false
}
