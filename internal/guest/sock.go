package guest

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// sock is a connected socket that a poller watches, instead of Go's.
//
// One goroutine, its owner, reads, and frees the descriptor in the end.
// Others may write and close.
type sock struct {
	fd     int
	poller *poller
	watch  *watch
	empty  bool // as of the last read

	writeMu sync.Mutex // held while writing
	endMu   sync.Mutex // guards freed
	freed   bool
}

// newSock takes over a connected socket that does not block.
func newSock(p *poller, fd int) (*sock, error) { return watchedSock(p, fd, p.add) }

// newRelaySock is newSock for one whose writes wait for the poller, not in a
// thread of their own.
func newRelaySock(p *poller, fd int) (*sock, error) { return watchedSock(p, fd, p.addBoth) }

func watchedSock(p *poller, fd int, add func(fd int) (*watch, error)) (*sock, error) {
	w, err := add(fd)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &sock{fd: fd, poller: p, watch: w}, nil
}

// Read implements io.Reader.
func (s *sock) Read(b []byte) (int, error) {
	for {
		if s.empty && !s.watch.ended.Load() {
			<-s.watch.ready
		}
		n, err := rawRead(s.fd, b)
		switch {
		case errors.Is(err, unix.EAGAIN):
			s.empty = true
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, err
		case n == 0 && len(b) > 0:
			return 0, io.EOF
		default:
			s.empty = n < len(b)
			return n, nil
		}
	}
}

// Write implements io.Writer: it blocks until the peer has taken b.
func (s *sock) Write(b []byte) (sent int, err error) {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	for {
		n, err := s.sendLocked(b[sent:])
		if sent += n; err != nil || sent == len(b) {
			return sent, err
		}
		if s.watch.room != nil {
			<-s.watch.room
			continue
		}
		done := s.poller.busy()
		_, err = unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}, -1) //nolint:gosec // descriptors are small
		done()
		if err != nil && !errors.Is(err, unix.EINTR) {
			return sent, err
		}
	}
}

// tryWrite writes what the peer takes without a wait.
func (s *sock) tryWrite(b []byte) (int, error) {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	return s.sendLocked(b)
}

func (s *sock) sendLocked(b []byte) (sent int, err error) {
	for sent < len(b) {
		if s.freed { // only set with writeMu held
			return sent, unix.EPIPE
		}
		n, err := rawSend(s.fd, b[sent:])
		switch {
		case errors.Is(err, unix.EAGAIN):
			return sent, nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return sent, err
		}
		sent += n
	}
	return sent, nil
}

// Close ends the connection: reads and writes under way return.
func (s *sock) Close() error {
	s.endMu.Lock()
	defer s.endMu.Unlock()
	if s.freed {
		return nil
	}
	err := unix.Shutdown(s.fd, unix.SHUT_RDWR)
	if s.watch.room != nil {
		s.watch.notifyRoom() // the write finds out
	}
	return err
}

// closeWrite tells the peer that no more comes. The owner, or a writer that
// the owner waits for, calls it.
func (s *sock) closeWrite() { _ = unix.Shutdown(s.fd, unix.SHUT_WR) }

// free closes the descriptor. It is its owner's last use of the sock.
func (s *sock) free() {
	_ = s.Close() // ends a write under way
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	s.endMu.Lock()
	defer s.endMu.Unlock()
	s.freed = true
	s.poller.remove(s.fd)
	_ = unix.Close(s.fd) // whatever was to be delivered was
}

// dialUnix connects to the Unix socket of that path.
func dialUnix(p *poller, path string) (*sock, error) {
	fd, err := connectUnix(path)
	if err != nil {
		return nil, err
	}
	return newSock(p, fd)
}

func connectUnix(path string) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("make socket: %w", err)
	}
	if err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return -1, errors.Join(fmt.Errorf("connect to %s: %w", path, err), unix.Close(fd))
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return -1, errors.Join(fmt.Errorf("make socket: %w", err), unix.Close(fd))
	}
	return fd, nil
}

// listenTCP listens on an IPv4 address and port.
func listenTCP(address string) (fd int, err error) {
	addr, err := netip.ParseAddrPort(address)
	if err != nil || !addr.Addr().Is4() {
		return -1, fmt.Errorf("listen on %q: not an IPv4 address and port", address)
	}
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("make socket: %w", err)
	}
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()})
	}
	if err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		return -1, errors.Join(fmt.Errorf("listen on %s: %w", address, err), unix.Close(fd))
	}
	return fd, nil
}

// backlog is how many connections may wait to be accepted.
const backlog = 64

// acceptTCP accepts a connection that waits, or fails with EAGAIN.
func acceptTCP(p *poller, listener int) (*sock, error) {
	fd, err := acceptFD(listener)
	if err != nil {
		return nil, err
	}
	return newSock(p, fd)
}

func acceptFD(listener int) (fd int, err error) {
	fd, _, err = unix.Accept4(listener, unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK)
	if err != nil {
		return -1, fmt.Errorf("accept: %w", err)
	}
	// An answer is one write: nothing would be gained by delaying it.
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return -1, errors.Join(fmt.Errorf("set TCP_NODELAY: %w", err), unix.Close(fd))
	}
	return fd, nil
}
