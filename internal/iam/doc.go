// Package iam is the identity service: it owns accounts, users with their
// access keys, roles, managed policies and identity providers; it makes
// sessions, and says of every request who makes it and whether it is allowed.
//
// Invariants:
//
//  1. Who a request comes from, and whether it is allowed, is decided from
//     memory: nothing of a request waits for etcd.
//  2. Secrets of access keys and sessions lie nowhere in the clear. A secret is
//     shown once, when its key is made.
//  3. A session is its token: nothing is stored for it. It ends with its time,
//     with the role or user it was made of (one that is made again under the
//     same name is another), and with the key that made it.
//  4. A change of a policy, role, user or key counts from the moment that its
//     caller is answered.
//  5. A policy that cannot be read is not stored; one that cannot be read all
//     the same denies.
//  6. No user or role has a policy attached that is not there, and none gets
//     the rights of another one that had its name before.
//
// Failure modes: with etcd away, decisions and sessions go on from memory and
// changes fail. A record that cannot be read allows nothing.
//
// The design is in docs/identity.md.
package iam
