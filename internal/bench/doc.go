// Package bench measures Hearth against floors taken in the same run, so that
// a figure means something on any machine: ratios, not milliseconds.
//
// The floors are: a bare net/http server in a process of its own, driven by
// the same client; the same handler in the same kind of sandbox, called
// straight over the sandbox's control stream; and the same interpreter started
// plainly, on the host and by runsc. What is measured, and how, is written in
// docs/benchmarks.md.
//
// Storage measures volumes: container images that it makes of random bytes, in
// Hearths whose origin of chunks is late and keeps a log of what it was asked
// for (Origin).
package bench
