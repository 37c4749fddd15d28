package outbound

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestControl(t *testing.T) {
	public, err := NewGuard(nil)
	if err != nil {
		t.Fatal(err)
	}
	allowing, err := NewGuard([]string{"10.1.0.0/16", "fd00:1::/32"})
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]struct{ public, private, allowing bool }{
		"203.0.113.1:443":        {true, true, true},
		"[2001:db8::1]:443":      {true, true, true},
		"10.0.0.7:8443":          {false, true, false},
		"10.1.0.7:8443":          {false, true, true},
		"[::ffff:10.1.0.7]:443":  {false, true, true},
		"172.16.0.1:443":         {false, true, false},
		"192.168.1.1:443":        {false, true, false},
		"100.100.100.200:80":     {false, true, false},
		"198.18.0.1:443":         {false, true, false},
		"[fd00:ec2::254]:80":     {false, true, false},
		"[fd00:1::1]:443":        {false, true, true},
		"127.0.0.1:443":          {},
		"127.8.8.8:443":          {},
		"[::1]:443":              {},
		"169.254.169.254:443":    {},
		"[fe80::1]:443":          {},
		"[fe80::1%eth0]:443":     {},
		"[fec0::1]:443":          {},
		"0.0.0.0:443":            {},
		"0.1.2.3:443":            {},
		"[::]:443":               {},
		"[::127.0.0.1]:443":      {},
		"[::ffff:127.0.0.1]:443": {},
		"[64:ff9b::7f00:1]:443":  {},
		"[2002:7f00:1::1]:443":   {},
		"[2001:0:1::1]:443":      {},
		"224.0.0.1:443":          {},
		"[ff02::1]:443":          {},
		"255.255.255.255:443":    {},
		"240.0.0.1:443":          {},
		"nonsense":               {},
		"registry.example:443":   {},
	} {
		for name, g := range map[string]struct {
			*Guard
			want bool
		}{"public": {public, want.public}, "private": {PrivateAllowed(), want.private}, "allowing": {allowing, want.allowing}} {
			err := g.Control("tcp", address, nil)
			if (err == nil) != g.want || err != nil && !errors.Is(err, ErrRefused) {
				t.Errorf("%s: %s: %v, want allowed = %v", name, address, err, g.want)
			}
		}
	}
}

func TestAllowedHosts(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	address := server.Listener.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	for _, c := range []struct {
		allow       []string
		url         string
		refusedWith error
	}{
		{nil, server.URL, ErrPlain},
		{[]string{address}, server.URL, ErrPlain},
		{[]string{"http://" + address}, server.URL, nil},
		{[]string{"http://127.0.0.1"}, server.URL, nil},
		{[]string{"http://127.0.0.1:1"}, server.URL, ErrPlain},
		{[]string{"http://LOCALHOST"}, "http://localhost:" + port, nil},
		{[]string{"http://localhost"}, server.URL, ErrPlain}, // the name, not its address
		{nil, "https://" + address, ErrRefused},
		{[]string{"127.0.0.2/32"}, "https://" + address, ErrRefused},
		{nil, "https://localhost:" + port, ErrRefused},
		{[]string{"localhost:1"}, "https://localhost:" + port, ErrRefused},
		{nil, "ftp://" + address, ErrPlain},
	} {
		g, err := NewGuard(c.allow)
		if err != nil {
			t.Fatal(err)
		}
		transport := g.Transport()
		req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, c.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := g.Secure(transport).RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		transport.CloseIdleConnections()
		if !errors.Is(err, c.refusedWith) || c.refusedWith == nil && err != nil {
			t.Errorf("allow %v: %s: %v, want %v", c.allow, c.url, err, c.refusedWith)
		}
	}
}

func TestBadAllow(t *testing.T) {
	for _, entry := range []string{"", "http://", "*.example.com", "a/b", "user@host", "http://10.0.0.0/8", "a b", "host:port:x"} {
		if _, err := NewGuard([]string{entry, "fine.example"}); err == nil || !strings.Contains(err.Error(), "want HOST") {
			t.Errorf("%q: %v", entry, err)
		}
	}
}
