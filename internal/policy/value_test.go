package policy

import (
	"testing"
	"time"
)

func TestNumber(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"1", "1.0", 0}, {"-1", "+1", -1}, {"0.1", "0.10", 0}, {"10", "9", 1},
		{"9007199254740993", "9007199254740992", 1}, // a float64 cannot tell them apart
		{"9223372036854775808", "9223372036854775807.5", 0},
	} {
		a, aOK := parseNumber(tt.a)
		b, bOK := parseNumber(tt.b)
		if !aOK || !bOK || a.compare(b) != tt.want {
			t.Errorf("%s with %s: %d, want %d", tt.a, tt.b, a.compare(b), tt.want)
		}
	}
	for _, s := range []string{"", "-", ".", ".5", "1e3", "0x1", "NaN", "Inf", "1_000", "1.2.3", " 1", "1-", "00000000000000000000000000000000000000001"} {
		if n, ok := parseNumber(s); ok {
			t.Errorf("%q is read as %+v", s, n)
		}
	}
}

func TestTime(t *testing.T) {
	for s, want := range map[string]string{
		"2026": "2026-01-01T00:00:00Z", "2026-03": "2026-03-01T00:00:00Z", "2026-03-04": "2026-03-04T00:00:00Z",
		"2026-03-04T05:06Z": "2026-03-04T05:06:00Z", "2026-03-04T05:06:07.5+01:00": "2026-03-04T04:06:07.5Z", "1780000000": "2026-05-28T20:26:40Z",
	} {
		if got, ok := parseTime(s); !ok || got.UTC().Format(time.RFC3339Nano) != want {
			t.Errorf("%s: %s %v, want %s", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "now", "-1", "2026-13", "2026-01-01T00:00:00", "1780000000000000"} {
		if got, ok := parseTime(s); ok {
			t.Errorf("%q is read as %s", s, got)
		}
	}
}

func TestPrefix(t *testing.T) {
	for s, want := range map[string]string{
		"10.0.0.1": "10.0.0.1/32", "10.1.2.3/8": "10.0.0.0/8", "2001:db8::1": "2001:db8::1/128", "::ffff:10.0.0.1": "10.0.0.1/32", "0.0.0.0/0": "0.0.0.0/0",
	} {
		if got, ok := parsePrefix(s); !ok || got.String() != want {
			t.Errorf("%s: %s %v, want %s", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "10.0.0", "10.0.0.0/33", "fe80::1%eth0", "::ffff:10.0.0.0/104", "10.0.0.0/", "010.0.0.1"} {
		if got, ok := parsePrefix(s); ok {
			t.Errorf("%q is read as %s", s, got)
		}
	}
}
