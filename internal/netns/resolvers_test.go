package netns

import (
	"fmt"
	"testing"
)

func TestParseResolvers(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "[]",
		"nameserver 10.0.0.2\n":  "[10.0.0.2]",
		"nameserver\t192.0.2.1 ": "[192.0.2.1]",
		"# nameserver 192.0.2.1\nsearch example.org\noptions edns0\nnameserver 192.0.2.2": "[192.0.2.2]",
		"nameserver 127.0.0.53\n": "[]",
		"nameserver ::1\nnameserver fe80::1%eth0\nnameserver 2001:db8::1\nnameserver x\nnameserver 0.0.0.0":            "[]",
		"nameserver 192.0.2.1\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4": "[192.0.2.1 192.0.2.2 192.0.2.3]",
	} {
		if got := fmt.Sprint(parseResolvers([]byte(text))); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}
