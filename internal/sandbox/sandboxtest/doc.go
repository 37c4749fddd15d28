// Package sandboxtest is the conformance suite of sandbox drivers: what every
// driver must do, and must not let happen, whatever isolates its sandboxes.
//
// The suite boots real sandboxes from a root file system of its own, with a
// small program in place of hearth-init (testdata/init) that acts on request
// as hearth-init would or as a hostile function would. Checks share sandboxes
// where one does not spoil it for the next, so that the whole suite takes
// well under a minute.
package sandboxtest
