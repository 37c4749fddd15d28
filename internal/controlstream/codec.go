package controlstream

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// The headers of frames that every invoke sends are written in a small binary
// form, not in JSON: inside a sandbox the garbage of a JSON decoder is felt.
// An integer is 8 bytes big-endian, a boolean is one byte 0 or 1, a string is
// a varint length and its bytes.

func appendInt(b []byte, v int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(v)) } //nolint:gosec // the same 64 bits

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendString[T string | []byte | Status](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// decoder takes a header apart. After the first error it yields zeros; end
// tells.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) int() int64 {
	if d.bad || len(d.b) < 8 {
		d.bad = true
		return 0
	}
	v := binary.BigEndian.Uint64(d.b)
	d.b = d.b[8:]
	return int64(v) //nolint:gosec // the same 64 bits
}

// size refuses numbers beyond 0 and limit.
func (d *decoder) size(limit int) int {
	v := d.int()
	if v < 0 || v > int64(limit) {
		d.bad = true
		return 0
	}
	return int(v)
}

func (d *decoder) bool() bool {
	if d.bad || len(d.b) < 1 || d.b[0] > 1 {
		d.bad = true
		return false
	}
	v := d.b[0] == 1
	d.b = d.b[1:]
	return v
}

// bytes returns a part of the header; it must be copied to be kept.
func (d *decoder) bytes() []byte {
	n, used := binary.Uvarint(d.b)
	if d.bad || used <= 0 || n > uint64(len(d.b)-used) { //nolint:gosec // lengths are positive
		d.bad = true
		return nil
	}
	v := d.b[used : used+int(n)] //nolint:gosec // n is at most len(d.b)
	d.b = d.b[used+int(n):]      //nolint:gosec // as above
	return v
}

// string copies; where the bytes equal known it returns that, to save memory.
func (d *decoder) string(known string) string {
	if b := d.bytes(); string(b) != known {
		return string(b)
	}
	return known
}

func (d *decoder) status() Status {
	switch s := Status(d.bytes()); s {
	case StatusSuccess:
		return StatusSuccess
	case StatusError, StatusExited, StatusTimeout, StatusInitError, StatusTooLarge:
		return s
	default:
		d.bad = true
		return ""
	}
}

// duration refuses negative ones: sums and sizes are made from them.
func (d *decoder) duration() time.Duration {
	v := d.int()
	if v < 0 {
		d.bad = true
	}
	return time.Duration(v)
}

func (d *decoder) end(what string) error {
	if d.bad || len(d.b) != 0 {
		return fmt.Errorf("%w: malformed %s", ErrProtocol, what)
	}
	return nil
}

// millis are the header of frameInit and frameShutdown.
func appendMillis(b []byte, v time.Duration) []byte { return appendInt(b, v.Milliseconds()) }

func decodeMillis(header []byte) (time.Duration, error) {
	d := decoder{b: header}
	v := d.int()
	if v < 0 || v > math.MaxInt64/int64(time.Millisecond) {
		d.bad = true
	}
	return time.Duration(v) * time.Millisecond, d.end("time limit")
}

// An expiry's header is the id of the request whose time is up.
func decodeExpire(header []byte, known string) (string, error) {
	d := decoder{b: header}
	id := d.string(known)
	return id, d.end("expiry")
}

const jsonType = "application/json"

func appendInvoke(b []byte, v *Invoke) []byte {
	b = appendString(b, v.RequestID)
	b = appendString(b, v.FunctionARN)
	b = appendInt(b, v.DeadlineMs)
	b = appendString(b, v.TraceID)
	b = appendString(b, v.ClientContext)
	b = appendString(b, v.ContentType)
	return appendInt(b, int64(v.Window))
}

