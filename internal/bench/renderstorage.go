package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"hearth/internal/chunkstore"
)

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }

func rate(n int64, took time.Duration) string {
	return fmt.Sprintf("%.0f MB/s", float64(n)/1e6/took.Seconds())
}

// Render writes the report as tables with the targets beside the figures.
func (rep *StorageReport) Render(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%d cores, origin answers after %s\n", rep.Cores, milli(rep.Delay))
	if rep.Cold != nil {
		rep.Cold.renderSteps(w)
	}
	fmt.Fprintln(w, "\nvolumes\tfigure\ttarget")
	if rep.Cold != nil {
		rep.Cold.render(w)
	}
	if rep.Crowd != nil {
		rep.Crowd.render(w)
	}
	if rep.Read != nil {
		rep.Read.render(w)
	}
	rep.renderBuild(w)
	return w.Flush()
}

func (c *Colds) renderSteps(w io.Writer) {
	fmt.Fprintln(w, "\ncold start\ttotal\tboot\thandover\tinit\trun\tfetched\tchunks\tat once")
	for _, row := range []struct {
		name string
		s    Start
	}{
		{"20 MB image, first", c.Small.First},
		{"1 GB image, first", c.Large.First},
		{"20 MB image, later", c.Small.Later},
		{"1 GB image, later", c.Large.Later},
	} {
		s, f := row.s.Steps, row.s.Fetched
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\n", row.name, milli(s.Total), milli(s.Boot), milli(s.Handover),
			milli(s.Init), milli(s.Run), megabytes(f.Bytes), f.Reads, f.AtOnce)
	}
}

func (c *Colds) render(w io.Writer) {
	percent := func(s Start) float64 { return 100 * float64(s.Fetched.Bytes) / float64(c.Large.Bytes) }
	fmt.Fprintf(w, "fetched of the 1 GB image, first\t%.1f %%\t< 5 %%\n", percent(c.Large.First))
	fmt.Fprintf(w, "fetched of the 1 GB image, later\t%.1f %%\t< 5 %%\n", percent(c.Large.Later))
	fmt.Fprintf(w, "cold start, 1 GB to 20 MB, first\t%s\t≤ 1.50x\n", ratio(c.Large.First.Steps.Total, c.Small.First.Steps.Total))
	fmt.Fprintf(w, "cold start, 1 GB to 20 MB, later\t%s\t≤ 1.15x\n", ratio(c.Large.Later.Steps.Total, c.Small.Later.Steps.Total))
}

func (c *Crowd) render(w io.Writer) {
	fmt.Fprintf(w, "invokes at once that succeeded\t%d\tall of %d\n", c.Latency.N, c.Invokes)
	fmt.Fprintf(w, "  environments started\t%d\t\n", c.Starts)
	fmt.Fprintf(w, "  throttled, and sent again\t%d\t\n", c.Throttled)
	fmt.Fprintf(w, "  fetches of each chunk\t%.3f\t1\n", float64(c.Fetched.Reads)/float64(c.Fetched.Distinct))
	fmt.Fprintf(w, "  fetches at once\t%d\t≤ %d\n", c.Fetched.AtOnce, chunkstore.DefaultFetches)
	fmt.Fprintf(w, "  until the last has ended\t%.0f s\t\n", c.Took.Seconds())
}

func (r *Read) render(w io.Writer) {
	fmt.Fprintf(w, "read, plain ext4 on the disk\t%s\t\n", rate(r.Bytes, r.Plain))
	fmt.Fprintf(w, "read, volume, chunks in memory\t%s\t\n", rate(r.Bytes, r.Volume))
	fmt.Fprintf(w, "read, volume, chunks on the disk\t%s\t\n", rate(r.Bytes, r.Disk))
	fmt.Fprintf(w, "  chunks in memory, to plain ext4\t%.2fx\t≥ 0.70x\n", r.Plain.Seconds()/r.Volume.Seconds())
	fmt.Fprintf(w, "  chunks on the disk, to plain ext4\t%.2fx\t\n", r.Plain.Seconds()/r.Disk.Seconds())
	fmt.Fprintf(w, "in the page cache: files\t%s\t\n", megabytes(r.Cached.Files))
	fmt.Fprintf(w, "  device (the file system's own)\t%s\t\n", megabytes(r.Cached.Device))
	fmt.Fprintf(w, "  FUSE file\t%s\t0\n", megabytes(r.Cached.FUSE))
	fmt.Fprintf(w, "  files of chunks\t%s\t\n", megabytes(r.Cached.Chunks))
}

func (rep *StorageReport) renderBuild(w io.Writer) {
	for _, b := range []*Built{rep.Build, rep.Huge} {
		if b == nil {
			continue
		}
		name := fmt.Sprintf("build of %d MB", b.MB)
		fmt.Fprintf(w, "%s: flatten, cut, encrypt\t%.0f MB/s\t≥ 150 MB/s\n", name, b.Rate(b.Took))
		fmt.Fprintf(w, "  and store durably\t%.0f MB/s\t\n", b.Rate(b.Durable))
		fmt.Fprintf(w, "  peak memory\t%d MB\t< 200 MB\n", b.PeakMB)
		fmt.Fprintf(w, "  new chunks, built again\t%d of %d\t0\n", b.Again, b.Chunks)
		fmt.Fprintf(w, "  known chunks, one file changed\t%.1f %%\t≥ 95 %%\n", 100-100*float64(b.Changed)/float64(b.Chunks))
	}
}
