// Package kms is the key service: AWS KMS's API for symmetric keys, and the
// sealing of functions' environment variables by these keys.
//
// A key is a record in a table; its material is sealed by a Keeper under the
// key of its account, so that nothing in etcd opens anything by itself. What a
// key encrypts names the key and the version of its material.
//
// Invariants:
//
//  1. A ciphertext opens only by the key that made it, with the encryption
//     context that it was made with, and for the purpose that it was made for:
//     an environment cannot be opened as a ciphertext of the API, or moved to
//     another function.
//  2. A key that is disabled or pending deletion encrypts and decrypts
//     nothing, from the moment its change is acknowledged.
//  3. A rotation adds material and takes none away; deleting a key takes all.
//  4. A request is authorised for every key that it touches before any of them
//     is used. Without Config.Authorize, accounts reach their own keys only.
//  5. AWS managed keys are used by Lambda on behalf of an account; nobody uses
//     or changes them through the API.
//  6. No key material, plaintext or ciphertext is in an error or a log line.
//
// Failure modes: with etcd away, keys in memory go on encrypting and
// decrypting, and changes fail; material that cannot be opened (a keyring that
// is another's) fails the request with KMSInternalException.
//
// Design: docs/keys.md. Formats: docs/formats/keyring.md.
package kms
