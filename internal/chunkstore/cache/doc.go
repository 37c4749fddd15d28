// Package cache keeps ciphertexts of chunks near: a bounded number of bytes in
// memory, over a bounded number on disk. A worker has one, and so has a node of
// the cache of a zone.
//
// Invariants:
//
//  1. What is returned is the chunk. Copies on disk are checked against their
//     name each time they are read; copies in memory, which were checked on
//     their way in, against a checksum. A bad copy is dropped and counted, and
//     the reader is told that there is none. Config.Opened leaves that to
//     readers who have the key: opening authenticates, and Drop takes back what
//     cannot be opened.
//  2. Readers wait for no write, and no lock is held during I/O or hashing.
//  3. Neither bound is exceeded, not for a moment either: room is made before a
//     chunk is written.
//  4. Who reads much once cannot push out what is read again and again: see
//     policy.
//  5. Losing any part of it loses time only.
//
// Failure modes: a disk that is full or broken is not written to for a while,
// which is counted, and read from as far as it goes. After a crash or a power
// cut the files that are there are taken up unread, and torn ones are found
// when they are read.
//
// Design: docs/chunkstore.md. On disk: docs/formats/chunk-cache.md.
package cache