// decodeInvoke fills v, reusing what it holds.
func decodeInvoke(header []byte, v *Invoke) error {
	d := decoder{b: header}
	v.RequestID = d.string("")
	v.FunctionARN = d.string(v.FunctionARN)
	v.DeadlineMs = d.int()
	v.TraceID = d.string(v.TraceID)
	v.ClientContext = append(v.ClientContext[:0], d.bytes()...)
	v.ContentType = d.string(jsonType)
	v.Window = d.size(Window)
	return d.end("invoke")
}

func appendHead(b []byte, v *StreamHead) []byte {
	b = appendString(b, v.RequestID)
	return appendString(b, v.ContentType)
}

// decodeHead decodes the head of the answer to the request of that id.
func decodeHead(header []byte, id string) (*StreamHead, error) {
	d := decoder{b: header}
	v := &StreamHead{RequestID: d.string(id), ContentType: d.string(jsonType)}
	if err := d.end("stream head"); err != nil {
		return nil, err
	}
	if v.RequestID != id {
		return nil, fmt.Errorf("%w: stream of another request", ErrProtocol)
	}
	return v, nil
}

// A credit's header is the id of the request whose answer may go on, and by
// how many bytes.
func appendCredit(b []byte, id string, n int) []byte {
	return appendInt(appendString(b, id), int64(n))
}

func decodeCredit(header []byte, known string) (id string, n int, err error) {
	d := decoder{b: header}
	id, n = d.string(known), d.size(Window)
	return id, n, d.end("credit")
}

func appendResponse(b []byte, v *Response) []byte {
	b = appendString(b, v.RequestID)
	b = appendString(b, v.Status)
	b = appendString(b, v.ErrorType)
	b = appendString(b, v.ContentType)
	return appendBool(b, v.Streaming)
}

// decodeResponse decodes the response to the request of that id.
func decodeResponse(header []byte, id string) (*Response, error) {
	d := decoder{b: header}
	v := &Response{
		RequestID:   d.string(id),
		Status:      d.status(),
		ErrorType:   d.string(""),
		ContentType: d.string(jsonType),
		Streaming:   d.bool(),
	}
	if err := d.end("response"); err != nil {
		return nil, err
	}
	if v.RequestID != id {
		return nil, fmt.Errorf("%w: response to another request", ErrProtocol)
	}
	return v, nil
}

func appendInitReport(b []byte, v *InitReport) []byte {
	b = appendString(b, v.Status)
	b = appendInt(b, int64(v.Duration))
	return appendString(b, v.ErrorType)
}

func (d *decoder) initReport() *InitReport {
	return &InitReport{Status: d.status(), Duration: d.duration(), ErrorType: d.string("")}
}

func decodeInitReport(header []byte) (*InitReport, error) {
	d := decoder{b: header}
	v := d.initReport()
	return v, d.end("init report")
}

func appendDone(b []byte, v *Done) []byte {
	b = appendString(b, v.RequestID)
	b = appendBool(b, v.Alive)
	b = appendInt(b, int64(v.Duration))
	b = appendBool(b, v.Init != nil)
	if v.Init != nil {
		b = appendInitReport(b, v.Init)
	}
	return b
}

// decodeDone decodes the end of the request of that id.
func decodeDone(header []byte, id string) (*Done, error) {
	d := decoder{b: header}
	v := &Done{
		RequestID: d.string(id),
		Alive:     d.bool(),
		Duration:  d.duration(),
	}
	if d.bool() {
		v.Init = d.initReport()
	}
	if err := d.end("done"); err != nil {
		return nil, err
	}
	if v.RequestID != id {
		return nil, fmt.Errorf("%w: end of another request", ErrProtocol)
	}
	return v, nil
}

func appendLog(b []byte, v *LogRecord) []byte {
	b = appendString(b, v.RequestID)
	return appendInt(b, v.Time.UnixNano())
}

// decodeLog decodes all but Data. Records come in runs of one request: known
// is the last one's id.
func decodeLog(header []byte, known string) (LogRecord, error) {
	d := decoder{b: header}
	v := LogRecord{RequestID: d.string(known), Time: time.Unix(0, d.int())}
	return v, d.end("log record")
}
