package netns

import (
	"bufio"
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
)

// The host's lists of name servers, in the order of preference: where a stub
// resolver runs on the host the first names that, and the second those that it
// asks.
const (
	resolvConf = "/etc/resolv.conf"
	stubConf   = "/run/systemd/resolve/resolv.conf"
)

// maxResolvers is how many name servers the C library looks at.
const maxResolvers = 3

// HostResolvers returns the host's name servers that a sandbox can ask: those
// with an IPv4 address outside the host. There may be none.
func HostResolvers() ([]netip.Addr, error) {
	for _, path := range []string{resolvConf, stubConf} {
		text, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("netns: name servers: %w", err)
		}
		if found := parseResolvers(text); len(found) > 0 {
			return found, nil
		}
	}
	return nil, nil
}

func parseResolvers(text []byte) []netip.Addr {
	var found []netip.Addr
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan() && len(found) < maxResolvers; {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		address, err := netip.ParseAddr(fields[1])
		if err != nil || !address.Is4() || address.IsLoopback() || address.IsUnspecified() || slices.Contains(found, address) {
			continue
		}
		found = append(found, address)
	}
	return found
}
