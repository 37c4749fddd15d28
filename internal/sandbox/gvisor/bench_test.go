package gvisor_test

import (
	"slices"
	"testing"
	"time"

	"hearth/internal/sandbox"
	"hearth/internal/sandbox/sandboxtest"
)

// BenchmarkLife measures a sandbox's life: from Create to the dialled control
// connection, an echo over it, freezing and thawing, and Destroy.
func BenchmarkLife(b *testing.B) {
	driver, root := newDriver(b, b.TempDir()), sandboxtest.Root(b)
	ctx := sandboxtest.Context(b)
	const rounds = 200
	var boot, echo, pause, resume, destroy []time.Duration
	timed := func(list *[]time.Duration, do func() error) {
		start := time.Now()
		if err := do(); err != nil {
			b.Fatal(err)
		}
		*list = append(*list, time.Since(start))
	}
	for b.Loop() {
		var g *sandboxtest.Guest
		timed(&boot, func() error {
			g = sandboxtest.Boot(b, driver, sandbox.Spec{Root: root})
			return nil
		})
		for range rounds {
			timed(&echo, func() error { return g.Echo("0123456789012345678901234567890123456789012345678901234567890123") })
			timed(&pause, func() error { return g.Pause(ctx) })
			timed(&resume, func() error { return g.Resume(ctx) })
		}
		timed(&destroy, func() error { return g.Close(ctx) })
	}
	b.ReportMetric(0, "ns/op") // a sum of unlike things
	report(b, "boot-ms", boot, time.Millisecond)
	report(b, "destroy-ms", destroy, time.Millisecond)
	report(b, "echo-µs", echo, time.Microsecond)
	report(b, "pause-µs", pause, time.Microsecond)
	report(b, "resume-µs", resume, time.Microsecond)
}

// report gives the median of what was measured.
func report(b *testing.B, unit string, list []time.Duration, in time.Duration) {
	b.Helper()
	slices.Sort(list)
	b.ReportMetric(float64(list[len(list)/2])/float64(in), unit)
}
