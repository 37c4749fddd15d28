// Package logstore keeps the logs of functions on disk, by log group (one a
// function) and log stream (one an environment). The file format is
// docs/formats/log-segment.md.
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
//
// Failure modes: while the disk is full or failing, lines are dropped and
// counted as above. Logs are not synced on each flush, so a power cut can take
// the last seconds; a killed process loses at most FlushInterval.
package logstore
