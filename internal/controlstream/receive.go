package controlstream

import (
	"bufio"
	"bytes"
	"fmt"
	"sync"
)

// receiver reads what hearth-init sends, on the worker's side, from one
// goroutine, and hands it to whoever waits. Nothing is taken that is not due.
type receiver struct {
	frames frameReader
	logs   func(LogRecord)
	ended  chan struct{}

	// Each has room for the one that may be due.
	replies   chan reply
	responses chan response
	dones     chan *Done

	mu    sync.Mutex
	reply frameType // that is due, or 0
	// The id of the request whose Response, and then whose Done, is due.
	awaitsResponse, awaitsDone string
	stream                     *Stream // that the Response may come after

	logID  string // of the last record
	logBuf []byte
}

// reply is the answer to a control frame.
type reply struct{ header, body []byte }

// response is the answer to an invoke.
type response struct {
	*Response
	payload []byte
}

func (r *receiver) init(from *bufio.Reader, logs func(LogRecord)) {
	r.frames.r, r.logs, r.ended = from, logs, make(chan struct{})
	r.replies, r.responses, r.dones = make(chan reply, 1), make(chan response, 1), make(chan *Done, 1)
}

// expectReply says which answer to a control frame is due.
func (r *receiver) expectReply(t frameType) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reply = t
}

// expect says that the request of that id is sent, and where its answer goes
// if it comes in pieces.
func (r *receiver) expect(id string, st *Stream) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.awaitsResponse, r.stream = id, st
}

// run returns when the connection ends or hearth-init breaks the protocol.
func (r *receiver) run() error {
	for {
		fr, err := r.frames.next()
		if err != nil {
			return err
		}
		switch fr.kind {
		case frameLog:
			err = r.log(fr)
		case frameResponse:
			err = r.response(fr)
		case frameDone:
			err = r.done(fr)
		case frameBegin, frameData:
			err = r.piece(fr)
		default:
			err = r.answer(fr)
		}
		if err != nil {
			return err
		}
	}
}

func notDue(fr frame) error {
	return fmt.Errorf("%w: frame of type %d is not due", ErrProtocol, fr.kind)
}

func (r *receiver) answer(fr frame) error {
	r.mu.Lock()
	due := r.reply == fr.kind
	r.reply = 0
	r.mu.Unlock()
	if !due { // no frame has type 0
		return notDue(fr)
	}
	got := reply{header: bytes.Clone(fr.header)}
	var err error
	if got.body, err = r.frames.body(fr, nil); err != nil {
		return err
	}
	r.replies <- got
	return nil
}

func (r *receiver) response(fr frame) error {
	r.mu.Lock()
	id, st := r.awaitsResponse, r.stream
	r.awaitsResponse, r.awaitsDone, r.stream = "", id, nil
	r.mu.Unlock()
	if id == "" {
		return notDue(fr)
	}
	resp, err := decodeResponse(fr.header, id)
	if err != nil {
		return err
	}
	if resp.Status == StatusSuccess && fr.body > 0 && st != nil && st.begun() {
		return fmt.Errorf("%w: a payload after the pieces of an answer", ErrProtocol)
	}
	payload, err := r.frames.body(fr, nil)
	if err != nil {
		return err
	}
	r.responses <- response{resp, payload}
	return nil
}

// piece takes the beginning or a part of an answer.
func (r *receiver) piece(fr frame) error {
	r.mu.Lock()
	id, st := r.awaitsResponse, r.stream
	r.mu.Unlock()
	if st == nil {
		return notDue(fr)
	}
	if fr.kind == frameData {
		return st.receive(r.frames.r, fr.body)
	}
	head, err := decodeHead(fr.header, id)
	if err != nil {
		return err
	}
	return st.begin(head)
}

func (r *receiver) done(fr frame) error {
	r.mu.Lock()
	id := r.awaitsDone
	r.awaitsDone = ""
	r.mu.Unlock()
	if id == "" {
		return notDue(fr)
	}
	done, err := decodeDone(fr.header, id)
	if err != nil {
		return err
	}
	if done.Init == nil && fr.body > 0 {
		return fmt.Errorf("%w: body without init report", ErrProtocol)
	}
	if done.Init != nil {
		if done.Init.Error, err = r.frames.body(fr, nil); err != nil {
			return err
		}
	}
	r.dones <- done
	return nil
}

func (r *receiver) log(fr frame) error {
	rec, err := decodeLog(fr.header, r.logID)
	if err != nil {
		return err
	}
	r.logID = rec.RequestID
	if rec.Data, err = r.frames.body(fr, r.logBuf); err != nil {
		return err
	}
	if r.logs != nil {
		r.logs(rec)
	}
	if r.logBuf = rec.Data; cap(r.logBuf) > oneWrite {
		r.logBuf = nil // most lines are short, and environments many
	}
	return nil
}
