// Package invocation holds one invoke as it travels between services: what is
// asked, what came back, and where the time went. It is a leaf: plain data.
package invocation

import (
	"time"

	"hearth/internal/environment"
)

// Limits on payloads, in bytes.
const (
	// MaxRequest is the largest synchronous payload: 6 MiB.
	MaxRequest = 6 << 20
	// MaxResponse is the largest buffered answer of a function: 6 MiB and
	// 100 bytes, as AWS's Runtime API enforces it.
	MaxResponse = 6<<20 + 100
	// MaxStream is the largest streamed answer: 200 MiB, as AWS's since July 2025.
	MaxStream = 200 << 20
	// LogTail is how much of the log a caller with LogType Tail gets back.
	LogTail = 4 << 10
)

// Request is an invoke after authentication and resolution.
type Request struct {
	// ID is the request id (a UUID), the same in headers, logs and answers.
	ID string
	// InvokedARN is the function's ARN as invoked, with a qualifier if any.
	InvokedARN string
	Payload    []byte
	// ClientContext is the decoded JSON of X-Amz-Client-Context, or empty.
	ClientContext []byte
	// TraceID is the X-Amzn-Trace-Id value handed to the function.
	TraceID string
	// Tail asks for the end of the log.
	Tail bool
}

// Response is how an invoke ended, as the caller may see it.
type Response struct {
	Payload []byte
	// FunctionError is empty, or AWS's word for X-Amz-Function-Error.
	FunctionError string
	Version       string
	// Log is the last 4 KiB of the invoke's log, if it was asked for.
	Log     []byte
	Outcome environment.Outcome
	// Run is the time the function took, as billed (before rounding up).
	Run time.Duration
}

// Unit is one admitted unit of concurrency; Release gives it back and is
// called exactly once.
type Unit interface{ Release() }

// Timeline is the waterfall of one invoke. A zero step did not happen.
type Timeline struct {
	Count  time.Duration // admission by counting
	Assign time.Duration // from asking assignment to holding an environment
	Cold   *environment.Started
	Run    time.Duration // from handing the payload to the worker to its answer
}
