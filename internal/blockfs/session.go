package blockfs

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// accept serves clients until the listener is closed.
func (s *Server) accept(listener *net.UnixListener) {
	for {
		conn, err := listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of descriptors or memory: who waits does so longer.
			s.cfg.Log.Error("client not accepted", "error", err)
			select {
			case <-time.After(100 * time.Millisecond):
				continue
			case <-s.ctx.Done():
				return
			}
		}
		select {
		case s.slots <- struct{}{}:
		default:
			_ = conn.Close() // more clients than there are Hearths
			continue
		}
		s.wg.Go(func() {
			defer func() { <-s.slots }()
			defer conn.Close()
			stop := context.AfterFunc(s.ctx, func() { _ = conn.Close() })
			defer stop()
			s.serve(conn)
		})
	}
}

// serve serves one client until it hangs up or breaks the protocol.
func (s *Server) serve(conn *net.UnixConn) {
	if peer, err := peerOf(conn); err != nil || int(peer.Uid) != os.Geteuid() {
		s.cfg.Log.Warn("client refused: it runs as another user")
		return
	}
	c := &session{server: s, conn: conn, calls: make(chan struct{}, maxCalls)}
	if err := c.greet(); err != nil {
		s.cfg.Log.Debug("client has not said hello", "error", err)
		return
	}
	if err := c.serve(); err != nil {
		s.cfg.Log.Debug("client hung up on", "error", err)
	}
}

// peerOf says who is at the other end of a connection.
func peerOf(conn *net.UnixConn) (*unix.Ucred, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) { peer, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return peer, errors.Join(err, credErr)
}

// session is one client.
type session struct {
	server *Server
	conn   net.Conn
	calls  chan struct{}
	wg     sync.WaitGroup
	// old says that the client speaks another version of the protocol.
	old bool

	write sync.Mutex
}

func (c *session) greet() error {
	if err := c.conn.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return err
	}
	var theirs hello
	if err := readFrame(c.conn, maxHello, &theirs); err != nil {
		return err
	}
	c.old = theirs.Version != protocolVersion
	ours := hello{Version: protocolVersion, Build: c.server.cfg.Build, Instance: c.server.instance, PID: os.Getpid()}
	if err := writeFrame(c.conn, maxHello, &ours); err != nil {
		return err
	}
	return c.conn.SetDeadline(time.Time{})
}

// maxHello bounds the first frame, which comes from whoever has connected.
const maxHello = 4 << 10

func (c *session) serve() error {
	// Calls that are under way when the client goes are finished: what they
	// open belongs to its owner, not to the connection.
	defer c.wg.Wait()
	r := bufio.NewReader(c.conn)
	for {
		var q request
		if err := readFrame(r, maxRequest, &q); err != nil {
			return err
		}
		c.calls <- struct{}{}
		c.wg.Go(func() {
			defer func() { <-c.calls }()
			result, err := c.call(&q)
			if errors.Is(err, errEnding) {
				_ = c.conn.Close() // the client turns to the next server
				return
			}
			a := response{ID: q.ID, Result: result}
			if err != nil {
				a = response{ID: q.ID, Error: toWire(err)}
			}
			c.answer(&a)
			if q.Op == opShutdown && err == nil {
				c.server.finish()
			}
		})
	}
}

func (c *session) answer(a *response) {
	c.write.Lock()
	defer c.write.Unlock()
	err := c.conn.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil {
		err = writeFrame(c.conn, maxResponse, a)
	}
	if errors.Is(err, errFrame) {
		err = writeFrame(c.conn, maxResponse, &response{ID: a.ID, Error: toWire(err)})
	}
	if err != nil {
		_ = c.conn.Close() // and with it the session
	}
}

// call does what a request asks for.
func (c *session) call(q *request) (json.RawMessage, error) {
	s := c.server
	if c.old && q.Op != opDrop && q.Op != opRetire {
		return nil, fmt.Errorf("%w: %q is not for clients of another version; this is version %d", ErrInvalid, q.Op, protocolVersion)
	}
	switch q.Op {
	case opOpen:
		return with(q, func(a *openArgs) (any, error) { return s.shelf.open(s.ctx, a) })
	case opRelease:
		return with(q, func(a *releaseArgs) (any, error) { return struct{}{}, s.shelf.release(a.Lease) })
	case opDrop:
		return with(q, func(a *dropArgs) (any, error) { return dropped{s.shelf.drop(a)}, nil })
	case opList:
		return encode(s.shelf.list()), nil
	case opStats:
		return with(q, func(a *volumeArgs) (any, error) {
			v, err := s.shelf.named(a.Volume)
			if err != nil {
				return nil, err
			}
			return v.stats(), nil
		})
	case opCounters:
		return encode(s.cfg.Counters()), nil
	case opPrefetch:
		return with(q, func(a *prefetchArgs) (any, error) {
			n, err := s.shelf.prefetch(a)
			return queued{n}, err
		})
	case opRetire:
		s.Retire()
		return nil, nil
	case opShutdown:
		return with(q, func(a *shutdownArgs) (any, error) {
			if !a.Force && !s.shelf.closeIfEmpty() {
				return nil, ErrBusy
			}
			return struct{}{}, nil
		})
	}
	return nil, fmt.Errorf("%w: unknown operation", ErrInvalid)
}

// with decodes a request's arguments for do.
func with[A any](q *request, do func(*A) (any, error)) (json.RawMessage, error) {
	var args A
	if json.Unmarshal(q.Args, &args) != nil {
		// The decoder's own words can quote what it was given.
		return nil, fmt.Errorf("%w: the arguments of %s are malformed", ErrInvalid, q.Op)
	}
	result, err := do(&args)
	if err != nil {
		return nil, err
	}
	return encode(result), nil
}
