package guest

import (
	"errors"
	"time"

	"hearth/internal/controlstream"
	"hearth/internal/invocation"
)

// errInvokeOver ends the connection of a runtime whose answer nobody wants any
// more: it was killed.
var errInvokeOver = errors.New("the invoke is over")

// exitNotice is how long the news of a runtime's end may be behind the end of
// its connection.
const exitNotice = 250 * time.Millisecond

// streamResponse passes the function's answer on as it comes, with the claim
// held. Nothing is read ahead of what the worker gives credit for, so that a
// client that is slow holds up the function in its own write.
func (c *conn) streamResponse() error {
	b := newBodyReader(c.r, &c.req)
	b.wantTrail = true
	if err := c.allowBody(); err != nil {
		return err
	}
	life := c.s.life
	if !life.beginStream(c, c.req.contentType) {
		return errInvokeOver
	}
	buf := make([]byte, controlstream.MaxData)
	for left := invocation.MaxStream; ; {
		n, err := b.readSome(buf)
		over := n > left
		n = min(n, left)
		left -= n
		if !life.stream(c, buf[:n]) {
			return errInvokeOver
		}
		switch {
		case over:
			life.answer(c, &controlstream.Response{Status: controlstream.StatusTooLarge, ErrorType: typeTooLarge, Streaming: true},
				tooLargePayload(invocation.MaxStream))
			c.req.close = c.req.close || b.skip() != nil
			return c.replyTooLarge(invocation.MaxStream)
		case err != nil:
			return c.cutStream(err)
		case b.ended:
			resp, failure := streamEnd(b.trailers)
			return life.answerAccept(c, resp, failure)
		}
	}
}

// streamEnd is how an answer ended whose last byte has come.
func streamEnd(t trailers) (*controlstream.Response, []byte) {
	if t.errorType == "" {
		return &controlstream.Response{Status: controlstream.StatusSuccess, Streaming: true}, nil
	}
	return &controlstream.Response{Status: controlstream.StatusError, ErrorType: platformErrorType(t.errorType), Streaming: true},
		trailerError(t)
}

// cutStream ends an answer whose end never came. Nearly always the runtime
// has died, which is the better reason: it gets a moment to become known.
func (c *conn) cutStream(err error) error {
	if c.s.life.exitsWithin(exitNotice) {
		return errInvokeOver
	}
	c.s.life.answer(c, &controlstream.Response{Status: controlstream.StatusError, ErrorType: typeTruncated, Streaming: true},
		errorPayload(typeTruncated, "The runtime's response ended before its end was announced"))
	return c.replyUnread(err)
}

// streams says whether the current invoke's caller takes the answer in pieces.
func (l *lifecycle) streams() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.invoke != nil && l.invoke.Window > 0
}

// beginStream begins the answer of the connection that holds the claim. It is
// false if the invoke has ended meanwhile.
func (l *lifecycle) beginStream(c *conn, contentType string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.claimer != c {
		return false
	}
	_ = l.worker.Begin(&controlstream.StreamHead{RequestID: l.invoke.RequestID, ContentType: contentType})
	return true
}

// stream sends a part of the answer, once there is credit for it. It is false
// if the invoke has ended meanwhile.
func (l *lifecycle) stream(c *conn, part []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.room.L = &l.mu
	for {
		for l.claimer == c && l.window == 0 && len(part) > 0 {
			l.room.Wait()
		}
		if l.claimer != c {
			return false
		}
		if len(part) == 0 {
			return true
		}
		n := min(len(part), l.window)
		l.window -= n
		_ = l.worker.Data(part[:n]) // a broken connection is seen elsewhere
		part = part[n:]
	}
}

// credit lets the answer to that request go on.
func (l *lifecycle) credit(id string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.invoke == nil || l.invoke.RequestID != id {
		return
	}
	l.window += n
	l.room.Broadcast()
}

// exitsWithin says whether the runtime has ended or does so within d.
func (l *lifecycle) exitsWithin(d time.Duration) bool {
	l.mu.Lock()
	rt := l.runtime
	l.mu.Unlock()
	if rt == nil {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-rt.proc.exited:
		return true
	case <-timer.C:
		return false
	}
}
