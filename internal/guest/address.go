package guest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// addLoopback gives the loopback device an IPv4 address, by netlink: the one
// message that this takes is written by hand. That the device has the address
// already is no error.
func addLoopback(addr netip.Addr) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("make netlink socket: %w", err)
	}
	defer unix.Close(fd)
	index, err := loopbackIndex()
	if err != nil {
		return err
	}
	if err := unix.Sendto(fd, newAddress(index, addr), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("ask for address %s: %w", addr, err)
	}
	answer := make([]byte, 4<<10)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return fmt.Errorf("ask for address %s: %w", addr, err)
	}
	if err := acknowledged(answer[:n]); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("give the loopback device address %s: %w", addr, err)
	}
	return nil
}

func loopbackIndex() (uint32, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("make socket: %w", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return 0, err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, lo); err != nil {
		return 0, fmt.Errorf("find the loopback device: %w", err)
	}
	return lo.Uint32(), nil
}

// newAddress is the message RTM_NEWADDR for one address, a network of its own:
// its neighbours stay as unreachable as they are.
func newAddress(index uint32, addr netip.Addr) []byte {
	ip := addr.As4()
	var b []byte
	b = binary.NativeEndian.AppendUint32(b, 0) // length, below
	b = binary.NativeEndian.AppendUint16(b, unix.RTM_NEWADDR)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_ACK|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	b = binary.NativeEndian.AppendUint32(b, 1) // sequence
	b = binary.NativeEndian.AppendUint32(b, 0) // sender: the kernel fills it in
	b = append(b, unix.AF_INET, 8*byte(len(ip)), 0, unix.RT_SCOPE_HOST)
	b = binary.NativeEndian.AppendUint32(b, index)
	for _, attribute := range []uint16{unix.IFA_LOCAL, unix.IFA_ADDRESS} {
		b = binary.NativeEndian.AppendUint16(b, unix.SizeofRtAttr+uint16(len(ip)))
		b = binary.NativeEndian.AppendUint16(b, attribute)
		b = append(b, ip[:]...)
	}
	binary.NativeEndian.PutUint32(b, uint32(len(b))) //nolint:gosec // it is short
	return b
}

var errNoAcknowledgement = errors.New("netlink answered with something else than an acknowledgement")

// acknowledged reads the kernel's answer.
func acknowledged(b []byte) error {
	if len(b) < unix.SizeofNlMsghdr+4 || binary.NativeEndian.Uint16(b[4:]) != unix.NLMSG_ERROR {
		return errNoAcknowledgement
	}
	if code := int32(binary.NativeEndian.Uint32(b[unix.SizeofNlMsghdr:])); code != 0 { //nolint:gosec // that is what it is
		return unix.Errno(-code) //nolint:gosec // positive
	}
	return nil
}
