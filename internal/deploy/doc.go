// Package deploy turns a directory of source code into what CreateFunction
// takes: it detects the runtime and the handler, builds where there is
// something to build, and makes a deterministic zip archive.
package deploy
