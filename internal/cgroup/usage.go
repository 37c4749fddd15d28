package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"
)

// Usage is what a group uses now and has used.
type Usage struct {
	// Memory is anonymous and shared memory: what cannot be dropped.
	Memory int64
	// Charged is all that the kernel charges to the group: Memory, page cache
	// and kernel memory.
	Charged int64
	// ChargedPeak is the most that Charged has been, zero where the kernel
	// does not tell (version 2 before Linux 5.19).
	ChargedPeak int64
	CPU         time.Duration
	// MajorFaults counts pages that programs had to wait for: read from disk
	// for the first time, or again.
	MajorFaults int64
}

// Usage reads the group's counters.
func (g *Group) Usage() (Usage, error) {
	read := g.usageV1
	if g.v2() {
		read = g.usageV2
	}
	u, err := read()
	if err != nil {
		return Usage{}, fmt.Errorf("cgroup: usage of %s: %w", g.path, err)
	}
	return u, nil
}

func (g *Group) usageV1() (Usage, error) {
	memory, err := g.stat("memory", "memory.stat")
	if err != nil {
		return Usage{}, err
	}
	charged, err := g.number("memory", "memory.usage_in_bytes")
	if err != nil {
		return Usage{}, err
	}
	peak, err := g.number("memory", "memory.max_usage_in_bytes")
	if err != nil {
		return Usage{}, err
	}
	cpu, err := g.number("cpuacct", "cpuacct.usage")
	return Usage{
		Memory:      memory["total_rss"] + memory["total_shmem"],
		Charged:     charged,
		ChargedPeak: peak,
		CPU:         time.Duration(cpu),
		MajorFaults: memory["total_pgmajfault"],
	}, err
}

func (g *Group) usageV2() (Usage, error) {
	memory, err := g.stat("", "memory.stat")
	if err != nil {
		return Usage{}, err
	}
	charged, err := g.number("", "memory.current")
	if err != nil {
		return Usage{}, err
	}
	peak, err := g.number("", "memory.peak")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Usage{}, err
	}
	cpu, err := g.stat("", "cpu.stat")
	return Usage{
		Memory:      memory["anon"] + memory["shmem"],
		Charged:     charged,
		ChargedPeak: peak,
		CPU:         time.Duration(cpu["usage_usec"]) * time.Microsecond,
		MajorFaults: memory["pgmajfault"],
	}, err
}

// OOMKills counts the processes that the kernel has killed because the group
// was at its memory limit.
func (g *Group) OOMKills() (int64, error) {
	file := "memory.oom_control"
	if g.v2() {
		file = "memory.events"
	}
	events, err := g.stat("memory", file)
	if err != nil {
		return 0, fmt.Errorf("cgroup: out-of-memory kills of %s: %w", g.path, err)
	}
	return events["oom_kill"], nil
}

// PidsRefused counts the processes and threads that could not be started
// because the group was at its limit of them.
func (g *Group) PidsRefused() (int64, error) {
	events, err := g.stat("pids", "pids.events")
	if err != nil {
		return 0, fmt.Errorf("cgroup: refused processes of %s: %w", g.path, err)
	}
	return events["max"], nil
}

func (g *Group) number(controller, file string) (int64, error) {
	text, err := g.read(controller, file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(text, 10, 64)
}

// stat reads a file of "name number" lines.
func (g *Group) stat(controller, file string) (map[string]int64, error) {
	text, err := g.read(controller, file)
	if err != nil {
		return nil, err
	}
	values, err := parseStat(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return values, nil
}

func parseStat(text string) (map[string]int64, error) {
	values := make(map[string]int64)
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		values[name] = n
	}
	return values, nil
}
