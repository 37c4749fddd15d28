// Package zones runs a cluster of three availability zones on one machine: each
// role of each zone is a process of its own, each zone a network of its own, and
// both can be broken on demand.
//
// Invariants:
//
//  1. A process that ends by itself is started again; one that was killed on
//     demand stays dead until it is healed.
//  2. When the supervisor ends, however it ends, its processes end too.
//  3. Clients are given no connection to a frontend that does not answer.
//
// Failure modes: what ends at every start is started once a second, and its log
// tells why.
//
// Design: docs/cluster.md.
package zones
