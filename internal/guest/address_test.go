package guest

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestNewAddress(t *testing.T) {
	// As `ip addr add 169.254.100.1/32 dev lo scope host` sends it: length 40,
	// type 20, flags, sequence; family 2, prefix 32, scope 254, device 1; the
	// address as IFA_LOCAL and as IFA_ADDRESS.
	const want = "28000000" + "1400" + "0506" + "01000000" + "00000000" +
		"022000fe" + "01000000" + "08000200a9fe6401" + "08000100a9fe6401"
	if got := hex.EncodeToString(newAddress(1, netip.MustParseAddr("169.254.100.1"))); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// acknowledgement is a header (length, type NLMSG_ERROR, flags, sequence,
// sender) and a code.
func acknowledgement(code string) []byte {
	b, err := hex.DecodeString("24000000" + "0200" + "0000" + "01000000" + "00000000" + code)
	if err != nil {
		panic(err)
	}
	return b
}

func TestAcknowledged(t *testing.T) {
	for _, test := range []struct {
		answer []byte
		want   error
	}{
		{acknowledgement("00000000"), nil},
		{acknowledgement("efffffff"), unix.EEXIST},
		{acknowledgement("ffffffff"), unix.EPERM},
		{acknowledgement("0000"), errNoAcknowledgement},
		{nil, errNoAcknowledgement},
		{bytes.Replace(acknowledgement("00000000"), []byte{2, 0}, []byte{3, 0}, 1), errNoAcknowledgement},
	} {
		if got := acknowledged(test.answer); !errors.Is(got, test.want) {
			t.Errorf("%x: got %v, want %v", test.answer, got, test.want)
		}
	}
}

func FuzzAcknowledged(f *testing.F) {
	f.Add(acknowledgement("efffffff"))
	f.Fuzz(func(_ *testing.T, b []byte) { _ = acknowledged(b) })
}
