package cluster

import "testing"

func TestGuard(t *testing.T) {
	for address, allowed := range map[string]bool{
		"192.0.2.1:443": true, "10.0.0.7:8443": true, "[2001:db8::1]:443": true,
		"127.0.0.1:443": false, "[::1]:443": false, "169.254.169.254:443": false, "[fe80::1]:443": false,
		"0.0.0.0:443": false, "[::ffff:127.0.0.1]:443": false, "224.0.0.1:443": false, "nonsense": false,
	} {
		if err := guard("tcp", address, nil); (err == nil) != allowed {
			t.Errorf("%s: %v", address, err)
		}
	}
}
