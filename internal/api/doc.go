// Package api is Hearth's front door: AWS's Lambda API (and the part of STS
// that tools ask for) over HTTP, as the SDKs and the CLI speak it.
//
// It owns the wire: routes, codec, signatures, constraints, defaults and
// AWS's words for errors. It owns no state: what functions exist, and running
// them, belong to the Functions and Invoker it is given. The design is in
// docs/api.md.
//
// Invariants:
//
//  1. Nothing but the health check is done for a caller whose signature has
//     not been verified; no more than the operation's limit of a body is
//     read, and none of it before the credentials' shape, key and age hold.
//  2. Routes, shapes and status codes come from the SDK's schemas, bounds and
//     patterns from AWS's API model: both tables are generated.
//  3. Every answer carries a request id; for an invoke it is the one that the
//     function sees. Every log line carries it too.
//  4. Payloads, environment variables and secrets are never logged.
//  5. A client that goes away does not cancel its function.
//  6. An answer that is streamed is never in memory whole, and each piece of
//     it leaves before the next is asked for.
//
// Failure modes: a fault of Hearth's own is a ServiceException to the caller
// and an error in the log; a panic in a handler is the same.
package api
