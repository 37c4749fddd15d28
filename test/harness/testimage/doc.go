// Package testimage builds container images for tests, without Docker: values
// of go-containerregistry, to be pushed with it, or written to a file.
//
//	img := testimage.Python(t)
//	err := remote.Write(ref, img)
//
// The functions in them, each with AWS's own runtime interface client for its
// language, unmodified:
//
//   - Go: aws-lambda-go, a static binary and nothing else: no /etc, no /tmp.
//     Its manifest is in Docker's format, those of the others in OCI's.
//   - GoOnDebian: the same in a Debian of several layers, of which the upper
//     ones remove and change what is in the lower ones.
//   - Python: Debian's python3 with awslambdaric from PyPI.
//   - Node: Node.js's own binary in Debian, with aws-lambda-ric from npm. That
//     has an addon in C++ and sources of curl that npm compiles when it installs
//     it, in a root of Debian packages without a network, in minutes.
//   - Incompressible: random data, of which the function reads a part at its
//     start, for benches. NextVersion is the same image with one file changed.
//
// All but the last answer an event with an Answer.
//
// Invariants:
//
//  1. The same source and the same Debian packages give the same digest, on any
//     machine: no time, user or path of it is in an image. What comes from PyPI
//     and npm is pinned by digest; Debian's packages are what the suite has, and
//     are as they were until the cache is emptied.
//  2. GoOnDebian, Python and Node share their lowest layer.
//  3. What takes long is built once a machine and kept, as OCI layouts, in
//     "testimages" below the directory of the managed runtimes' images, under a
//     hash of what it is made of. What is there is whole: it got its name when it
//     was finished. One process builds at a time; the others wait.
//  4. Layers of Debian and of random data are never in memory as a whole.
//
// Building needs root, for chroot and for the owners of files, and what
// scripts/deps installs. A test fails, with what the tool said, where these or
// the network are missing.
package testimage
