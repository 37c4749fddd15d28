// Package logstore keeps the logs of functions and tools on disk, by account,
// log group (one a function, as a rule) and log stream (one an environment).
// The file formats are in docs/formats/log-segment.md, the design in
// docs/logs.md.
//
// Invariants:
//
//  1. Append never waits for the disk. It copies the line into memory that is
//     bounded; what does not fit is dropped, counted, and the count is written
//     into the log in its place.
//  2. What was appended is readable after FlushInterval, and after Stop.
//  3. A group takes at most Segments × SegmentBytes on disk, and one flush.
//  4. Whatever is in a segment, reading it ends and never fails: a record that
//     a crash tore, or that is damaged, ends its segment.
//  5. A group's existence, retention, tags and created or deleted streams are
//     on disk when the call that changed them returns.
//  6. An event's position never changes and is never another's, also when the
//     events before it expire, or its group is deleted and made again.
//  7. What has expired or been deleted is not read from that moment on.
//
// One goroutine writes, deletes and expires; any number read.
//
// Failure modes: while the disk is full or failing, lines are dropped and
// counted as above, and Put returns the error. Logs are not synced on each
// flush, so a power cut can take the last seconds; a killed process loses at
// most FlushInterval.
package logstore
