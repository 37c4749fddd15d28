package worker

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"
)

// door is one environment's way to the API: a listener for an HTTP server.
type door struct {
	net.Listener

	large chan struct{} // who reads a large body
	ended chan struct{} // the server has done with it

	mu     sync.Mutex
	conns  map[*doorConn]struct{}
	closed bool
}

// Accept implements net.Listener. A connection over the limit is closed.
func (d *door) Accept() (net.Conn, error) {
	for {
		conn, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &doorConn{Conn: conn, door: d}
		if d.add(c) {
			return c, nil
		}
		_ = conn.Close()
	}
}

func (d *door) add(c *doorConn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || len(d.conns) >= endpointConns {
		return false
	}
	d.conns[c] = struct{}{}
	return true
}

func (d *door) remove(c *doorConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.conns, c)
}

func (d *door) crowded() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.conns) >= crowded
}

// admitLarge waits until a large body may be read, and says whether it may.
func (d *door) admitLarge(r *http.Request) bool {
	select {
	case d.large <- struct{}{}:
		return true
	case <-r.Context().Done():
		return false
	}
}

func (d *door) releaseLarge() { <-d.large }

// shut ends the way and everything on it.
func (d *door) shut() {
	d.mu.Lock()
	d.closed = true
	conns := d.conns
	d.conns = make(map[*doorConn]struct{})
	d.mu.Unlock()
	_ = d.Listener.Close() // the sandbox closes it, too
	for c := range conns {
		_ = c.Conn.Close()
	}
	<-d.ended
}

// doorConn is a relayed connection.
type doorConn struct {
	net.Conn
	door *door
}

// RemoteAddr implements net.Conn: policies know functions by it.
func (c *doorConn) RemoteAddr() net.Addr { return functionAddr }

// Write implements net.Conn: it does not wait forever for a function that does
// not read.
func (c *doorConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(endpointPatience)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// Close implements net.Conn.
func (c *doorConn) Close() error {
	c.door.remove(c)
	return c.Conn.Close()
}

type doorKey struct{}

// withDoor lets requests find the door they came through.
func withDoor(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, doorKey{}, c.(*doorConn).door)
}

func doorOf(ctx context.Context) *door { return ctx.Value(doorKey{}).(*door) }
