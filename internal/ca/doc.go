// Package ca is the cluster's certificate authority and what nodes make of it:
// every process of a cluster has a certificate that says its name, its
// availability zone and its roles, and speaks to no other process without
// having seen one of the same authority.
//
// Invariants:
//
//  1. A certificate names one cluster. One of another cluster, even by the same
//     key, is refused.
//  2. What a process may do follows from the roles in its certificate alone, and
//     those are the authority's choice, never the asker's.
//  3. Private keys are made where they are used and never leave; files that hold
//     one are readable by their owner only.
//  4. A certificate that has been replaced on disk is used from the next
//     connection on.
//
// Failure modes: an expired certificate ends no connection that is open, and
// opens none; what the clock of a node must keep is a validity of months.
//
// Design: docs/cluster.md.
package ca
