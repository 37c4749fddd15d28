// Package logsapi is the part of CloudWatch Logs' API that tools use with
// functions, over the logs in a logstore.Store: groups, streams, retention,
// tags, writing, reading, filtering and Live Tail. The design is in
// docs/logs.md.
//
// It owns the meaning of the operations and AWS's words for what is wrong with
// a request. The wire (HTTP, signatures, the shape of errors) is the API
// server's, and what is kept is the store's.
//
// Invariants:
//
//  1. Nothing is read or changed before the caller's allow has agreed to the
//     action and the ARNs of what it is about; both come from the same parsed
//     request that is then served.
//  2. An account sees and changes its own groups only.
//  3. A page holds at most 10,000 events and about 1 MiB of messages, and no
//     operation holds more than that of a log in memory.
//  4. At most maxScans logs are being read at once, and maxSessions Live Tails
//     run for an account; a slow reader of a tail costs its sampled events,
//     never memory.
//  5. Reading on with the tokens of FilterLogEvents or GetLogEvents misses and
//     repeats no event that was there when the reading began.
//
// Failure modes: a log that is being rotated or expires while it is read is
// read without what goes. A full disk is a ServiceUnavailableException.
package logsapi
