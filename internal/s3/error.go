package s3

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error is an error that the server answered.
type Error struct {
	Status int
	// Code and Message are S3's, for instance NoSuchKey. Code is never empty.
	Code, Message string
}

func (e *Error) Error() string { return fmt.Sprintf("s3: %d %s: %s", e.Status, e.Code, e.Message) }

// maxError bounds what is read of an error's body.
const maxError = 16 << 10

// readError reads an answer that is not an object.
func readError(resp *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxError))
	if err != nil {
		return fmt.Errorf("%w: status %d: %w", ErrUnreachable, resp.StatusCode, err)
	}
	e, ok := parseError(b)
	e.Status = resp.StatusCode
	switch {
	case resp.Request.Method == http.MethodHead && resp.StatusCode >= http.StatusBadRequest:
		// It has no body: the status must do.
		e.Code, e.Message = strings.ReplaceAll(http.StatusText(e.Status), " ", ""), "the answer says no more"
		return e
	case ok && resp.StatusCode >= http.StatusMultipleChoices:
		return e
	case resp.StatusCode >= http.StatusMultipleChoices && resp.StatusCode < http.StatusBadRequest:
		return fmt.Errorf("%w: it redirects to %q, which is not followed", ErrUnreachable, clean(resp.Header.Get("Location")))
	}
	return fmt.Errorf("%w: status %d without an error in S3's form; is this an S3 endpoint?", ErrUnreachable, resp.StatusCode)
}

// parseError reads the body of an error.
func parseError(b []byte) (*Error, bool) {
	var doc struct {
		XMLName xml.Name `xml:"Error"`
		Code    string   `xml:"Code"`
		Message string   `xml:"Message"`
	}
	if err := xml.Unmarshal(b, &doc); err != nil {
		return &Error{}, false
	}
	e := &Error{Code: clean(doc.Code), Message: clean(doc.Message)}
	if e.Message == "" {
		e.Message = words[e.Code]
	}
	return e, e.Code != ""
}

// words are AWS's for the errors that callers meet: not every server has
// some.
var words = map[string]string{
	"AccessDenied":  "Access Denied",
	"NoSuchBucket":  "The specified bucket does not exist",
	"NoSuchKey":     "The specified key does not exist.",
	"NoSuchVersion": "The specified version does not exist.",
}

// maxText bounds what of the server's words is passed on, in bytes.
const maxText = 512

// clean makes a foreign text fit for a message: one line, of valid UTF-8 and
// bounded length.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = strings.TrimSpace(s)
	if len(s) <= maxText {
		return s
	}
	cut := maxText
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
