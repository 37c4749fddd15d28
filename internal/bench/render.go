package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

func micro(d time.Duration) string { return fmt.Sprintf("%.0f µs", float64(d)/1e3) }
func milli(d time.Duration) string { return fmt.Sprintf("%.0f ms", float64(d)/1e6) }

func ratio(a, b time.Duration) string {
	if b == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2fx", float64(a)/float64(b))
}

// Render writes the report as tables with the targets beside the figures.
func (rep *Report) Render(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%d cores\n\n", rep.Cores)
	fmt.Fprintln(w, "warm path\tp50\tp99\tp99.9\treq/s")
	for _, row := range []struct {
		name string
		l    Latency
	}{
		{"bare net/http, c=1", rep.Bare1},
		{"floor: control stream, c=1", rep.Floor1},
		{"hearth, c=1", rep.Warm1},
		{"bare net/http, c=16", rep.Bare16},
		{"floor: control streams, c=16", rep.Floor16},
		{"hearth, c=16", rep.Warm16},
	} {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.0f\n", row.name, micro(row.l.P50), micro(row.l.P99), micro(row.l.P999), row.l.Rate)
	}
	fmt.Fprintln(w, "\nratio\tfigure\ttarget")
	fmt.Fprintf(w, "p50 over the floor, c=1\t%s\t≤ 500 µs\n", micro(rep.Warm1.P50-rep.Floor1.P50))
	fmt.Fprintf(w, "p99 over the floor, c=1\t%s\t≤ 2000 µs\n", micro(rep.Warm1.P99-rep.Floor1.P99))
	fmt.Fprintf(w, "p50 to the bare server, c=1\t%s\t≤ 7.5x\n", ratio(rep.Warm1.P50, rep.Bare1.P50))
	fmt.Fprintf(w, "p99 to the bare server, c=1\t%s\t≤ 7x\n", ratio(rep.Warm1.P99, rep.Bare1.P99))
	fmt.Fprintf(w, "throughput to the bare server, c=16\t%.2fx\t≥ 0.19x\n", rep.Warm16.Rate/rep.Bare16.Rate)
	fmt.Fprintf(w, "throughput to the floor, c=16\t%.2fx\t\n", rep.Warm16.Rate/rep.Floor16.Rate)
	fmt.Fprintf(w, "hearth's memory, idle\t%d MB\t≤ 150 MB\n", rep.IdleMB)
	fmt.Fprintf(w, "hearth's memory, after the load\t%d MB\t\n", rep.UsedMB)
	fmt.Fprintln(w, "\ncold start\ton the host\trunsc run\tpool empty\tto runsc\tboot\thandover\tinit\trun\tpooled\tto runsc\thandover\tinit\trun")
	for _, c := range rep.Cold {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", c.Runtime, milli(c.Host), milli(c.Runsc),
			milli(c.Empty.Total), ratio(c.Empty.Total, c.Runsc), milli(c.Empty.Boot), milli(c.Empty.Handover), milli(c.Empty.Init), milli(c.Empty.Run),
			milli(c.Pooled.Total), ratio(c.Pooled.Total, c.Runsc), milli(c.Pooled.Handover), milli(c.Pooled.Init), milli(c.Pooled.Run))
	}
	fmt.Fprintln(w, "target for python3.11\t\t\t\t≤ 1.50x\t\t\t\t\t\t≤ 0.50x")
	return w.Flush()
}
