package policy

import (
	"cmp"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// A number is compared exactly if it is whole, which identifiers and sizes are.
type number struct {
	whole   int64
	isWhole bool
	float   float64
}

// parseNumber reads decimal digits with an optional sign and fraction.
func parseNumber(s string) (number, bool) {
	const longest = 40
	digits := 0
	for i := range len(s) {
		switch c := s[i]; {
		case '0' <= c && c <= '9':
			digits++
		case c == '.' && i > 0:
		case (c == '-' || c == '+') && i == 0:
		default:
			return number{}, false
		}
	}
	if digits == 0 || len(s) > longest {
		return number{}, false
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return number{}, false
	}
	n := number{float: f}
	if whole, err := strconv.ParseInt(s, 10, 64); err == nil {
		n.whole, n.isWhole = whole, true
	}
	return n, true
}

func (n number) compare(other number) int {
	if n.isWhole && other.isWhole {
		return cmp.Compare(n.whole, other.whole)
	}
	return cmp.Compare(n.float, other.float)
}

// parseTime reads the forms of https://www.w3.org/TR/NOTE-datetime and seconds
// since 1970. Four digits are a year.
func parseTime(s string) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, "2006-01-02", "2006-01-02T15:04Z07:00", "2006-01", "2006"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, true
		}
	}
	const longest = 12 // year 33658
	if len(s) > longest {
		return time.Time{}, false
	}
	seconds, err := strconv.ParseInt(s, 10, 64)
	if err != nil || seconds < 0 {
		return time.Time{}, false
	}
	return time.Unix(seconds, 0), true
}

// parsePrefix reads an address or a range. A range covers all addresses that
// have its bits, whatever the bits behind them.
func parsePrefix(s string) (netip.Prefix, bool) {
	if !strings.Contains(s, "/") {
		a, ok := parseAddr(s)
		if !ok {
			return netip.Prefix{}, false
		}
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, false
	}
	return p.Masked(), true
}

func parseAddr(s string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}
