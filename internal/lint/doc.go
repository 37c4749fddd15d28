// Package lint holds the rules of this repository that no linter knows: which
// package may import which, that each says what it is for, and what must not
// be in any file. Its tests apply them to the tree, so `go test` enforces them
// without a tool to install.
//
// Each rule is a function from what is there to a list of findings; each has
// a test that feeds it something bad, too.
package lint
