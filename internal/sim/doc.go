// Package sim runs the services of a cluster in simulated time, on a simulated
// network, with simulated crashes: hours of bad luck in seconds. What happens
// follows from a seed alone, so that what a seed has found can be looked at again.
//
// The partitions of assignment, their replicas and journals, and placement are
// the real ones: they are machines that are told what happens and say what is to
// be done. What is modelled is what lies between and below: network, etcd's
// leases, workers without sandboxes, frontends, and the goroutines of
// assignment's service.
//
// Invariants that a run checks:
//
//  1. No environment runs two invokes at once.
//  2. Nothing is started that the journal does not know, and no entry is
//     appended in a term that is over.
//  3. An invoke is given an environment of its function, and of no older
//     generation than it asked for.
//  4. Whoever asks for an environment is answered.
//  5. Once everything is well again, workers, leaders and journals agree: no
//     environment is an orphan, none is a ghost, and none is busy for ever.
//
// Failure modes: a run ends with the first violation; its error has the seed and
// the last events.
package sim
