// Package flatten makes one ext4 file system of a list of layers: tars of
// container images, with their whiteouts, and zips of code. The same layers
// give the same bytes, on any machine and at any time. Every byte of a layer is
// hostile.
//
// The image is never written as such. New reads each layer once and keeps the
// files' contents in one temporary file without a name; where everything is in
// the image is then computed, and Image.ReadAt answers for any part of it.
//
// Invariants:
//
//  1. The image is a function of the layers' entries: no clock, locale, user,
//     path or random number of the machine is in it, nor the order in which a
//     layer names its files (unless one name occurs twice: the last wins).
//  2. Nothing of a layer is ever a path, a link or a device of the machine:
//     names exist in memory, contents in the temporary file, which is gone when
//     Image is closed or the process dies.
//  3. Work and memory are bounded by Limits, never by what a layer says about
//     itself. A million files need less than 200 MB.
//  4. Layers that begin alike give images that begin alike, and a file that
//     changes moves only what is near to it: chunks of others stay the same.
//
// A layer that cannot be is refused with an error that wraps ErrInvalid or
// ErrTooLarge and names the layer and the entry. Errors of what a layer is read
// from, and of the disk, are passed on as they are.
//
// Design: docs/volumes.md.
package flatten
