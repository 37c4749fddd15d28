// Package keyring seals what must not lie on disk in the clear. Every account
// has keys of its own; they are stored wrapped by a master key, and the master
// keys are in the keyring file, in the clear or wrapped by an external KMS.
//
// Invariants:
//
//  1. A sealed value opens only for the account, purpose and record that it
//     was sealed for: moved to another place it is refused.
//  2. A key is durable before anything is sealed by it, and no rotation takes
//     one away: what was sealed once opens for good.
//  3. A keyring file is made only where nothing has been sealed yet. One that
//     is missing, damaged or another's stops the start with what to do.
//  4. No key, and nothing that was sealed, is in an error or a log line.
//  5. After Open nothing waits for the external KMS but a master rotation.
//
// Failure modes: an external KMS that is away stops a start and a master
// rotation, and nothing else; a crash within a rotation leaves keys under the
// master key before, which the next start wraps anew; with etcd away, accounts
// that have a key go on, and a new account's first value fails.
//
// Design: docs/keys.md. Formats: docs/formats/keyring.md.
package keyring
