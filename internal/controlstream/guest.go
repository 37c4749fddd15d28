package controlstream

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// Handler is what hearth-init does when the worker asks. Assign, Init and
// Shutdown are called from one goroutine; Invoke, Expire and Credit from the one
// that reads the connection, which they must not hold up.
type Handler interface {
	// Assign is called at most once.
	Assign(*Assignment) error
	// Init has a time limit; 0 is none.
	Init(limit time.Duration) *InitReport
	// Invoke hands the event on and returns; Respond and then Finish must
	// follow, from any goroutine. Both arguments are valid until Finish; a
	// payload over KeptPayload for as long as it is wanted. An error ends the
	// session.
	Invoke(in *Invoke, payload []byte) error
	// Expire ends the invoke of that id, if it is not over yet: its time is
	// up.
	Expire(id string)
	// Credit lets n more bytes of the answer to the request of that id be sent
	// in pieces. The request may be over.
	Credit(id string, n int)
	// Shutdown ends every process.
	Shutdown(budget time.Duration)
}

// KeptPayload is the largest payload whose memory is used for the next one.
const KeptPayload = 32 << 10

// Guest is hearth-init's side of a control stream.
type Guest struct {
	conn   io.ReadWriteCloser
	frames frameReader

	sendMu sync.Mutex
	out    frameWriter

	stopped atomic.Bool // a shutdown was answered
}

// Accept takes over the connection that was dialled to the worker and says
// hello. Close of the connection must end a Read that is under way.
func Accept(conn io.ReadWriteCloser, hello Hello) (*Guest, error) {
	g := &Guest{
		conn:   conn,
		frames: frameReader{r: bufio.NewReaderSize(conn, readBuffer)},
		out:    frameWriter{w: conn},
	}
	header, err := json.Marshal(hello)
	if err == nil {
		err = g.send(frameHello, header, nil)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("accept control stream: %w", err), conn.Close())
	}
	return g, nil
}

// send sends a frame that is not of the warm path.
func (g *Guest) send(t frameType, header, body []byte) error {
	g.sendMu.Lock()
	defer g.sendMu.Unlock()
	return g.out.finish(t, append(g.out.begin(), header...), body)
}

// ask is a control frame of the worker's: it is answered before the next one
// is sent.
type ask struct {
	kind   frameType
	header []byte
}

// Serve calls h until the connection ends or a shutdown was answered, and
// closes it. A nil error is a shutdown. A call of h may still be under way:
// none outlasts what it waits for, but the worker is gone first.
func (g *Guest) Serve(h Handler) error {
	// What takes time is done beside the reading, so that the end of the
	// connection is seen at once, whatever a function is at.
	asks := make(chan ask, 1)
	defer close(asks)
	failed := make(chan error, 1)
	go func() {
		assigned := false
		for a := range asks {
			if err := g.answer(h, a, &assigned); err != nil {
				failed <- err
				_ = g.conn.Close() // ends the reading
				return
			}
		}
	}()
	err := g.read(h, asks)
	select {
	case err = <-failed:
	default:
	}
	_ = g.conn.Close() // nothing is owed to the worker any more
	if g.stopped.Load() {
		return nil
	}
	return fmt.Errorf("serve control stream: %w", err)
}

// read reads until the connection ends.
func (g *Guest) read(h Handler, asks chan<- ask) error {
	var in Invoke
	var payload []byte
	for {
		fr, err := g.frames.next()
		if err != nil {
			return err
		}
		if fr.kind != frameInvoke && fr.body > 0 {
			return fmt.Errorf("%w: frame of type %d with a body", ErrProtocol, fr.kind)
		}
		switch fr.kind {
		case frameInvoke:
			payload, err = g.invoke(h, fr, &in, payload)
		case frameExpire:
			var id string
			if id, err = decodeExpire(fr.header, in.RequestID); err == nil {
				h.Expire(id)
			}
		case frameCredit:
			var id string
			var n int
			if id, n, err = decodeCredit(fr.header, in.RequestID); err == nil {
				h.Credit(id, n)
			}
		case frameAssign, frameInit, frameShutdown:
			select {
			case asks <- ask{fr.kind, bytes.Clone(fr.header)}:
			default:
				err = fmt.Errorf("%w: frame of type %d before the last was answered", ErrProtocol, fr.kind)
			}
		default:
			err = fmt.Errorf("%w: frame of type %d", ErrProtocol, fr.kind)
		}
		if err != nil {
			return err
		}
	}
}

