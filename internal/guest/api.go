package guest

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"hearth/internal/controlstream"
	"hearth/internal/invocation"
)

// handleNext registers the connection as the one that waits for an event. No
// answer is written here unless it is an error: see conn.waiting.
func (c *conn) handleNext() error {
	c.waiting.Store(true)
	refused, err := c.s.life.next(c)
	if refused == nil {
		return err
	}
	c.waiting.Store(false)
	return c.replyRefusal(refused)
}

// refusal is why a call is not allowed now.
type refusal struct {
	status        int
	kind, message string
}

func (c *conn) replyRefusal(r *refusal) error { return c.reply(r.status, r.kind, r.message) }

func (c *conn) declineRefusal(r *refusal) error { return c.decline(r.status, r.kind, r.message) }

var badRequestID = &refusal{400, "InvalidRequestID", "Invalid request ID"}

func badTransition(from phase, to string) *refusal {
	return &refusal{403, "InvalidStateTransition", fmt.Sprintf(
		"State transition from %s to %s failed for runtime. Error: State transition is not allowed", from, to)}
}

// handleResponse takes the function's answer.
func (c *conn) handleResponse() error {
	if refused := c.s.life.claim(c, c.req.id, "InvocationResponse"); refused != nil {
		return c.declineRefusal(refused)
	}
	defer c.s.life.release(c)
	streaming := strings.EqualFold(c.req.mode, "streaming")
	if c.req.mode != "" && !streaming && !strings.EqualFold(c.req.mode, "buffered") {
		const message = "Invalid response mode header: use streaming, or leave it out"
		c.s.life.answer(c, &controlstream.Response{Status: controlstream.StatusError, ErrorType: typeBadMode},
			errorPayload(typeBadMode, message))
		return c.decline(400, "InvalidFunctionResponseMode", message)
	}
	// A runtime that does not know the length of its answer has not got all of
	// it yet, whether it says so or not.
	if (streaming || c.req.length < 0) && c.s.life.streams() {
		return c.streamResponse()
	}
	c.s.bodyMu.Lock()
	defer c.s.bodyMu.Unlock()
	body, trail, err := c.readBody(invocation.MaxResponse)
	switch {
	case errors.Is(err, errTooLarge):
		c.s.life.answer(c, &controlstream.Response{Status: controlstream.StatusTooLarge, ErrorType: typeTooLarge},
			tooLargePayload(invocation.MaxResponse))
		return c.replyTooLarge(invocation.MaxResponse)
	case err != nil:
		return c.replyUnread(err)
	}
	resp := &controlstream.Response{
		Status:      controlstream.StatusSuccess,
		ContentType: c.req.contentType,
		Streaming:   streaming,
	}
	if trail.errorType != "" {
		resp.Status, resp.ErrorType = controlstream.StatusError, platformErrorType(trail.errorType)
		body = trailerError(trail)
	}
	return c.s.life.answerAccept(c, resp, body)
}

func (c *conn) replyTooLarge(limit int) error {
	return c.reply(413, "RequestEntityTooLarge", fmt.Sprintf("Exceeded maximum allowed payload size (%d bytes).", limit))
}

// trailerError is what the caller gets when a runtime failed in the middle of
// its answer.
func trailerError(t trailers) []byte {
	body := make([]byte, base64.StdEncoding.DecodedLen(len(t.errorBody)))
	n, err := base64.StdEncoding.Decode(body, t.errorBody)
	if err != nil || n == 0 {
		return errorPayload(platformErrorType(t.errorType), "The runtime failed in the middle of its response")
	}
	return body[:n]
}

// handleError takes the function's error.
func (c *conn) handleError() error {
	if refused := c.s.life.claim(c, c.req.id, "InvocationErrorResponse"); refused != nil {
		return c.declineRefusal(refused)
	}
	defer c.s.life.release(c)
	c.s.bodyMu.Lock()
	defer c.s.bodyMu.Unlock()
	body, _, err := c.readBody(invocation.MaxResponse)
	resp := &controlstream.Response{
		Status:      controlstream.StatusError,
		ErrorType:   platformErrorType(c.req.errorType),
		ContentType: c.req.contentType,
	}
	switch {
	case errors.Is(err, errTooLarge):
		resp.Status, resp.ErrorType, resp.ContentType = controlstream.StatusTooLarge, typeTooLarge, ""
		c.s.life.answer(c, resp, tooLargePayload(invocation.MaxResponse))
		return c.replyTooLarge(invocation.MaxResponse)
	case err != nil:
		return c.replyUnread(err)
	}
	if c.req.contentType == causeContentType {
		body, resp.ContentType = withoutCause(body), ""
	}
	return c.s.life.answerAccept(c, resp, body)
}

// handleInitError takes the report that init failed.
func (c *conn) handleInitError() error {
	if refused := c.s.life.mayFailInit(); refused != nil {
		return c.declineRefusal(refused)
	}
	c.s.bodyMu.Lock()
	defer c.s.bodyMu.Unlock()
	body, _, err := c.readBody(controlstream.MaxInitError)
	switch {
	case errors.Is(err, errTooLarge):
		body = errorPayload(platformErrorType(c.req.errorType),
			fmt.Sprintf("The runtime's error report is longer than %d bytes", controlstream.MaxInitError))
	case err != nil:
		return c.replyUnread(err)
	}
	if c.req.contentType == causeContentType {
		body = withoutCause(body)
	}
	kind := platformErrorType(c.req.errorType)
	if refused := c.s.life.postInitError(kind, append([]byte(nil), body...)); refused != nil {
		return c.replyRefusal(refused)
	}
	err = c.accept()
	c.s.life.failInit()
	return err
}

// replyUnread answers a request whose body could not be read.
func (c *conn) replyUnread(err error) error {
	c.req.close = true
	if errors.Is(err, errTruncated) {
		return c.reply(400, "TruncatedHTTPRequest", "HTTP request detected as truncated")
	}
	return c.reply(400, "InvalidRequest", "Malformed HTTP request body")
}

// causeContentType says that the error's body holds an X-Ray cause too.
const causeContentType = "application/vnd.aws.lambda.error.cause+json"

// withoutCause returns the part of an error body that callers get.
func withoutCause(body []byte) []byte {
	var whole struct {
		ErrorMessage string   `json:"errorMessage"`
		ErrorType    string   `json:"errorType"`
		StackTrace   []string `json:"stackTrace"`
	}
	if json.Unmarshal(body, &whole) != nil {
		return body
	}
	part, err := json.Marshal(whole)
	if err != nil {
		return body
	}
	return part
}
