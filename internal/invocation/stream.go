package invocation

// StreamHead is what is known of a streamed answer before its first byte.
type StreamHead struct {
	// ContentType is the function's. An answer of type HTTPIntegration begins
	// with metadata, which is passed on as it came.
	ContentType string
	// Version is the one that runs.
	Version string
	// Streamed says that the function itself streams. Otherwise its whole
	// answer follows in one Write.
	Streamed bool
}

// HTTPIntegration is the content type of a streamed answer whose first bytes
// are a JSON object with statusCode, headers and cookies, and eight zero bytes.
const HTTPIntegration = "application/vnd.awslambda.http-integration-response"

// Sink takes a function's answer as it comes. Its methods are called from the
// goroutine that asked for the invoke: Begin once, then Write any number of
// times. Neither is called for an invoke that failed before its first byte.
type Sink interface {
	Begin(StreamHead)
	// Write blocks while the client takes no more, and so holds up the function
	// in its own write. An error says that the client is gone: there is no
	// further call then, and the function runs on.
	Write([]byte) (int, error)
}
