package controlstream

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"time"

	"github.com/hashicorp/yamux"
)

// The streams, in the order in which the worker opens them. yamux numbers
// the streams of the opening side 1, 3, 5.
const (
	controlID = 1
	invokeID  = 3
	logsID    = 5
)

// muxConfig is yamux's configuration, the same on both sides.
func muxConfig() *yamux.Config {
	return &yamux.Config{
		AcceptBacklog: 3,
		// A keep-alive would kill frozen sandboxes.
		EnableKeepAlive:   false,
		KeepAliveInterval: time.Hour, // unused, but checked
		// A frozen peer does not read, for as long as it is frozen: who waits
		// is bounded by its context, and by the end of the connection.
		ConnectionWriteTimeout: math.MaxInt64,
		// The smallest window that yamux allows. Three of them bound what a
		// hostile peer can make the worker hold unread. A bigger one would
		// spare a 6 MiB payload some window updates, which cost it less than
		// a tenth of its copying.
		MaxStreamWindowSize: 256 << 10,
		LogOutput:           io.Discard,
	}
}

// yamux's header: version, type, flags, stream, length.
const (
	muxHeaderSize   = 12
	muxData         = 0
	muxWindowUpdate = 1
	muxAck          = 2 // the flag
)

// coalescer makes one write of the two, header and data, that yamux issues
// for each data frame: in a sandbox each write is dear, and each costs the
// other side a wake-up. yamux writes from one goroutine.
type coalescer struct {
	net.Conn
	buf     []byte // with the pending header in front
	pending bool
}

func newCoalescer(c net.Conn) *coalescer {
	return &coalescer{Conn: c, buf: make([]byte, muxHeaderSize, 1<<10)}
}

func (c *coalescer) Write(b []byte) (int, error) {
	switch {
	case c.pending:
		return c.writeData(b)
	case len(b) == muxHeaderSize && b[1] == muxData && binary.BigEndian.Uint32(b[8:]) > 0:
		copy(c.buf[:muxHeaderSize], b)
		c.pending = true
		return len(b), nil
	default:
		return c.Conn.Write(b)
	}
}

func (c *coalescer) writeData(b []byte) (int, error) {
	c.pending = false
	if len(b) <= oneWrite {
		c.buf = append(c.buf[:muxHeaderSize], b...)
		if _, err := c.Conn.Write(c.buf); err != nil {
			return 0, err
		}
		return len(b), nil
	}
	parts := net.Buffers{c.buf[:muxHeaderSize], b}
	if _, err := parts.WriteTo(c.Conn); err != nil {
		return 0, err
	}
	return len(b), nil
}

// strictReader passes on what a hostile peer sends only as long as it is what
// hearth-init would send: data and window updates on the three streams.
// yamux alone would set streams aside for whoever opens them, and start a
// goroutine for each ping.
type strictReader struct {
	coalescer
	header [muxHeaderSize]byte
	have   int    // bytes of header
	skip   uint32 // bytes of data that follow
}

func (r *strictReader) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	if bad := r.check(b[:n]); bad != nil {
		return 0, bad
	}
	return n, err
}

func (r *strictReader) check(b []byte) error {
	for len(b) > 0 {
		if r.skip > 0 {
			n := min(r.skip, uint32(len(b)))
			r.skip -= n
			b = b[n:]
			continue
		}
		n := copy(r.header[r.have:], b)
		r.have += n
		b = b[n:]
		if r.have < muxHeaderSize {
			return nil
		}
		r.have = 0
		if err := r.checkHeader(); err != nil {
			return err
		}
	}
	return nil
}

func (r *strictReader) checkHeader() error {
	h := &r.header
	flags, id := binary.BigEndian.Uint16(h[2:]), binary.BigEndian.Uint32(h[4:])
	switch {
	case h[0] != 0,
		h[1] != muxData && h[1] != muxWindowUpdate,
		flags != 0 && flags != muxAck,
		id != controlID && id != invokeID && id != logsID:
		return fmt.Errorf("%w: mux header % x", ErrProtocol, h[:])
	}
	if h[1] == muxData {
		r.skip = binary.BigEndian.Uint32(h[8:]) // yamux holds it against the window
	}
	return nil
}
