// Package volumefs shows the volumes of functions' code as directories of this
// machine. Host is the worker's side: it finds a volume, has blockfs show it,
// and mounts it. Opener is the side of the blockfs process: it reads volumes
// chunk by chunk, as they are needed.
//
// Invariants:
//
//  1. Of a volume's keys, blockfs gets the one data key that opens its manifest,
//     over a socket that only root can use; it is in no file and no command line.
//  2. Volumes of the same id are read from one device, whoever opened them.
//  3. What a start touches is fetched ahead in the next one, and nothing waits
//     for that.
//
// Failure modes: those of blockfs; a manifest that does not open is refused
// before anything is shown.
//
// Design: docs/volumes.md.
package volumefs
