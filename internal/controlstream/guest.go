package controlstream

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/yamux"
)

// Handler is what hearth-init does when the worker asks. Assign, Init and
// Shutdown are called from one goroutine, Invoke from another.
type Handler interface {
	// Assign is called at most once.
	Assign(*Assignment) error
	// Init has a time limit; 0 is none.
	Init(limit time.Duration) *InitReport
	// Invoke hands the event on and returns; Respond and then Finish must
	// follow, from any goroutine. Both arguments are valid until Finish. An
	// error ends the session.
	Invoke(in *Invoke, payload []byte) error
	// Shutdown ends every process.
	Shutdown(budget time.Duration)
}

// Guest is hearth-init's side of a control stream.
type Guest struct {
	mux     *yamux.Session
	control stream

	invoke   stream
	invokeMu sync.Mutex // guards writes

	stopped atomic.Bool // a shutdown was answered

	logs     stream
	logsMu   sync.Mutex
	logBytes int64
}

// Accept takes over the connection that was dialled to the worker and says
// hello.
func Accept(conn net.Conn, hello Hello) (*Guest, error) {
	mux, err := yamux.Server(newCoalescer(conn), muxConfig())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("accept control stream: %w", err), conn.Close())
	}
	g := &Guest{mux: mux}
	if err := g.accept(hello); err != nil {
		return nil, errors.Join(fmt.Errorf("accept control stream: %w", err), mux.Close())
	}
	return g, nil
}

func (g *Guest) accept(hello Hello) error {
	for _, to := range []*stream{&g.control, &g.invoke, &g.logs} {
		raw, err := g.mux.AcceptStream()
		if err != nil {
			return err
		}
		*to = newStream(raw)
	}
	header, err := json.Marshal(hello)
	if err != nil {
		return err
	}
	return g.control.finish(frameHello, append(g.control.begin(), header...), nil)
}

// Serve calls h until the connection ends or a shutdown was answered, and
// closes it. A nil error is a shutdown. A call of h may still be under way:
// none outlasts what it waits for, but the worker is gone first.
func (g *Guest) Serve(h Handler) error {
	ended := make(chan error, 2)
	go func() { ended <- g.serveInvokes(h) }()
	go func() { ended <- g.serveControl(h) }()
	err := <-ended
	_ = g.mux.Close() // returns nil always
	if g.stopped.Load() {
		return nil
	}
	return fmt.Errorf("serve control stream: %w", err)
}

func (g *Guest) serveControl(h Handler) error {
	assigned := false
	for {
		fr, err := g.control.any()
		if err != nil {
			return err
		}
		switch fr.kind {
		case frameAssign:
			if assigned {
				return fmt.Errorf("%w: second assignment", ErrProtocol)
			}
			assigned = true
			err = g.assign(h, fr.header)
		case frameInit:
			err = g.init(h, fr.header)
		case frameShutdown:
			return g.shutdown(h, fr.header)
		default:
			err = fmt.Errorf("%w: control frame of type %d", ErrProtocol, fr.kind)
		}
		if err != nil {
			return err
		}
	}
}

func (g *Guest) assign(h Handler, header []byte) error {
	a := new(Assignment)
	if err := json.Unmarshal(header, a); err != nil {
		return fmt.Errorf("%w: assignment: %w", ErrProtocol, err)
	}
	reply := g.control.begin()
	if err := h.Assign(a); err != nil {
		reason := err.Error()
		reply = append(reply, reason[:min(len(reason), frameLimits[frameAssigned].header)]...)
	}
	return g.control.finish(frameAssigned, reply, nil)
}

func (g *Guest) init(h Handler, header []byte) error {
	limit, err := decodeMillis(header)
	if err != nil {
		return err
	}
	report := h.Init(limit)
	return g.control.finish(frameInitDone, appendInitReport(g.control.begin(), report), report.Error)
}

func (g *Guest) shutdown(h Handler, header []byte) error {
	budget, err := decodeMillis(header)
	if err != nil {
		return err
	}
	h.Shutdown(budget)
	if err := g.control.finish(frameStopped, g.control.begin(), nil); err != nil {
		return err
	}
	g.stopped.Store(true)
	// Closing at once could overtake the answer: the worker closes.
	_, err = g.control.any()
	return err
}

func (g *Guest) serveInvokes(h Handler) error {
	var in Invoke
	var payload []byte
	for {
		fr, err := g.invoke.next(frameInvoke)
		if err != nil {
			return err
		}
		if err := decodeInvoke(fr.header, &in); err != nil {
			return err
		}
		if cap(payload) > keepBuffer {
			payload = nil
			g.invoke.raw.Shrink() // or yamux would keep the memory
		}
		if payload, err = g.invoke.body(fr, payload); err != nil {
			return err
		}
		if err := h.Invoke(&in, payload); err != nil {
			return err
		}
	}
}

// Respond sends the answer to the current invoke.
func (g *Guest) Respond(r *Response, payload []byte) error {
	g.invokeMu.Lock()
	defer g.invokeMu.Unlock()
	return g.invoke.finish(frameResponse, appendResponse(g.invoke.begin(), r), payload)
}

// Finish says that the current invoke is over. It fills in LogBytes: what Log
// has sent so far.
func (g *Guest) Finish(d *Done) error {
	g.logsMu.Lock()
	d.LogBytes = g.logBytes
	g.logsMu.Unlock()
	var body []byte
	if d.Init != nil {
		body = d.Init.Error
	}
	g.invokeMu.Lock()
	defer g.invokeMu.Unlock()
	return g.invoke.finish(frameDone, appendDone(g.invoke.begin(), d), body)
}

// Log sends what the function wrote. It blocks while the worker does not take
// more.
func (g *Guest) Log(records []LogRecord) error {
	g.logsMu.Lock()
	defer g.logsMu.Unlock()
	for i := range records {
		rec := &records[i]
		if err := g.logs.add(frameLog, appendLog(g.logs.begin(), rec), rec.Data); err != nil {
			return err
		}
		g.logBytes += int64(len(rec.Data))
	}
	return g.logs.flush()
}
