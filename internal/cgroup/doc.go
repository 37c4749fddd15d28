// Package cgroup bounds, measures and kills groups of processes
// through the kernel's control groups.
//
// It speaks both layouts that are met in practice: version 1, one hierarchy
// per controller (also in its hybrid form, where an empty version 2 hierarchy
// is mounted beside them), and version 2, one hierarchy for all. The calls
// and their meaning are the same on both.
//
// Invariants:
//
//  1. A process started with Group.Start belongs to the group before its
//     first instruction, hence so do all its descendants: nothing of what a
//     sandbox forks can escape its limits or its killing.
//  2. Kill returns nil only when no process is left in the group.
//  3. Memory is counted as anonymous plus shared memory. Page cache is left
//     out: the kernel takes it back under pressure, and writes to a file
//     would otherwise look like memory use.
//  4. A group that is being killed has no CPU quota: what it has used before
//     does not delay its end.
//
// Failure modes: a controller that is missing is reported by Detect, by name;
// a group that holds unkillable processes (state D) makes Kill fail at the
// end of its context.
package cgroup
