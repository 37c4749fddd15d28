package guest

import (
	"bytes"
	"encoding/json"
	"strconv"

	"hearth/internal/controlstream"
)

// accepted is the answer to every call that worked, whole.
const accepted = "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"status\":\"OK\"}\n"

var reasons = map[int]string{
	200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
	413: "Request Entity Too Large", 431: "Request Header Fields Too Large",
}

var acceptedBytes = []byte(accepted)

func (c *conn) accept() error {
	_, err := c.Write(acceptedBytes)
	return err
}

// reply answers with an error of the Runtime API.
func (c *conn) reply(status int, kind, message string) error {
	body, err := json.Marshal(struct {
		ErrorMessage string `json:"errorMessage"`
		ErrorType    string `json:"errorType"`
	}{message, kind})
	if err != nil {
		return err
	}
	return c.writeAnswer(status, "application/json", string(body))
}

func (c *conn) writeAnswer(status int, contentType, body string) error {
	b := append(c.out[:0], "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, reasons[status]...)
	b = appendField(b, "\r\nContent-Type: ", contentType)
	if c.req.close {
		b = append(b, "\r\nConnection: close"...)
	}
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, "\r\n\r\n"...)
	b = append(b, body...)
	c.out = b
	_, err := c.Write(b)
	return err
}

// writeEvent answers a call of next, without a wait: what the runtime does
// not take at once is written by a goroutine of its own. buf is scratch space;
// the grown one is returned.
func (c *conn) writeEvent(buf []byte, in *controlstream.Invoke, payload []byte) ([]byte, error) {
	b := append(buf[:0], "HTTP/1.1 200 OK"...)
	contentType := in.ContentType
	if contentType == "" {
		contentType = "application/json"
	}
	b = appendField(b, "\r\nContent-Type: ", contentType)
	b = appendField(b, "\r\nLambda-Runtime-Aws-Request-Id: ", in.RequestID)
	b = append(b, "\r\nLambda-Runtime-Deadline-Ms: "...)
	b = strconv.AppendInt(b, in.DeadlineMs, 10)
	b = appendField(b, "\r\nLambda-Runtime-Invoked-Function-Arn: ", in.FunctionARN)
	if in.TraceID != "" {
		b = appendField(b, "\r\nLambda-Runtime-Trace-Id: ", in.TraceID)
	}
	if len(in.ClientContext) > 0 {
		b = appendField(b, "\r\nLambda-Runtime-Client-Context: ", in.ClientContext)
	}
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(payload)), 10)
	b = append(b, "\r\n\r\n"...)
	c.waiting.Store(false)
	if len(payload) > controlstream.KeptPayload {
		head := bytes.Clone(b)
		go func() {
			if _, err := c.Write(head); err == nil {
				_, _ = c.Write(payload) // a failure is the runtime's affair
			}
		}()
		return b, nil
	}
	b = append(b, payload...)
	n, err := c.tryWrite(b)
	if err == nil && n < len(b) {
		rest := bytes.Clone(b[n:])
		go func() { _, _ = c.Write(rest) }()
	}
	return b, err
}

// appendField appends a header field's value. Control characters, which a
// caller could split the head with, become spaces: the values that may hold
// any are JSON, where they mean nothing else.
func appendField[T string | []byte](b []byte, name string, value T) []byte {
	b = append(b, name...)
	for i := range len(value) {
		ch := value[i]
		if ch < ' ' || ch == 0x7f {
			ch = ' '
		}
		b = append(b, ch)
	}
	return b
}
