package api

import (
	"bytes"
	"errors"
	"io"
	"net/http"

	"hearth/internal/awserr"
	"hearth/internal/invocation"
	"hearth/internal/sigv4"
)

// Request limits in bytes, as AWS names them in its errors.
const (
	maxBody     = 6 << 20  // of everything but uploads
	maxUpload   = 70167211 // of an operation that carries a zip in its JSON
	firstBuffer = 64 << 10 // memory set aside on the strength of a Content-Length alone
)

// maxBody is the largest request body of the operation.
func (op *operation) maxBody() int64 {
	switch op.name {
	case "CreateFunction", "UpdateFunctionCode", "PublishLayerVersion":
		return maxUpload
	case "Invoke", "InvokeWithResponseStream":
		return invocation.MaxRequest
	}
	return maxBody
}

// tooLarge words the refusal of a body, as AWS does.
func tooLarge(op *operation, limit int64) error {
	switch {
	case op == nil:
		return awserr.New("RequestEntityTooLargeException", "Request must be smaller than %d bytes", limit)
	case op.name == "Invoke":
		return awserr.New("RequestTooLargeException", "Request must be smaller than %d bytes for the InvokeFunction operation", limit)
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
	if c.r.ContentLength > wire {
		c.w.Header().Set("Connection", "close")
		return nil, tooLarge(c.op, limit)
	}
	var raw []byte
	var err error
	if c.r.ContentLength != 0 {
		raw, err = readAll(http.MaxBytesReader(c.w, c.r.Body, wire), c.r.ContentLength)
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, tooLarge(c.op, limit)
	}
	if err != nil {
		return nil, awserr.New("SerializationException", "The request body ended before its declared length.")
	}
	body, err := p.Check(raw)
	if err != nil {
		return nil, err
	}
	if int64(len(body)) > limit {
		return nil, tooLarge(c.op, limit)
	}
	return body, nil
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
