package api

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"

	"hearth/internal/awserr"
	"hearth/internal/invocation"
	"hearth/internal/sigv4"
)

// Request limits in bytes, as AWS names them in its errors.
const (
	maxBody     = 6 << 20  // of everything but uploads
	maxUpload   = 70167211 // of an operation that carries a zip in its JSON
	firstBuffer = 64 << 10 // memory set aside on the strength of a Content-Length alone
	// maxDrain is how much of a refused body is read and thrown away: a client
	// that still writes when the connection closes never sees the answer.
	maxDrain = 128 << 20
)

// bodyTime is how long a client may take to send a body: the largest comes
// through at 2 Mbit/s.
const bodyTime = 5 * time.Minute

// maxBody is the largest request body of the operation.
func (op *operation) maxBody() int64 {
	switch op.name {
	case "CreateFunction", "UpdateFunctionCode", "PublishLayerVersion":
		return maxUpload
	case "Invoke", streamOperation:
		return invocation.MaxRequest
	}
	return maxBody
}

// tooLarge refuses a body, in AWS's words.
func (c *call) tooLarge(limit int64) error {
	c.w.Header().Set("Connection", "close")
	// How the rest ends does not matter: the answer is the same.
	_, _ = io.CopyN(io.Discard, c.r.Body, maxDrain)
	op := c.op
	switch {
	case op == nil:
		return awserr.New("RequestEntityTooLargeException", "Request must be smaller than %d bytes", limit)
	case op.name == "Invoke", op.name == streamOperation:
		return awserr.New("RequestTooLargeException", "Request must be smaller than %d bytes for the %s operation", limit, action(op))
	}
	return awserr.New("RequestEntityTooLargeException", "Request must be smaller than %d bytes for the %s operation", limit, op.name)
}

// readBody reads a request's body up to limit and completes the verification
// of its signature.
func readBody(c *call, p *sigv4.Pending, limit int64) ([]byte, error) {
	wire := limit
	if p.Streamed() {
		wire += limit/64 + firstBuffer // signatures between the chunks
	}
	raw, err := readRaw(c, limit, wire)
	if err != nil {
		return nil, err
	}
	body, err := p.Check(raw)
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > limit {
		return nil, c.tooLarge(limit)
	}
	return body, nil
}

// readUnsigned reads the body of a request that has no signature.
func readUnsigned(c *call, limit int64) ([]byte, error) { return readRaw(c, limit, limit) }

// readRaw reads a body of up to wire bytes as it was sent; limit is what the
// caller is told.
func readRaw(c *call, limit, wire int64) (raw []byte, err error) {
	if c.r.ContentLength != 0 {
		// A client that dribbles must not hold the connection for ever. Writers
		// without deadlines, as tests have, are none the worse.
		control := http.NewResponseController(c.w)
		_ = control.SetReadDeadline(time.Now().Add(bodyTime))
		defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	}
	if c.r.ContentLength > wire {
		return nil, c.tooLarge(limit)
	}
	if c.r.ContentLength != 0 {
		raw, err = readAll(http.MaxBytesReader(nil, c.r.Body, wire), c.r.ContentLength)
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, c.tooLarge(limit)
	}
	if err != nil {
		return nil, awserr.New("SerializationException", "The request body ended before its declared length.")
	}
	return raw, nil
}

// readAll reads to the end. Memory follows the bytes that came, not the
// length that was promised.
func readAll(r io.Reader, promised int64) ([]byte, error) {
	if 0 < promised && promised <= firstBuffer {
		b := make([]byte, promised)
		_, err := io.ReadFull(r, b)
		return b, err
	}
	var b bytes.Buffer
	b.Grow(firstBuffer)
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}