// invoke reads an event into in and payload, or more memory.
func (g *Guest) invoke(h Handler, fr frame, in *Invoke, payload []byte) ([]byte, error) {
	if err := decodeInvoke(fr.header, in); err != nil {
		return nil, err
	}
	if cap(payload) > KeptPayload {
		payload = nil
	}
	payload, err := g.frames.body(fr, payload)
	if err != nil {
		return nil, err
	}
	return payload, h.Invoke(in, payload)
}

// answer does what the worker asks for.
func (g *Guest) answer(h Handler, a ask, assigned *bool) error {
	switch a.kind {
	case frameAssign:
		if *assigned {
			return fmt.Errorf("%w: second assignment", ErrProtocol)
		}
		*assigned = true
		return g.assign(h, a.header)
	case frameInit:
		limit, err := decodeMillis(a.header)
		if err != nil {
			return err
		}
		report := h.Init(limit)
		return g.send(frameInitDone, appendInitReport(nil, report), report.Error)
	default:
		budget, err := decodeMillis(a.header)
		if err != nil {
			return err
		}
		h.Shutdown(budget)
		g.stopped.Store(true)
		// Closing at once could overtake the answer: the worker closes.
		return g.send(frameStopped, nil, nil)
	}
}

func (g *Guest) assign(h Handler, header []byte) error {
	a := new(Assignment)
	if err := json.Unmarshal(header, a); err != nil {
		return fmt.Errorf("%w: assignment: %w", ErrProtocol, err)
	}
	reason := ""
	if err := h.Assign(a); err != nil {
		reason = err.Error()
	}
	return g.send(frameAssigned, []byte(reason[:min(len(reason), frameLimits[frameAssigned].header)]), nil)
}

// Respond sends the answer to the current invoke.
func (g *Guest) Respond(r *Response, payload []byte) error {
	g.sendMu.Lock()
	defer g.sendMu.Unlock()
	return g.out.finish(frameResponse, appendResponse(g.out.begin(), r), payload)
}

// Begin says that the answer to the current invoke comes in pieces. Respond
// ends it.
func (g *Guest) Begin(h *StreamHead) error {
	g.sendMu.Lock()
	defer g.sendMu.Unlock()
	return g.out.finish(frameBegin, appendHead(g.out.begin(), h), nil)
}

// Data sends a piece of the answer, at most MaxData bytes and no more than
// there is credit for: so it waits for the connection only, never for whoever
// takes the answer.
func (g *Guest) Data(piece []byte) error {
	g.sendMu.Lock()
	defer g.sendMu.Unlock()
	return g.out.finish(frameData, g.out.begin(), piece)
}

// Finish says that the current invoke is over.
func (g *Guest) Finish(d *Done) error {
	var body []byte
	if d.Init != nil {
		body = d.Init.Error
	}
	g.sendMu.Lock()
	defer g.sendMu.Unlock()
	return g.out.finish(frameDone, appendDone(g.out.begin(), d), body)
}

// Log sends what the function wrote. It blocks while the worker does not take
// more.
func (g *Guest) Log(records []LogRecord) error {
	g.sendMu.Lock()
	defer g.sendMu.Unlock()
	for i := range records {
		rec := &records[i]
		if err := g.out.add(frameLog, appendLog(g.out.begin(), rec), rec.Data); err != nil {
			return err
		}
	}
	return g.out.flush()
}
