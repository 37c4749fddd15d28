package guest_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"hearth/internal/controlstream"
)

// BenchmarkInvoke is the round trip of an invoke, with its Done, through a
// Session and a real hearth-init to a Go function on the host. The
// allocations are the worker's side.
func BenchmarkInvoke(b *testing.B) {
	for _, size := range []int{64, 64 << 10, 1 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			e := ready(b, goFunction(b))
			event := fmt.Appendf(nil, `{"do":"echo","text":"%s"}`, strings.Repeat("x", size))
			in := &controlstream.Invoke{RequestID: "00000000-0000-0000-0000-000000000000"}
			b.ReportAllocs()
			var answer time.Duration
			for b.Loop() {
				begin := time.Now()
				in.DeadlineMs = begin.Add(time.Minute).UnixMilli()
				if _, _, err := e.Session.Invoke(b.Context(), in, event); err != nil {
					b.Fatal(err)
				}
				answer += time.Since(begin)
				if _, err := e.Session.WaitDone(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(answer.Nanoseconds())/float64(b.N), "ns/answer")
		})
	}
}
