package guest

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"syscall"

	"hearth/internal/controlstream"
)

// The platform's error types, in AWS's words.
const (
	typeExitError         = "Runtime.ExitError"
	typeInvalidEntrypoint = "Runtime.InvalidEntrypoint"
	typeInvalidWorkingDir = "Runtime.InvalidWorkingDir"
	typeUnknown           = "Runtime.Unknown"
	typeFunctionUnknown   = "Function.Unknown"
	typeTooLarge          = "Function.ResponseSizeTooLarge"
	typeBadMode           = "Runtime.InvalidResponseModeHeader"
	typeTruncated         = "Runtime.TruncatedResponse"
	typeInitTimeout       = "Sandbox.Timedout"
)

// failure is why a runtime could not start or ended, as callers see it.
type failure struct {
	status  controlstream.Status
	kind    string // errorType
	message string // without the request id
	body    []byte // what the runtime posted; else made from the above
}

// payload is what the caller of the request gets; id is empty for an init
// phase of its own.
func (f *failure) payload(id string) []byte {
	if f.body != nil {
		return f.body
	}
	message := f.message
	if id != "" {
		message = fmt.Sprintf("RequestId: %s Error: %s", id, f.message)
	}
	return errorPayload(f.kind, message)
}

func errorPayload(kind, message string) []byte {
	b, err := json.Marshal(struct {
		ErrorType    string `json:"errorType"`
		ErrorMessage string `json:"errorMessage"`
	}{kind, message})
	if err != nil {
		panic(err) // two strings always marshal
	}
	return b
}

// tooLargePayload is what the caller gets for an answer over the limit.
func tooLargePayload(limit int) []byte {
	return errorPayload(typeTooLarge, fmt.Sprintf(
		"Response payload size exceeded maximum allowed payload size (%d bytes).", limit))
}

// exitFailure says in AWS's words how the runtime's process ended.
func exitFailure(status syscall.WaitStatus) *failure {
	f := &failure{status: controlstream.StatusExited, kind: typeExitError}
	switch {
	case status.Signaled():
		f.message = "Runtime exited with error: signal: " + status.Signal().String()
		if status.CoreDump() {
			f.message += " (core dumped)"
		}
	case status.ExitStatus() != 0:
		f.message = fmt.Sprintf("Runtime exited with error: exit status %d", status.ExitStatus())
	default:
		f.message = "Runtime exited without providing a reason"
	}
	return f
}

var errorTypePattern = regexp.MustCompile(`^(Runtime|Function)\.[A-Z][a-zA-Z]+$`)

// platformErrorType is the type of a failure for logs and metrics, from the
// header that the runtime sent. AWS lets through two shapes only.
func platformErrorType(header string) string {
	switch {
	case errorTypePattern.MatchString(header):
		return header
	case strings.HasPrefix(header, "Function."):
		return typeFunctionUnknown
	default:
		return typeUnknown
	}
}
