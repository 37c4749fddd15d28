// Package managedruntime builds and keeps the images of the managed runtimes:
// one ext4 file per runtime, the root file system of every sandbox of that
// runtime. The recipes are in package runtimes; docs/runtimes.md describes
// what an image holds.
//
// The store owns a directory. Hearth and the tests of several packages may
// share one, so that a machine builds each image once.
//
// Invariants:
//
//  1. An image in the store is whole: it is written under a temporary name,
//     synced, and renamed. Its description is written last, and an image
//     without one does not exist.
//  2. An image's file never changes. A changed recipe is another file.
//  3. One build of a runtime at a time, in all processes that share the
//     directory; the others wait and use its result.
//  4. What a killed build left is removed by the next build.
//
// Failure modes: no network or package source, a tool that is missing, a full
// disk, not root. Each is an error that names the next step; nothing is left.
package managedruntime
