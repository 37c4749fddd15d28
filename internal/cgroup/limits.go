package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"golang.org/x/sys/unix"
)

// cpuPeriod is the window over which a CPU quota counts, in microseconds. The
// kernel's default of 100 ms would stall a function that has used up its
// share for up to 100 ms at a stretch; 20 ms is what AWS uses and keeps the
// stall below one timer of most programs.
const cpuPeriod = 20_000

// minQuota is the least that the kernel takes, in microseconds.
const minQuota = 1000

// SetMemory bounds memory, page cache included (the kernel drops page cache
// before it kills). Swap is bounded with it, so a limit is a limit.
func (g *Group) SetMemory(bytes int64) error {
	var err error
	if g.v2() {
		err = g.setMemoryV2(bytes)
	} else {
		err = g.setMemoryV1(bytes)
	}
	if err != nil {
		return fmt.Errorf("cgroup: limit memory of %s to %d bytes: %w", g.path, bytes, err)
	}
	return nil
}

// setMemoryV1 keeps memory ≤ memory+swap at every step, which the kernel
// demands: downwards the first goes first, upwards the second.
func (g *Group) setMemoryV1(bytes int64) error {
	value := strconv.FormatInt(bytes, 10)
	const memory, withSwap = "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"
	err := g.write("memory", memory, value)
	if errors.Is(err, unix.EINVAL) {
		if err := g.write("memory", withSwap, value); err != nil {
			return err
		}
		return g.write("memory", memory, value)
	}
	if err != nil {
		return err
	}
	// A kernel without swap accounting has no such file, and may have no swap.
	if err := g.write("memory", withSwap, value); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (g *Group) setMemoryV2(bytes int64) error {
	if err := g.write("", "memory.max", strconv.FormatInt(bytes, 10)); err != nil {
		return err
	}
	// Half a sandbox is no sandbox: the kernel shall kill all of it.
	if err := g.write("", "memory.oom.group", "1"); err != nil {
		return err
	}
	if err := g.write("", "memory.swap.max", "0"); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// SetCPU bounds CPU time to milli thousandths of a core, at least 50, and
// weighs the group against its neighbours by the same figure.
func (g *Group) SetCPU(milli int) error {
	quota := max(minQuota, int64(milli)*cpuPeriod/1000)
	var err error
	if g.v2() {
		err = errors.Join(
			g.write("", "cpu.max", fmt.Sprintf("%d %d", quota, cpuPeriod)),
			g.write("", "cpu.weight", strconv.FormatInt(weightV2(milli), 10)),
			g.setBurst("cpu.max.burst", quota))
	} else {
		// A burst above the quota is refused, also by a smaller quota later.
		err = errors.Join(
			g.setBurst("cpu.cfs_burst_us", 0),
			g.write("cpu", "cpu.cfs_period_us", strconv.Itoa(cpuPeriod)),
			g.write("cpu", "cpu.cfs_quota_us", strconv.FormatInt(quota, 10)),
			g.write("cpu", "cpu.shares", strconv.FormatInt(sharesV1(milli), 10)),
			g.setBurst("cpu.cfs_burst_us", quota))
	}
	if err != nil {
		return fmt.Errorf("cgroup: limit CPU of %s to %d/1000: %w", g.path, milli, err)
	}
	return nil
}

// liftCPU takes the CPU quota away from a group that is being killed. Exiting
// takes CPU time, and a group may have used up its share for long to come: a
// thread that stays in the kernel is not stopped at the quota, but the group
// must wait until what was used is made good, and killed processes wait too.
// Measured at 72/1000 of a core: 2 s in the kernel, then 28 s until the exit.
//
// An error is left alone: there may be no quota to lift, and the killing goes
// on in any case.
func (g *Group) liftCPU() {
	if g.v2() {
		_ = g.write("", "cpu.max", "max")
	} else {
		_ = g.write("cpu", "cpu.cfs_quota_us", "-1")
	}
}

// SetWeight weighs the group against its neighbours: milli thousandths of a
// core while they want all there is, and no bound while they do not.
func (g *Group) SetWeight(milli int) error {
	var err error
	if g.v2() {
		err = g.write("", "cpu.weight", strconv.FormatInt(weightV2(milli), 10))
	} else {
		err = g.write("cpu", "cpu.shares", strconv.FormatInt(sharesV1(milli), 10))
	}
	if err != nil {
		return fmt.Errorf("cgroup: weigh CPU of %s at %d/1000: %w", g.path, milli, err)
	}
	return nil
}

// setBurst lets a group that has been idle use one more period's quota: a
// function that wakes from idle answers without being stalled at once. Kernels
// before 5.14 have no bursts.
func (g *Group) setBurst(file string, quota int64) error {
	err := g.write("cpu", file, strconv.FormatInt(quota, 10))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// sharesV1 is the kernel's convention: 1024 for one core.
func sharesV1(milli int) int64 { return max(2, int64(milli)*1024/1000) }

// weightV2 is the kernel's convention: 100 for one core, 1 to 10000.
func weightV2(milli int) int64 { return min(10_000, max(1, int64(milli)/10)) }

// SetPids bounds the number of processes and threads.
func (g *Group) SetPids(n int) error {
	if err := g.write("pids", "pids.max", strconv.Itoa(n)); err != nil {
		return fmt.Errorf("cgroup: limit processes of %s to %d: %w", g.path, n, err)
	}
	return nil
}
