// Package ociimage finds and reads container images: in registries of the
// network, in Hearth's own, in OCI layouts and in archives of `docker save`.
// What a reference names is resolved once, to digests; a layer's bytes are then
// streamed, checked, and kept nowhere. docs/images.md has the way of an image.
//
// Invariants:
//
//  1. Nothing is believed before its digest is verified: manifests and
//     configurations before they are read, layers at their end at the latest.
//     No more is read of anything than its descriptor and the limits say.
//  2. A registry's host is a user's word: what is dialled passes package
//     outbound's guard, also after redirects and at realms of tokens.
//  3. Every wait has a bound. A connection that drops is taken up again where
//     it ended, a bounded number of times.
//  4. Credentials go to the registry that they are configured for, or to the
//     realm that it names, and into no error. Neither do URLs: what a registry
//     redirects to may hold signatures.
//  5. Hearth's own registry is read through Store, never over the network.
//
// Failure modes: every error of an image wraps one of ErrNotFound,
// ErrUnauthorized, ErrInvalid, ErrTooLarge and ErrUnavailable, and only the
// last may go away by itself. Errors of the context are returned as they are.
package ociimage
