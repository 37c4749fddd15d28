package gvisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
)

// control is the host's end of the socket that hearth-init dials. The first
// connection, made before any function runs, is the control connection; those
// after it are relayed ones, for whoever calls Relayed.
type control struct {
	listener *net.UnixListener
	dialled  chan struct{} // closed when conn and err are set

	mu    sync.Mutex
	conn  net.Conn // until it is taken or closed
	err   error
	taken bool
}

var errControlTaken = errors.New("gvisor: control connection is taken already")

// listenControl listens in dir. onDial runs when the one connection is there.
func listenControl(dir string, onDial func()) (*control, error) {
	// A socket's path is bounded to 107 bytes; through the directory's
	// descriptor it is short wherever the data directory is.
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	short := filepath.Join(fdPath(d), ctlSocket)
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: short, Net: "unix"})
	if err != nil {
		return nil, err
	}
	listener.SetUnlinkOnClose(false) // by a path that is gone with d
	c := &control{listener: listener, dialled: make(chan struct{})}
	go c.accept(onDial)
	return c, nil
}

// accept ends with the first connection or with close.
func (c *control) accept(onDial func()) {
	defer close(c.dialled)
	conn, err := c.listener.AcceptUnix()
	if err == nil {
		onDial()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err = err; err == nil {
		c.conn = conn
	}
}

// take waits for the connection and hands it over, once.
func (c *control) take(ctx context.Context, done <-chan struct{}) (net.Conn, error) {
	select {
	case <-c.dialled:
	case <-done:
		return nil, errEnded
	case <-ctx.Done():
		return nil, fmt.Errorf("gvisor: wait for hearth-init to dial: %w", context.Cause(ctx))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, fmt.Errorf("gvisor: wait for hearth-init to dial: %w", c.err)
	}
	if c.taken {
		return nil, errControlTaken
	}
	conn := c.conn
	c.conn, c.taken = nil, true
	return conn, nil
}

// close stops listening and drops a connection that nobody has taken.
func (c *control) close() {
	c.listener.Close()
	<-c.dialled
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
	c.taken = true
}
