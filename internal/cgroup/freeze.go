package cgroup

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"time"
)

// spins is how many times Freeze looks at the state before it lets time pass.
// A group usually freezes within some tens of microseconds, less than the
// shortest sleep.
const spins = 64

// Freeze stops every process of the group and returns when all of them are
// stopped. The state is confirmed by reading it again: waiting for the
// kernel's notification takes up to 15 ms.
func (g *Group) Freeze(ctx context.Context) error { return g.switchFrozen(ctx, true) }

// Thaw lets the group's processes go on.
func (g *Group) Thaw(ctx context.Context) error { return g.switchFrozen(ctx, false) }

func (g *Group) switchFrozen(ctx context.Context, want bool) error {
	if err := g.setFrozen(want); err != nil {
		return fmt.Errorf("cgroup: freeze=%t %s: %w", want, g.path, err)
	}
	for i := 0; ; i++ {
		got, err := g.frozen()
		if err != nil {
			return fmt.Errorf("cgroup: freeze=%t %s: %w", want, g.path, err)
		}
		if got == want {
			return nil
		}
		if i < spins {
			runtime.Gosched()
			continue
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cgroup: freeze=%t %s: %w", want, g.path, context.Cause(ctx))
		case <-time.After(100 * time.Microsecond):
		}
	}
}

func (g *Group) setFrozen(frozen bool) error {
	if g.v2() {
		return g.write("", "cgroup.freeze", map[bool]string{true: "1", false: "0"}[frozen])
	}
	return g.write("freezer", "freezer.state", map[bool]string{true: "FROZEN", false: "THAWED"}[frozen])
}

func (g *Group) frozen() (bool, error) {
	if g.v2() {
		events, err := g.stat("", "cgroup.events")
		return events["frozen"] == 1, err
	}
	// FREEZING, the third state, is neither: version 1 asks again on read.
	state, err := g.read("freezer", "freezer.state")
	return strings.TrimSpace(state) == "FROZEN", err
}
