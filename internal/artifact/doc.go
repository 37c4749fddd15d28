// Package artifact makes volumes of what functions are deployed as: zip
// archives of code and layers, and container images. A volume is built once,
// when its archive is first wanted, and found by the archive's key from then
// on.
//
// Invariants:
//
//  1. A manifest is visible only after every chunk that it names is durable.
//  2. What an account's archives hold is shared with no other account, nor can
//     anybody tell that two accounts' are equal.
//  3. A manifest opens only for the account and the archive that it was made
//     for: its data key is sealed for both.
//  4. Hostile archives cost bounded time, memory and disk, and leave nothing.
//  5. However many want the volume of an archive at once, it is built once.
//
// Failure modes: an archive or image that cannot be a file system is a
// *RefusedError that its owner is to see; a store that fails is an error, and
// the next who wants the volume builds it. A process that dies in a build leaves
// chunks that no manifest names, which are garbage. A volume whose chunks are gone
// is made anew from its archive by Mend and Migrate, if it has one. A damaged
// manifest of an archive is made anew; an image's, and one that is refused, is an
// error that says what to do.
//
// Design: docs/volumes.md.
package artifact
