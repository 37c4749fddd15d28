package zones

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// What the model of worker managers loses when one zone of three is lost, and what
// of it ran in the other zones, in percent of all environments: the simulation of
// internal/sim (TestZoneLoss) prints it.
const (
	modelLost     = 57
	modelOrphaned = 23
)

// plot draws what callers saw around the loss of a zone: failures and latency by
// quarters of a second, and the environments lost beside the model's.
func plot(path string, all []seen, at time.Time, known, after map[string]bool) error {
	const (
		width, height = 900, 420
		left, bottom  = 60, 330
		step          = 250 * time.Millisecond
		from, to      = -3 * time.Second, 10 * time.Second
		perStep       = 11.0
	)
	type slot struct {
		ok, failed int
		took       []time.Duration
	}
	slots := make([]slot, int((to-from)/step))
	for _, s := range all {
		i := int((s.at.Sub(at) - from) / step)
		if i < 0 || i >= len(slots) {
			continue
		}
		if s.err != nil {
			slots[i].failed++
			continue
		}
		slots[i].ok++
		slots[i].took = append(slots[i].took, s.took)
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`, width, height)
	line(`<rect width="100%%" height="100%%" fill="white"/>`)
	line(`<text x="%d" y="24" font-size="15">A zone of three is killed at 0 s: hearth up --azs 3, 12 environments, 6 clients</text>`, left)
	line(`<text x="%d" y="46">bars: failed invokes of a quarter second, percent; line: p99 of the others, ms (50 ms are the function's)</text>`, left)
	y := func(v float64) float64 { return bottom - v*2.5 } // of percent
	for _, v := range []int{0, 25, 50, 75, 100} {
		line(`<line x1="%d" x2="%d" y1="%g" y2="%g" stroke="#ddd"/><text x="%d" y="%g" text-anchor="end">%d %%</text>`,
			left, left+int(perStep*float64(len(slots))), y(float64(v)), y(float64(v)), left-6, y(float64(v))+4, v)
	}
	var points []string
	for i, s := range slots {
		x := left + perStep*float64(i)
		if n := s.ok + s.failed; n > 0 && s.failed > 0 {
			share := 100 * float64(s.failed) / float64(n)
			line(`<rect x="%g" y="%g" width="%g" height="%g" fill="#c33"/>`, x, y(share), perStep-1, bottom-y(share))
		}
		if len(s.took) > 0 {
			slices.Sort(s.took)
			p99 := s.took[len(s.took)*99/100]
			points = append(points, fmt.Sprintf("%g,%g", x+perStep/2, y(min(100, float64(p99.Milliseconds())/5))))
		}
		if t := from + time.Duration(i)*step; t%time.Second == 0 {
			line(`<text x="%g" y="%d" text-anchor="middle">%d</text>`, x, bottom+18, int(t.Seconds()))
		}
	}
	line(`<polyline points="%s" fill="none" stroke="#36c" stroke-width="2"/>`, strings.Join(points, " "))
	line(`<text x="%d" y="%d">seconds; the line's 100 %% are 500 ms</text>`, left, bottom+38)
	lost, fresh := 0, 0
	for env := range known {
		if !after[env] {
			lost++
		}
	}
	for env := range after {
		if !known[env] {
			fresh++
		}
	}
	const x = left + 620
	line(`<text x="%d" y="100" font-weight="bold">environments lost</text>`, x)
	bar := func(y int, name string, percent int, more string) {
		line(`<text x="%d" y="%d">%s: %d %%%s</text><rect x="%d" y="%d" width="%d" height="14" fill="#888"/>`, x, y, name, percent, more, x, y+6, percent*2)
	}
	bar(125, "measured", 100*lost/len(known), fmt.Sprintf(", %d started anew", fresh))
	bar(165, "assignment (simulated)", 33, ", 0 % orphans")
	bar(205, "worker managers (model)", modelLost, fmt.Sprintf(", %d %% orphans", modelOrphaned))
	line(`</svg>`)
	return os.WriteFile(path, []byte(b.String()), 0o644)
}
