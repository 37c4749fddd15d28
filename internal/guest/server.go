package guest

import (
	"bufio"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// maxConns bounds the connections to the Runtime API. A runtime needs one or two; who opens more than
// this only locks itself out.
const maxConns = 32

// server is the Runtime API's HTTP server.
type server struct {
	fd     int // listens
	poller *poller
	watch  *watch // of fd: a connection waits
	life   *lifecycle

	mu    sync.Mutex
	conns map[*conn]struct{}

	// body is what the one request body that is read at a time is read into.
	bodyMu sync.Mutex
	body   []byte
}

// conn is a connection of a runtime.
type conn struct {
	*sock
	s   *server
	r   *bufio.Reader
	req request
	out []byte
	// dead says that the runtime is; the lifecycle's lock guards it.
	dead bool
	// waiting is set from a call of next until its answer was written. The
	// goroutine of the connection meanwhile reads, and so sees the client go
	// away, while the answer is written by whoever has the event: that spares
	// each invoke a switch between goroutines.
	waiting atomic.Bool
}

// newServer listens.
func newServer(p *poller, address string) (*server, error) {
	fd, err := listenTCP(address)
	if err != nil {
		return nil, err
	}
	w, err := p.add(fd)
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return &server{fd: fd, poller: p, watch: w, conns: make(map[*conn]struct{})}, nil
}

// start serves the runtime of that lifecycle.
func (s *server) start(life *lifecycle) {
	s.life = life
	go s.serve()
}

// serve never returns: the listener lives as long as the sandbox.
func (s *server) serve() {
	for range s.watch.ready {
		for {
			sk, err := acceptTCP(s.poller, s.fd)
			if errors.Is(err, unix.ECONNABORTED) {
				continue
			}
			if err != nil {
				// No more; or no descriptors: who waits still comes with the
				// next.
				break
			}
			s.take(sk)
		}
	}
}

func (s *server) take(sk *sock) {
	c := &conn{sock: sk, s: s, r: bufio.NewReaderSize(sk, connBuffer)}
	s.mu.Lock()
	full := len(s.conns) >= maxConns
	if !full {
		s.conns[c] = struct{}{}
	}
	s.mu.Unlock()
	if full {
		sk.free()
		return
	}
	go c.serve()
}

// closeConns ends all connections, as their clients are dead.
func (s *server) closeConns() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.dead = true
		_ = c.Close()
	}
	clear(s.conns) // room for the next runtime's
}

func (c *conn) serve() {
	defer func() {
		c.s.life.gone(c)
		c.s.mu.Lock()
		delete(c.s.conns, c)
		c.s.mu.Unlock()
		c.free()
	}()
	for {
		err := readRequest(c.r, &c.req)
		if c.waiting.Load() {
			return // no runtime sends more before it has its event
		}
		if err != nil {
			c.refuse(err)
			return
		}
		if err := c.handle(); err != nil || c.req.close {
			return
		}
	}
}

// refuse answers a request that cannot be read.
func (c *conn) refuse(err error) {
	switch {
	case errors.Is(err, errFieldTooLong):
		_ = c.reply(431, "InvalidRequest", "Request header fields too large")
	case errors.Is(err, errBadRequest):
		_ = c.reply(400, "InvalidRequest", "Malformed HTTP request")
	}
}

// handle answers one request. An error ends the connection.
func (c *conn) handle() error {
	switch c.req.route {
	case routeOtherAPI:
		return c.decline(404, "NotSupported",
			"This API is not offered by this environment: only the Runtime API 2018-06-01 is, without restore")
	case routeUnknown:
		return c.decline(404, "NotFound", "No such route in the Runtime API 2018-06-01")
	case routePing, routeNext, routeResponse, routeError, routeInitError:
	}
	isGet := c.req.route == routePing || c.req.route == routeNext
	if isGet != (c.req.method == methodGet) || !isGet && c.req.method != methodPost {
		return c.decline(405, "MethodNotAllowed", "Method not allowed for this route")
	}
	if isGet && c.req.length != 0 {
		b := newBodyReader(c.r, &c.req)
		if err := b.skip(); err != nil {
			return err
		}
	}
	switch c.req.route {
	case routePing:
		return c.writeAnswer(200, "text/plain", "pong")
	case routeNext:
		return c.handleNext()
	case routeResponse:
		return c.handleResponse()
	case routeError:
		return c.handleError()
	default:
		return c.handleInitError()
	}
}

// readBody reads the request's body into the server's buffer, with bodyMu
// held.
func (c *conn) readBody(limit int) ([]byte, trailers, error) {
	b := newBodyReader(c.r, &c.req)
	b.wantTrail = true
	if err := c.allowBody(); err != nil {
		return nil, trailers{}, err
	}
	body, err := b.readInto(c.s.body[:0], limit)
	if c.s.body = body[:0]; cap(body) > keepBody {
		c.s.body = nil
	}
	if errors.Is(err, errTooLarge) {
		// Whoever is answered in mid-sentence does not hear it.
		c.req.close = c.req.close || b.skip() != nil
	}
	return body, b.trailers, err
}

// keepBody is the largest body buffer that is kept for the next invoke.
const keepBody = 256 << 10

// allowBody tells a client that waits for it to go on.
func (c *conn) allowBody() error {
	if !c.req.expect || c.req.close || c.r.Buffered() > 0 {
		return nil
	}
	_, err := io.WriteString(c, "HTTP/1.1 100 Continue\r\n\r\n")
	return err
}

// decline answers with an error without regard to the body.
func (c *conn) decline(status int, kind, message string) error {
	if c.req.expect {
		c.req.close = true // the body may come or not
		return c.reply(status, kind, message)
	}
	b := newBodyReader(c.r, &c.req)
	if err := b.skip(); err != nil {
		return err
	}
	return c.reply(status, kind, message)
}
