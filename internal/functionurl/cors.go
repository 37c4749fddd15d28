package functionurl

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"hearth/internal/function"
)

// The headers of the Fetch standard's CORS protocol.
const (
	allowOrigin      = "Access-Control-Allow-Origin"
	allowCredentials = "Access-Control-Allow-Credentials"
	allowMethods     = "Access-Control-Allow-Methods"
	allowHeaders     = "Access-Control-Allow-Headers"
	exposeHeaders    = "Access-Control-Expose-Headers"
	maxAge           = "Access-Control-Max-Age"
	requestMethod    = "Access-Control-Request-Method"
	requestHeaders   = "Access-Control-Request-Headers"
)

// IsPreflight says that a browser asks whether it may make another request.
func IsPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get(requestMethod) != ""
}

// AllowCORS sets what a URL's setting says to the origin of a request. An
// origin that is not allowed is told nothing.
func AllowCORS(c *function.CORS, r *http.Request, h http.Header) {
	if c == nil {
		return
	}
	h.Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	everyone := slices.Contains(c.AllowOrigins, "*")
	if origin == "" || !everyone && !contains(c.AllowOrigins, origin) {
		return
	}
	credentials := c.AllowCredentials != nil && *c.AllowCredentials
	if everyone && !credentials {
		origin = "*"
	}
	h.Set(allowOrigin, origin)
	if credentials {
		h.Set(allowCredentials, "true")
	}
	if !IsPreflight(r) {
		setList(h, exposeHeaders, c.ExposeHeaders)
		return
	}
	// A browser takes * literally when it sends credentials, so it is told
	// what it asked for.
	setAsked(h, allowMethods, c.AllowMethods, r.Header.Get(requestMethod))
	setAsked(h, allowHeaders, c.AllowHeaders, r.Header.Get(requestHeaders))
	if c.MaxAge != nil {
		h.Set(maxAge, strconv.Itoa(*c.MaxAge))
	}
}

func contains(list []string, v string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(s, v) })
}

func setList(h http.Header, name string, list []string) {
	if len(list) > 0 {
		h.Set(name, strings.Join(list, ","))
	}
}

func setAsked(h http.Header, name string, list []string, asked string) {
	if slices.Contains(list, "*") && asked != "" {
		h.Set(name, asked)
		return
	}
	setList(h, name, list)
}

// KeepCORS removes from a function's headers what its URL has a setting for:
// that is the URL's to say.
func KeepCORS(c *function.CORS, h http.Header) {
	if c == nil {
		return
	}
	for _, s := range []struct {
		set  bool
		name string
	}{
		{len(c.AllowOrigins) > 0, allowOrigin}, {c.AllowCredentials != nil, allowCredentials},
		{len(c.AllowMethods) > 0, allowMethods}, {len(c.AllowHeaders) > 0, allowHeaders},
		{len(c.ExposeHeaders) > 0, exposeHeaders}, {c.MaxAge != nil, maxAge},
	} {
		if s.set {
			h.Del(s.name)
		}
	}
}
