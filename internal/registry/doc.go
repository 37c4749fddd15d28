// Package registry is Hearth's own container registry: the endpoint below
// /v2/ that docker, crane, skopeo and other tools push images to and pull them
// from (Server, after the OCI distribution specification 1.1), and the store
// behind it (Store), which Hearth itself reads images from when functions are
// made of them. It is not on the way of an invoke. docs/images.md shows its use,
// docs/formats/registry.md what is on disk.
//
// Repositories belong to the account of the key that a client logs in with; a
// client sees no other account's, and whether another has the same bytes
// changes nothing it can see.
//
// Invariants:
//
//  1. What was acknowledged survives a crash and a power cut: bytes of uploads,
//     blobs, manifests, tags.
//  2. A blob has the bytes of its digest, and is there whole or not at all. A
//     manifest is there only while all that it names is.
//  3. A blob can be read only through a repository that it was pushed or
//     mounted into, and mounting needs the right to read the source.
//  4. What a push is told to be there stays for a day: garbage is collected
//     under the lock that pushes commit under.
//  5. No request makes the store keep more than the account's quota; every
//     file counts at least 4 KiB. Blobs are streamed, never held in memory.
//  6. Names are checked against the specification's before they become paths,
//     and all paths stay in the store's directory.
//
// Failure modes: a client that goes away leaves its upload to be taken up for
// a day. A full disk or quota ends the upload and removes it. A damaged
// manifest is an error when it is read, and keeps its repository's blobs from
// being collected.
package registry
