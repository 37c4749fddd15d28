package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"syscall"
)

func (m *machine) listenAddress(address, dataDir string) Check {
	const name = "listen address"
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return bad(name, fmt.Sprintf("%q is not HOST:PORT", address), "hearth up --listen 127.0.0.1:4566")
	}
	err = m.listen(address)
	switch {
	case err == nil:
		return good(name, address+" is free")
	case errors.Is(err, syscall.EADDRINUSE):
		if url, err := m.endpoint(dataDir); err == nil && strings.HasSuffix(url, "//"+address) {
			return good(name, address+", served by the hearth of "+dataDir)
		}
		return bad(name, address+" is in use by another program; stop it, or take another port with --listen",
			"ss --listening --tcp --processes 'sport = :"+port+"'")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return bad(name, address+" is no address of this machine", "hearth up --listen 127.0.0.1:"+port)
	case errors.Is(err, syscall.EACCES):
		return bad(name, "only root may listen on "+address, "sudo hearth up")
	}
	return bad(name, err.Error(), "ip address")
}

// firewall is what keeps functions that may reach the outside world away from
// the host and from each other.
func (m *machine) firewall() Check {
	err := m.tables()
	switch {
	case err == nil:
		return good("firewall", "nf_tables")
	case errors.Is(err, fs.ErrPermission):
		return bad("firewall", "not allowed to look at nf_tables: "+err.Error(), "sudo hearth doctor")
	}
	return bad("firewall", "nf_tables does not work, and functions with egress must not run without: "+err.Error(), "modprobe nf_tables")
}
