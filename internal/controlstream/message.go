package controlstream

import "time"

// Version is the version of this protocol. Worker and hearth-init come from
// one build, so there is no negotiation: any other version is refused.
const Version = 4

// Endpoint is the address at which a function reaches Hearth's API, inside its
// sandbox. It is link-local, as such addresses are on AWS, and the loopback
// device's: no packet for it leaves the sandbox.
const Endpoint = "169.254.100.1:80"

// EndpointURL is Endpoint as SDKs want it.
const EndpointURL = "http://169.254.100.1"

// Hello is the first message of hearth-init.
type Hello struct {
	// Protocol is the version of this protocol that hearth-init speaks.
	Protocol int `json:"protocol"`
	// Prewarmed says that a runtime bootstrap is already running and waits
	// for its assignment.
	Prewarmed bool `json:"prewarmed"`
}

// Mount asks hearth-init to bind a late directory to its place.
type Mount struct {
	Source   string `json:"source"` // below sandbox.LateDir
	Target   string `json:"target"` // for example /var/task
	ReadOnly bool   `json:"readOnly"`
}

// Assignment makes a function-less sandbox an environment of a function.
type Assignment struct {
	FunctionName    string `json:"functionName"`
	FunctionVersion string `json:"functionVersion"`
	AccountID       string `json:"accountId"`
	Handler         string `json:"handler"`
	// CustomerEnv are the variables that the function's owner set, PlatformEnv
	// those that Hearth sets; reserved names are Hearth's.
	CustomerEnv map[string]string `json:"customerEnv"`
	PlatformEnv map[string]string `json:"platformEnv"`
	Mounts      []Mount           `json:"mounts"`
	// Image is set for a function that is a container image.
	Image *Image `json:"image,omitempty"`
	// UID and GID are the function's user; never 0.
	UID int `json:"uid"`
	GID int `json:"gid"`
	// Files and Processes are the resource limits of the function.
	Files     int `json:"files"`
	Processes int `json:"processes"`
}

// Image says how to start a function that is a container image.
type Image struct {
	// Command is the program and its arguments: EntryPoint and Command.
	Command []string `json:"command"`
	// Dir is the working directory; empty is /.
	Dir string `json:"dir"`
	// Env are the image's own variables; the function's win over them.
	Env map[string]string `json:"env"`
}

// InitReport says how an init phase ended.
type InitReport struct {
	Status   Status // StatusSuccess, StatusError, StatusExited or StatusTimeout
	Duration time.Duration
	// ErrorType is AWS's word, for instance Runtime.ExitError.
	ErrorType string
	// Error is what a caller gets as payload if this failure is final: what
	// the runtime posted to init/error, or AWS's words for an exit. At most
	// MaxInitError bytes.
	Error []byte
}

// Invoke is one invoke; its payload travels beside it.
type Invoke struct {
	RequestID   string
	FunctionARN string
	// DeadlineMs is Unix time in milliseconds; 0 is none. The Session tells
	// hearth-init to end an invoke that is not over by then; the worker keeps
	// a later deadline, because hearth-init cannot be trusted to.
	DeadlineMs    int64
	TraceID       string
	ClientContext []byte
	ContentType   string // empty: application/json
	// Window is how many bytes of its answer hearth-init may send in pieces
	// before it gets credit for more; 0: the answer is one Response.
	Window int
}

// Status is how a phase ended.
type Status string

// The statuses.
const (
	StatusSuccess Status = "success"
	// StatusError: the runtime reported an error and lives on.
	StatusError Status = "error"
	// StatusExited: the runtime's process ended.
	StatusExited Status = "exited"
	// StatusTimeout: the phase ran out of time.
	StatusTimeout Status = "timeout"
	// StatusInitError: the invoke had to run init again, and that failed.
	StatusInitError Status = "init-error"
	// StatusTooLarge: the function's answer was over the limit; it lives on.
	StatusTooLarge Status = "response-too-large"
)

// StreamHead is what is known of an answer that comes in pieces.
type StreamHead struct {
	RequestID   string
	ContentType string
}

// Response is the function's answer; its payload travels beside it. It ends an
// answer that came in pieces: then its payload is that of the failure, if it
// failed, and nothing else.
type Response struct {
	RequestID string
	Status    Status
	// ErrorType is the platform's type of a failure, for the log and metrics.
	ErrorType   string
	ContentType string
	// Streaming says that the runtime posted in streaming mode.
	Streaming bool
}

// Done says that the invoke is over: the runtime asks for the next one, or
// has ended.
type Done struct {
	RequestID string
	// Alive says that the runtime can take another invoke.
	Alive bool
	// Duration is from the runtime taking the event to its answer, or end.
	Duration time.Duration
	// Init is set when init ran again inside this invoke.
	Init *InitReport
}

// LogRecord is a line, or a piece of one, that the function wrote.
type LogRecord struct {
	RequestID string    // empty during init
	Time      time.Time // when hearth-init read it
	Data      []byte    // valid during the call only
}
