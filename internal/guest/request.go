package guest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// This file and body.go are an HTTP/1.1 server's reading side, written for
// one kind of client: a runtime interface client on loopback. net/http costs
// each invoke seven times the allocations (see docs/formats/control-stream.md)
// and two goroutines, and hearth-init megabytes.

// Limits on a request, in bytes.
const (
	connBuffer    = 4 << 10  // the longest request line, and header line of interest
	maxHeaders    = 2 << 20  // all header lines: an X-Ray cause alone may be 1 MiB
	maxRequestID  = 64       // longer ones cannot be current
	maxFieldValue = 1 << 10  // of a header of interest
	maxTrailer    = 1 << 20  // one trailer line: a base64 error body
	maxSkip       = 64 << 20 // a body that is refused is read this far
)

var (
	errBadRequest   = errors.New("malformed request")
	errTooLarge     = errors.New("body too large")
	errFieldTooLong = errors.New("header field too long")
)

// route is what a request asks for.
type route uint8

const (
	routeUnknown route = iota
	routePing
	routeNext
	routeResponse
	routeError
	routeInitError
	routeOtherAPI // one of AWS's that is not offered
)

// request is the head of a request. It is reused from one to the next on the
// same connection.
type request struct {
	route  route
	method method
	id     []byte // the request id in the path
	close  bool   // no further request on this connection

	length    int64 // of the body; -1: chunked
	expect    bool  // the client waits for 100 Continue
	mode      string
	errorType string
	// contentType is empty if there is none.
	contentType string
}

type method uint8

const (
	methodOther method = iota
	methodGet
	methodPost
)

// readRequest reads a request's head into q. io.EOF means that there is none.
func readRequest(r *bufio.Reader, q *request) error {
	line, err := r.ReadSlice('\n')
	if err != nil {
		if len(line) == 0 && !errors.Is(err, bufio.ErrBufferFull) {
			return io.EOF
		}
		return fmt.Errorf("%w: request line: %w", errBadRequest, err)
	}
	*q = request{id: q.id[:0]}
	if err := q.parseLine(trimLine(line)); err != nil {
		return err
	}
	f := fieldReader{r: r, budget: maxHeaders, limit: connBuffer}
	seenLength := false
	for {
		name, value, err := f.next()
		if err != nil {
			return err
		}
		if name == nil {
			return nil
		}
		if err := q.setField(name, value, &seenLength); err != nil {
			return err
		}
	}
}

// parseLine takes a request line apart: method, path, version.
func (q *request) parseLine(line []byte) error {
	verb, rest, ok1 := bytes.Cut(line, []byte{' '})
	target, version, ok2 := bytes.Cut(rest, []byte{' '})
	if !ok1 || !ok2 {
		return fmt.Errorf("%w: request line", errBadRequest)
	}
	switch string(version) {
	case "HTTP/1.1":
	case "HTTP/1.0":
		q.close = true
	default:
		return fmt.Errorf("%w: version", errBadRequest)
	}
	switch string(verb) {
	case "GET":
		q.method = methodGet
	case "POST":
		q.method = methodPost
	}
	q.setRoute(target)
	return nil
}

const apiPrefix = "/2018-06-01/"

func (q *request) setRoute(target []byte) {
	path, _, _ := bytes.Cut(target, []byte{'?'})
	rest, ok := bytes.CutPrefix(path, []byte(apiPrefix))
	if !ok {
		if bytes.HasPrefix(path, []byte("/20")) {
			q.route = routeOtherAPI
		}
		return
	}
	switch string(rest) {
	case "ping":
		q.route = routePing
	case "runtime/invocation/next":
		q.route = routeNext
	case "runtime/init/error":
		q.route = routeInitError
	case "runtime/restore/next", "runtime/restore/error":
		q.route = routeOtherAPI
	default:
		rest, ok = bytes.CutPrefix(rest, []byte("runtime/invocation/"))
		id, verb, ok2 := bytes.Cut(rest, []byte{'/'})
		if !ok || !ok2 {
			return
		}
		switch string(verb) {
		case "response":
			q.route = routeResponse
		case "error":
			q.route = routeError
		}
		if len(id) <= maxRequestID {
			q.id = append(q.id, id...)
		}
	}
}

