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
)

// link is one connection of a client.
type link struct {
	conn     *net.UnixConn
	server   hello
	pid      int // of the process that listens
	done     chan struct{}
	received sync.WaitGroup

	write sync.Mutex

	mu      sync.Mutex
	next    uint64
	pending map[uint64]*call
}

// call is a request that is not answered yet.
type call struct {
	answer chan *response // has room for one
	// late is called with an answer that nobody waits for any more.
	late func(*response)
	left bool
}

// errUnlinked says that the connection ended before the answer came.
var errUnlinked = errors.New("blockfs: the server has hung up")

// hungError says that something listens and does not answer.
type hungError struct{ pid int }

func (e *hungError) Error() string { return fmt.Sprintf("blockfs: process %d does not answer", e.pid) }

// dial connects to the server of a directory and says hello.
func dial(ctx context.Context, dir, build string, patience time.Duration) (*link, error) {
	d, err := os.Open(dir) //nolint:gosec // the server's own directory, of whoever runs this
	if err != nil {
		return nil, err
	}
	defer d.Close()
	raw, err := (&net.Dialer{}).DialContext(ctx, "unix", socketAddr(d).Name)
	if err != nil {
		return nil, err
	}
	l := &link{conn: raw.(*net.UnixConn), done: make(chan struct{}), pending: make(map[uint64]*call)}
	if err := l.greet(ctx, build, patience); err != nil {
		_ = l.conn.Close()
		return nil, err
	}
	l.received.Go(l.receive)
	return l, nil
}

func (l *link) greet(ctx context.Context, build string, patience time.Duration) error {
	peer, err := peerOf(l.conn)
	if err != nil {
		return err
	}
	if int(peer.Uid) != os.Geteuid() {
		return fmt.Errorf("blockfs: what listens at the socket is of user %d, not ours", peer.Uid)
	}
	l.pid = int(peer.Pid)
	stop := context.AfterFunc(ctx, func() { _ = l.conn.Close() })
	defer stop()
	err = l.conn.SetDeadline(time.Now().Add(patience))
	if err == nil {
		err = writeFrame(l.conn, maxHello, &hello{Version: protocolVersion, Build: build})
	}
	if err == nil {
		err = readFrame(l.conn, maxHello, &l.server)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &hungError{l.pid}
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errUnlinked, err)
	}
	return l.conn.SetDeadline(time.Time{})
}

// receive hands out answers until the connection ends.
func (l *link) receive() {
	defer close(l.done)
	defer l.conn.Close()
	r := bufio.NewReader(l.conn)
	for {
		a := new(response)
		if err := readFrame(r, maxResponse, a); err != nil {
			return
		}
		l.mu.Lock()
		c := l.pending[a.ID]
		delete(l.pending, a.ID)
		left := c != nil && c.left
		if c != nil && !left {
			c.answer <- a
		}
		l.mu.Unlock()
		if left && c.late != nil {
			c.late(a)
		}
	}
}

// call sends a request and waits for its answer.
func (l *link) call(ctx context.Context, op string, args, result any, late func(*response)) error {
	c := &call{answer: make(chan *response, 1), late: late}
	l.mu.Lock()
	l.next++
	q := request{ID: l.next, Op: op, Args: encode(args)}
	l.pending[q.ID] = c
	l.mu.Unlock()
	if err := l.send(&q); err != nil {
		l.mu.Lock()
		delete(l.pending, q.ID)
		l.mu.Unlock()
		return err
	}
	select {
	case a := <-c.answer:
		return decode(a, result)
	case <-l.done:
		return errUnlinked
	case <-ctx.Done():
	}
	l.mu.Lock()
	c.left = true
	l.mu.Unlock()
	select {
	case a := <-c.answer: // it came in this moment
		return decode(a, result)
	default:
		return fmt.Errorf("blockfs: %s: %w", op, context.Cause(ctx))
	}
}

func (l *link) send(q *request) error {
	l.write.Lock()
	defer l.write.Unlock()
	if err := l.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		<-l.done // the connection is closed
		return errUnlinked
	}
	err := writeFrame(l.conn, maxRequest, q)
	if errors.Is(err, errFrame) {
		return fmt.Errorf("%w: %w", ErrInvalid, err) // too long; nothing was sent
	}
	if err != nil {
		_ = l.conn.Close()
		<-l.done
		return errUnlinked
	}
	return nil
}

// alive says whether the connection has not ended yet.
func (l *link) alive() bool {
	select {
	case <-l.done:
		return false
	default:
		return true
	}
}

func decode(a *response, result any) error {
	if a.Error != nil {
		return a.Error.err()
	}
	if result == nil {
		return nil
	}
	if err := json.Unmarshal(a.Result, result); err != nil {
		return fmt.Errorf("blockfs: the server's answer is malformed: %w", err)
	}
	return nil
}

// close hangs up and waits until nothing is received any more.
func (l *link) close() {
	_ = l.conn.Close()
	l.received.Wait()
}
