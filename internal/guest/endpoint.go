package guest

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxRelays bounds the function's connections to its endpoint. Who opens
	// more waits: they stay in the listener's backlog.
	maxRelays = 32
	// relayBuffer is read at a time, in each direction. What is read is
	// written before more is read: nothing else is held.
	relayBuffer = 16 << 10
	// linger is how long a client may go on sending when the worker has hung
	// up: a connection closed on unread bytes would lose the answer.
	linger = time.Second
)

// endpoint is where the function reaches Hearth's API: each connection to it
// is carried to the worker on a connection of its own, on the socket that the
// control connection was made on before the function was there. The bytes are
// not looked at. So the worker's kernel buffers are the only ones, who does
// not read holds up nobody but itself, and an invoke does not meet any of it.
type endpoint struct {
	fd     int // listens
	poller *poller
	watch  *watch // of fd: a connection waits, or a relay has ended
	worker string // the path of its socket
	relays atomic.Int32
}

// startEndpoint listens, and relays from then on; not at all without an
// address.
func startEndpoint(p *poller, address, worker string) error {
	if address == "" {
		return nil
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("listen on %q: not an address and port", address)
	}
	if !at.Addr().IsLoopback() {
		if err := addLoopback(at.Addr()); err != nil {
			return err
		}
	}
	fd, err := listenTCP(address)
	if err != nil {
		return err
	}
	w, err := p.add(fd)
	if err != nil {
		return errors.Join(err, unix.Close(fd))
	}
	e := &endpoint{fd: fd, poller: p, watch: w, worker: worker}
	go e.serve()
	return nil
}

// serve never returns: the listener lives as long as the sandbox.
func (e *endpoint) serve() {
	for range e.watch.ready {
		for e.relays.Load() < maxRelays {
			fd, err := acceptFD(e.fd)
			if errors.Is(err, unix.ECONNABORTED) {
				continue
			}
			if err != nil {
				break // no more; or no descriptors, until a relay ends
			}
			e.relays.Add(1)
			go e.relay(fd)
		}
	}
}

// relay carries one connection. Whatever goes wrong is, to the client, the end
// of its connection.
func (e *endpoint) relay(fd int) {
	defer func() {
		e.relays.Add(-1)
		e.watch.notify() // one may be waiting
	}()
	client, err := newRelaySock(e.poller, fd)
	if err != nil {
		return
	}
	defer client.free()
	done := e.poller.busy()
	fd, err = connectUnix(e.worker)
	done()
	if err != nil {
		return
	}
	worker, err := newRelaySock(e.poller, fd)
	if err != nil {
		return
	}
	defer worker.free()

	var sending sync.WaitGroup
	sending.Go(func() { send(worker, client) })
	if carry(client, worker) != nil { // the client takes no more
		_ = client.Close()
		_ = worker.Close()
	}
	client.closeWrite()
	timer := time.AfterFunc(linger, func() { _ = client.Close() })
	defer timer.Stop()
	sending.Wait()
}

// send carries what the client says until it has said all, and drops what the
// worker does not want to hear.
func send(worker, client *sock) {
	if carry(worker, client) != nil {
		_, _ = io.Copy(io.Discard, client) // until the client or linger ends it
	}
	worker.closeWrite()
}

// carry copies until from ends, in whatever way; an error is of to.
func carry(to, from *sock) error {
	buf := make([]byte, relayBuffer)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return nil //nolint:nilerr // an end is an end
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return err
		}
	}
}
