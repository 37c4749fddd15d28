// Package awserr holds the errors that AWS's APIs answer: one table of codes
// with their HTTP status and the shape of their body, and the error type that
// every service returns for whatever a caller is to see.
package awserr

import (
	"errors"
	"fmt"
	"net/http"
)

// Error is an error in AWS's words. Only its fields reach the caller; wrap
// causes beside it, not in it.
type Error struct {
	Code    string
	Message string
	// Reason is TooManyRequestsException's Reason, empty otherwise.
	Reason string
	// RetryAfterSeconds goes into the Retry-After header if it is positive.
	RetryAfterSeconds int
}

// New makes an error of a code in the table; the text is formatted.
func New(code, format string, args ...any) *Error {
	if _, ok := kinds[code]; !ok {
		panic("awserr: code is not in the table: " + code)
	}
	if len(args) > 0 {
		format = fmt.Sprintf(format, args...)
	}
	return &Error{Code: code, Message: format}
}

// Reasons of TooManyRequestsException.
const (
	ReasonConcurrentInvocationLimit         = "ConcurrentInvocationLimitExceeded"
	ReasonReservedConcurrentInvocationLimit = "ReservedFunctionConcurrentInvocationLimitExceeded"
	ReasonFunctionInvocationRateLimit       = "FunctionInvocationRateLimitExceeded"
	ReasonCallerRateLimit                   = "CallerRateLimitExceeded"
)

// Throttled is TooManyRequestsException with its reason.
func Throttled(reason string) *Error {
	e := New("TooManyRequestsException", "Rate Exceeded.")
	e.Reason = reason
	return e
}

// Internal is what a caller sees of a failure that is Hearth's own.
func Internal() *Error {
	return New("ServiceException", "The service encountered an internal error. Retry; the server's log tells more under this request id.")
}

// As returns the Error in err's chain.
func As(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// HTTPStatus is the status code of the answer.
func (e *Error) HTTPStatus() int { return kinds[e.Code].status }

// Body is the members of the answer's JSON body.
func (e *Error) Body() map[string]any {
	k := kinds[e.Code]
	body := map[string]any{k.key: e.Message}
	if k.modelled {
		body["Type"] = "User"
		if k.status >= http.StatusInternalServerError {
			body["Type"] = "Service"
		}
	}
	if e.Reason != "" {
		body["Reason"] = e.Reason
	}
	return body
}
