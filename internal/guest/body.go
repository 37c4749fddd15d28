package guest

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// trailers are the trailer fields of interest: a runtime that fails in the
// middle of its answer says so in them.
type trailers struct {
	errorType string
	errorBody []byte // base64
}

// bodyReader reads the body of the request q from r.
type bodyReader struct {
	r         *bufio.Reader
	left      int64 // of the body, or of the current chunk
	chunked   bool
	started   bool // a chunk was read
	ended     bool
	wantTrail bool // keep the trailers of interest
	trailers  trailers
}

func newBodyReader(r *bufio.Reader, q *request) bodyReader {
	b := bodyReader{r: r, left: q.length, chunked: q.length < 0}
	if b.chunked {
		b.left = 0
	}
	return b
}

// readInto appends the body to buf, which may grow up to limit bytes.
// errTooLarge means that the body is longer; the rest is unread.
func (b *bodyReader) readInto(buf []byte, limit int) ([]byte, error) {
	for {
		if err := b.advance(); err != nil {
			return buf, err
		}
		if b.ended {
			return buf, nil
		}
		if b.left > int64(limit-len(buf)) {
			return buf, errTooLarge
		}
		// Memory for what is announced is set aside as it arrives, for it may
		// never do so.
		n := int(min(b.left, 64<<10))
		at := len(buf)
		if cap(buf)-at < n {
			buf = append(buf, make([]byte, n)...)
		}
		buf = buf[:at+n]
		got, err := io.ReadFull(b.r, buf[at:])
		buf, b.left = buf[:at+got], b.left-int64(got)
		if err != nil {
			return buf, truncated(err)
		}
	}
}

// readSome waits for a part of the body and fills buf with what has come,
// without a wait for more, or finds the end.
func (b *bodyReader) readSome(buf []byte) (n int, err error) {
	for n < len(buf) && (n == 0 || b.ready()) {
		if err := b.advance(); err != nil {
			return n, err
		}
		if b.ended {
			return n, nil
		}
		got, err := b.r.Read(buf[n:min(len(buf), n+int(min(b.left, int64(len(buf)))))])
		n, b.left = n+got, b.left-int64(got)
		if err != nil {
			return n, truncated(err)
		}
	}
	return n, nil
}

// ready says that bytes of the body can be had without a wait: some of the
// current chunk have come, or all of the next one's first line, which is not
// the last chunk's.
func (b *bodyReader) ready() bool {
	if b.left > 0 || !b.chunked {
		return b.left > 0 && b.r.Buffered() > 0
	}
	come, _ := b.r.Peek(b.r.Buffered()) // no more than there is
	_, line, ended := bytes.Cut(come, []byte{'\n'})
	return ended && len(line) > 0 && line[0] != '0' && bytes.IndexByte(line, '\n') >= 0
}

// skip reads up to maxSkip bytes of the rest of the body, and forgets them.
func (b *bodyReader) skip() error {
	for limit := int64(maxSkip); ; {
		if err := b.advance(); err != nil {
			return err
		}
		if b.ended {
			return nil
		}
		if limit -= b.left; limit < 0 {
			return errTooLarge
		}
		if _, err := io.CopyN(io.Discard, b.r, b.left); err != nil {
			return truncated(err)
		}
		b.left = 0
	}
}

// advance makes left positive, or ended true.
func (b *bodyReader) advance() error {
	if b.left > 0 || b.ended {
		return nil
	}
	if !b.chunked {
		b.ended = true
		return nil
	}
	if b.started {
		if err := b.expectLineEnd(); err != nil {
			return err
		}
	}
	b.started = true
	size, err := b.chunkSize()
	if err != nil {
		return err
	}
	if b.left = size; size == 0 {
		b.ended = true
		return b.readTrailers()
	}
	return nil
}

func (b *bodyReader) expectLineEnd() error {
	line, err := b.r.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return truncated(err)
	}
	if len(trimLine(line)) != 0 {
		return fmt.Errorf("%w: chunk longer than its size", errBadRequest)
	}
	return nil
}

// chunkSize reads a chunk's first line. Extensions are passed over.
func (b *bodyReader) chunkSize() (int64, error) {
	line, err := b.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return 0, fmt.Errorf("%w: chunk size line too long", errBadRequest)
	}
	if err != nil {
		return 0, truncated(err)
	}
	line = trimLine(line)
	n := 0
	for n < len(line) && isHex(line[n]) {
		n++
	}
	if rest := line[n:]; len(rest) > 0 && rest[0] != ';' && rest[0] != ' ' && rest[0] != '\t' {
		return 0, fmt.Errorf("%w: chunk size", errBadRequest)
	}
	size, err := strconv.ParseUint(string(line[:n]), 16, 62)
	if err != nil {
		return 0, fmt.Errorf("%w: chunk size", errBadRequest)
	}
	return int64(size), nil
}

func (b *bodyReader) readTrailers() error {
	f := fieldReader{r: b.r, budget: 2 * maxTrailer, limit: connBuffer}
	if b.wantTrail {
		f.limit = maxTrailer
	}
	for {
		name, value, err := f.next()
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return truncated(err)
		case err != nil:
			return err
		case name == nil:
			return nil
		case !b.wantTrail:
		case isField(name, "lambda-runtime-function-error-type"):
			if err := keepValue(&b.trailers.errorType, value); err != nil {
				return err
			}
		case isField(name, "lambda-runtime-function-error-body"):
			b.trailers.errorBody = append(b.trailers.errorBody[:0], value...)
		}
	}
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// errTruncated says that the client went away in the middle of a body.
var errTruncated = errors.New("request cut off")

func truncated(err error) error {
	return fmt.Errorf("%w: %w", errTruncated, err)
}