// setField notes a header field of interest. Names compare without case.
func (q *request) setField(name, value []byte, seenLength *bool) error {
	switch {
	case isField(name, "content-length"):
		n, err := strconv.ParseUint(string(value), 10, 62)
		if err != nil || q.length == -1 || (*seenLength && q.length != int64(n)) || !digits(value) {
			return fmt.Errorf("%w: content-length", errBadRequest)
		}
		q.length, *seenLength = int64(n), true
	case isField(name, "transfer-encoding"):
		if *seenLength || q.length == -1 || !isField(value, "chunked") {
			return fmt.Errorf("%w: transfer-encoding", errBadRequest)
		}
		q.length = -1
	case isField(name, "connection"):
		q.close = q.close || isField(value, "close")
	case isField(name, "expect"):
		q.expect = isField(value, "100-continue")
	case isField(name, "content-type"):
		return keepValue(&q.contentType, value)
	case isField(name, "lambda-runtime-function-response-mode"):
		return keepValue(&q.mode, value)
	case isField(name, "lambda-runtime-function-error-type"):
		return keepValue(&q.errorType, value)
	}
	return nil
}

// keepValue copies a field's value; the most frequent one costs no memory.
func keepValue(to *string, value []byte) error {
	if len(value) > maxFieldValue {
		return errFieldTooLong
	}
	if *to = "application/json"; string(value) != *to {
		*to = string(value)
	}
	return nil
}

// isField compares without case; want is in lower case.
func isField(b []byte, want string) bool {
	if len(b) != len(want) {
		return false
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != want[i] {
			return false
		}
	}
	return true
}

func digits(b []byte) bool {
	for _, c := range b {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// fieldReader reads header or trailer fields.
type fieldReader struct {
	r      *bufio.Reader
	budget int    // bytes that all fields may still take
	limit  int    // of one line; longer ones are passed over
	long   []byte // a line that is longer than r's buffer
}

// next returns a field, valid until the next call, or a nil name at the end.
// A field over the limit is passed over, as it can be none of interest: those
// of interest have stricter limits of their own.
func (f *fieldReader) next() (name, value []byte, err error) {
	for {
		line, fits, err := f.line()
		if err != nil {
			return nil, nil, err
		}
		if !fits {
			continue
		}
		line = trimLine(line)
		if len(line) == 0 {
			return nil, nil, nil
		}
		name, value, ok := bytes.Cut(line, []byte{':'})
		if !ok || len(name) == 0 || bytes.ContainsAny(name, " \t") {
			return nil, nil, fmt.Errorf("%w: header field", errBadRequest)
		}
		return name, bytes.Trim(value, " \t"), nil
	}
}

// line reads a line, and says whether all of it fits the limit.
func (f *fieldReader) line() (line []byte, fits bool, err error) {
	f.long = f.long[:0]
	fits = true
	for {
		part, err := f.r.ReadSlice('\n')
		f.budget -= len(part)
		switch {
		case f.budget < 0:
			return nil, false, errFieldTooLong
		case err == nil && len(f.long) == 0 && fits:
			return part, true, nil
		case err != nil && !errors.Is(err, bufio.ErrBufferFull):
			return nil, false, fmt.Errorf("%w: %w", errBadRequest, err)
		}
		if len(f.long)+len(part) > f.limit {
			fits = false
		}
		if fits {
			f.long = append(f.long, part...)
		}
		if err == nil {
			return f.long, fits, nil
		}
	}
}

func trimLine(line []byte) []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte{'\n'}), []byte{'\r'})
}
