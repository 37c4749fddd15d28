// Package worker is the server in serverless: it starts execution environments
// in sandboxes, runs invokes in them one at a time, enforces their limits,
// writes their logs and destroys them.
//
// An environment comes to be in two phases. A sandbox boots knowing no
// function; a few per runtime are kept ready, as many as recent demand asks
// for. Then it is assigned a function, once: code, layers and /tmp are mounted, limits
// set, variables handed over, and the function initialises.
//
// Invariants:
//
//  1. The worker is the final arbiter: an environment accepts one invoke at a
//     time, and none under an epoch older than one it has seen.
//  2. A sandbox is assigned once, ever; no byte of one function's life reaches
//     another's.
//  3. Memory promised to environments stays within the worker's capacity.
//  4. What an environment used (processes, mounts, loop devices, files,
//     cgroups, namespaces) is gone when Stop returns, and whatever a former
//     life of the worker left is gone before the first start.
//  5. A client that takes its answer slowly, or not at all, keeps no
//     environment and no unit beyond the end of its invoke.
//  6. A function has keys of its role only, and they are made as its
//     environment starts: a sandbox without a function never has any. At its
//     endpoint it reaches the API's handler and nothing else, within bounds of
//     its own.
//  7. The peer inside the sandbox is hostile: a deadline is the worker's own,
//     and nothing waits for the sandbox without one.
//
// Failure modes: a sandbox that dies costs the invoke in it; a worker that dies
// costs its environments, which the next life sweeps.
//
// Design: docs/invoke-path.md.
package worker
