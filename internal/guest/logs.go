package guest

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"hearth/internal/controlstream"
)

// Buffer sizes of a logPipe: the one it starts with and returns to, and the
// one beyond which a line is cut.
const (
	minLogBuffer = 8 << 10
	maxLogBuffer = controlstream.MaxLogRecord
)

// logSink sends log records to the worker. It blocks while the worker is
// behind.
type logSink func([]controlstream.LogRecord) error

// logPipe is the pipe that is both stdout and stderr of a runtime: one pipe,
// so that the order of what is written is the order in which it is read.
// Nothing is read ahead of what the worker takes, so a function that floods
// it is held up in its own write.
type logPipe struct {
	send   logSink
	done   chan struct{} // closed when pump has ended
	poller *poller
	watch  *watch // of fd; close notifies it, too

	mu      sync.Mutex
	fd      int  // the read end, non-blocking
	over    bool // close was called
	request string
	buf     []byte // what was read and not yet sent: less than a line
	records []controlstream.LogRecord
}

// newLogPipe returns a pipe and its write end, which is to be closed once the
// runtime has it.
func newLogPipe(p *poller, send logSink) (*logPipe, int, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, 0, fmt.Errorf("make log pipe: %w", err)
	}
	// The ends have flags of their own: the function's end blocks.
	var w *watch
	err := unix.SetNonblock(fds[0], true)
	if err == nil {
		w, err = p.add(fds[0])
	}
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("make log pipe: %w", err), unix.Close(fds[0]), unix.Close(fds[1]))
	}
	return &logPipe{
		send:   send,
		poller: p,
		watch:  w,
		fd:     fds[0],
		buf:    make([]byte, 0, minLogBuffer),
		done:   make(chan struct{}),
	}, fds[1], nil
}

// pump passes on what is written until every writer is gone, close was
// called, or the worker is gone.
func (l *logPipe) pump() {
	defer close(l.done)
	for range l.watch.ready {
		for again := true; again; {
			var open bool
			if again, open = l.readOnce(); !open {
				return
			}
		}
	}
}

// readOnce says whether there may be more now, and ever.
func (l *logPipe) readOnce() (again, open bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over {
		return false, false
	}
	n, open := l.read(maxLogBuffer)
	return n > 0, open
}

// read reads and sends once, at most limit bytes. n is 0 when there is
// nothing to be read now; more is false when there never will be.
func (l *logPipe) read(limit int) (n int, more bool) {
	room := l.buf[len(l.buf):cap(l.buf)]
	n, err := rawRead(l.fd, room[:min(len(room), limit)])
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		return 0, true
	case err != nil || n <= 0:
		return 0, false
	}
	l.buf = l.buf[:len(l.buf)+n]
	if err := l.sendLines(); err != nil {
		return n, false
	}
	return n, true
}

// sendLines sends the complete lines of buf and makes room for more.
func (l *logPipe) sendLines() error {
	end := bytes.LastIndexByte(l.buf, '\n') + 1
	if end == 0 && len(l.buf) == maxLogBuffer {
		end = len(l.buf) // a piece of a line
	}
	if end == 0 {
		if len(l.buf) == cap(l.buf) {
			grown := make([]byte, len(l.buf), min(4*cap(l.buf), maxLogBuffer))
			copy(grown, l.buf)
			l.buf = grown
		}
		return nil
	}
	return l.sendUpTo(end)
}

// sendUpTo sends the first end bytes of buf, a record a line.
func (l *logPipe) sendUpTo(end int) error {
	now := time.Now()
	l.records = l.records[:0]
	for line := range bytes.Lines(l.buf[:end]) {
		l.records = append(l.records, controlstream.LogRecord{RequestID: l.request, Time: now, Data: line})
	}
	err := l.send(l.records)
	rest := l.buf[end:]
	if cap(l.buf) > minLogBuffer && len(rest) < minLogBuffer {
		l.buf = append(make([]byte, 0, minLogBuffer), rest...)
	} else {
		l.buf = l.buf[:copy(l.buf, rest)]
	}
	return err
}

// drain sends everything that was written before the call, and then counts
// what follows to the given request.
func (l *logPipe) drain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, more := l.read(maxLogBuffer)
	if n > 0 && more {
		// What is in the pipe now bounds the loop: a function may write
		// faster than we read.
		left, err := unix.IoctlGetInt(l.fd, unix.TIOCINQ)
		for err == nil && left > 0 && n > 0 && more {
			n, more = l.read(left)
			left -= n
		}
	}
	if len(l.buf) > 0 {
		_ = l.sendUpTo(len(l.buf)) // a broken connection is seen elsewhere
	}
}

// setRequest says to which request what is read from now on belongs.
func (l *logPipe) setRequest(id string) {
	l.mu.Lock()
	l.request = id
	l.mu.Unlock()
}

// close drains the pipe and ends pump, which must have been started. Every
// process that might write is dead.
func (l *logPipe) close() {
	l.drain()
	l.mu.Lock()
	l.over = true
	l.mu.Unlock()
	l.watch.notify()
	<-l.done
	l.free()
}

// free closes a pipe that has no pump.
func (l *logPipe) free() {
	l.poller.remove(l.fd)
	_ = unix.Close(l.fd) // a read end: nothing to lose
}
