// Package e2e tests a running Hearth from the outside, as its users meet it:
// the race-enabled binary as a process, driven by boto3, the AWS CLI, the
// JavaScript SDK and the Go SDK, with functions of every runtime in real
// sandboxes.
//
// One Hearth serves all tests of the package but those about starting, and at
// the end nothing of it may be left on the machine. The functions are
// testdata/python, testdata/node and bootstrap: each does what its event asks
// for, in the same words.
package e2e
