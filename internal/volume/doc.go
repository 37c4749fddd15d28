// Package volume cuts immutable byte ranges into encrypted chunks, describes
// them by manifests, and reads them back chunk by chunk.
//
// Invariants:
//
//  1. Build of the same bytes under the same Extra gives the same chunks, and a
//     Manifest with the same entries and ID.
//  2. ReadAt returns the bytes that Build was given, or an error: never others.
//     A chunk that fails its check is asked for again and is never served.
//  3. A manifest is opened only by who can unwrap its data key, and only if no
//     bit of it was changed. Listing its chunks needs no key.
//  4. No key and no plaintext is in an error.
//
// Failure modes: a chunk that cannot be had (the source's error), one that is
// wrong wherever it is asked for (chunk.ErrIntegrity, counted), a manifest
// that is damaged or of an unknown version (ErrManifest), or somebody else's
// (ErrRefused).
//
// Design: docs/volumes.md. Formats: docs/formats/manifest.md and
// docs/formats/profile.md.
package volume
