// Package placement is the placement service: it chooses the worker for a new
// execution environment, grants a time-based lease with it, and watches the
// workers' health through their heartbeats.
//
// Invariants:
//
//  1. A worker that is unhealthy, draining or silent gets no new environment.
//  2. The memory granted on a worker and not yet returned stays within its
//     capacity. The worker is the final arbiter and may still refuse.
//  3. A function's environments are spread over the zones that have room.
//  4. Leases end at jittered times, so that environments started together do
//     not end together.
//
// Failure modes: a lost placement service loses only its books, and there may be
// several: workers report what they run with their next heartbeat.
//
// Design: docs/invoke-path.md.
package placement
