package controlstream

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"hearth/internal/invocation"
)

// ErrProtocol says that the peer broke the protocol.
var ErrProtocol = errors.New("protocol violation")

// frameType says what a frame's header and body hold.
type frameType uint8

const (
	frameHello    frameType = 1 + iota // from hearth-init: Hello as JSON
	frameAssign                        // from worker: Assignment as JSON
	frameAssigned                      // from hearth-init: why it failed, or empty
	frameInit                          // from worker: milliseconds
	frameInitDone                      // from hearth-init: InitReport; body: its Error
	frameShutdown                      // from worker: milliseconds
	frameStopped                       // from hearth-init: empty
	frameInvoke                        // from worker: Invoke; body: payload
	frameResponse                      // from hearth-init: Response; body: payload
	frameDone                          // from hearth-init: Done; body: Init.Error
	frameLog                           // from hearth-init: LogRecord; body: its Data
	frameExpire                        // from worker: the request id
	frameBegin                         // from hearth-init: StreamHead
	frameData                          // from hearth-init: empty; body: a piece of the answer
	frameCredit                        // from worker: request id, bytes
)

// Limits on what one frame may carry, in bytes.
const (
	// MaxInitError bounds InitReport.Error.
	MaxInitError = 256 << 10
	// MaxLogRecord bounds LogRecord.Data.
	MaxLogRecord = 256 << 10
	// MaxData bounds a piece of a streamed answer: logs and the end of other
	// frames wait no longer than one takes.
	MaxData = 64 << 10
	// Window is how much of a streamed answer the worker takes before its
	// client has taken any of it.
	Window = 256 << 10
)

// frameLimits are checked before memory is set aside for a frame.
var frameLimits = [...]struct{ header, body int }{
	frameHello: {header: 1 << 10},
	// 4 KiB of customer variables become at most 24 KiB of JSON; the rest is
	// Hearth's own.
	frameAssign:   {header: 256 << 10},
	frameAssigned: {header: 4 << 10},
	frameInit:     {header: 8},
	frameInitDone: {header: 1 << 10, body: MaxInitError},
	frameShutdown: {header: 8},
	frameStopped:  {},
	frameInvoke:   {header: 32 << 10, body: invocation.MaxRequest},
	frameResponse: {header: 4 << 10, body: invocation.MaxResponse},
	frameDone:     {header: 2 << 10, body: MaxInitError},
	frameLog:      {header: 256, body: MaxLogRecord},
	frameExpire:   {header: 2 << 10},
	frameBegin:    {header: 4 << 10},
	frameData:     {body: MaxData},
	frameCredit:   {header: 2 << 10},
}

// A frame begins with its type, three zero bytes, and the lengths of header
// and body, big-endian.
const prefixSize = 12

// oneWrite is the size up to which a body is copied behind its header, so
// that the frame leaves in one write; copying more costs more than a write.
const oneWrite = 64 << 10

// keepBuffer is the largest buffer that is kept for the next frame.
const keepBuffer = 128 << 10

// frameWriter writes frames. It is for one goroutine at a time, which is the
// one that has something to say: a goroutine that only sends would cost each
// frame a switch.
type frameWriter struct {
	w   io.Writer
	buf []byte // frames not yet written
}

// begin returns a buffer to which the caller appends the header, to pass it
// on to add or finish.
func (f *frameWriter) begin() []byte {
	if f.buf == nil {
		f.buf = make([]byte, 0, 512)
	}
	return append(f.buf, make([]byte, prefixSize)...)
}

// add completes the frame whose header was appended to what begin returned,
// to be written with the next one.
func (f *frameWriter) add(t frameType, b, body []byte) error {
	if err := f.seal(t, b, len(body)); err != nil {
		return err
	}
	f.buf = append(b, body...)
	if len(f.buf) <= oneWrite {
		return nil
	}
	return f.flush()
}

// finish completes and writes the frame whose header was appended to what
// begin returned.
func (f *frameWriter) finish(t frameType, b, body []byte) error {
	if len(body) <= oneWrite {
		if err := f.add(t, b, body); err != nil {
			return err
		}
		return f.flush()
	}
	if err := f.seal(t, b, len(body)); err != nil {
		return err
	}
	f.buf = b
	if err := f.flush(); err != nil {
		return err
	}
	_, err := f.w.Write(body)
	return err
}

// seal checks the frame that ends b and fills in its prefix.
func (f *frameWriter) seal(t frameType, b []byte, body int) error {
	prefix := b[len(f.buf):]
	header := len(prefix) - prefixSize
	if limit := frameLimits[t]; header > limit.header || body > limit.body {
		return fmt.Errorf("frame %d too large: header %d (limit %d), body %d (limit %d)",
			t, header, limit.header, body, limit.body)
	}
	prefix[0] = byte(t)
	binary.BigEndian.PutUint32(prefix[4:], uint32(header)) //nolint:gosec // below its limit
	binary.BigEndian.PutUint32(prefix[8:], uint32(body))   //nolint:gosec // below its limit
	return nil
}

func (f *frameWriter) flush() error {
	if len(f.buf) == 0 {
		return nil
	}
	_, err := f.w.Write(f.buf)
	f.buf = f.buf[:0]
	if cap(f.buf) > keepBuffer {
		f.buf = nil
	}
	return err
}

// readBuffer is how much is read ahead of frames: heads of all, and the whole
// of most.
const readBuffer = 4 << 10

// frameReader reads frames. It is for one goroutine at a time.
type frameReader struct {
	r      *bufio.Reader
	header []byte
}

// frame is the start of a frame: its body has yet to be read.
type frame struct {
	kind   frameType
	header []byte // valid until the next frame is read
	body   int    // length
}

// next reads a frame's type and header.
func (f *frameReader) next() (frame, error) {
	prefix, err := f.r.Peek(prefixSize)
	if err != nil {
		if len(prefix) > 0 && errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return frame{}, err
	}
	t := prefix[0]
	header, body := binary.BigEndian.Uint32(prefix[4:]), binary.BigEndian.Uint32(prefix[8:])
	if t == 0 || int(t) >= len(frameLimits) || prefix[1]|prefix[2]|prefix[3] != 0 {
		return frame{}, fmt.Errorf("%w: frame begins % x", ErrProtocol, prefix[:4])
	}
	limit := frameLimits[t]
	if uint64(header) > uint64(limit.header) || uint64(body) > uint64(limit.body) { //nolint:gosec // limits are positive
		return frame{}, fmt.Errorf("%w: frame %d announces header %d (limit %d), body %d (limit %d)",
			ErrProtocol, t, header, limit.header, body, limit.body)
	}
	if _, err := f.r.Discard(prefixSize); err != nil {
		return frame{}, err
	}
	if cap(f.header) < int(header) || cap(f.header) > keepBuffer {
		f.header = make([]byte, max(int(header), 256))
	}
	f.header = f.header[:header]
	if err := readFull(f.r, f.header); err != nil {
		return frame{}, err
	}
	return frame{kind: frameType(t), header: f.header, body: int(body)}, nil
}

// body reads the body of fr into buf, or into new memory where buf is too
// small.
func (f *frameReader) body(fr frame, buf []byte) ([]byte, error) {
	if fr.body == 0 {
		return buf[:0], nil
	}
	if cap(buf) < fr.body {
		buf = make([]byte, fr.body)
	}
	buf = buf[:fr.body]
	return buf, readFull(f.r, buf)
}

// readFull is io.ReadFull for the middle of a frame, where no end is right.
func readFull(r io.Reader, buf []byte) error {
	_, err := io.ReadFull(r, buf)
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
