package blockfs

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"hearth/internal/mount"
)

// BenchmarkLease takes out a lease, mounts, unmounts and releases: of a volume
// that nobody has open, for which a file and a loop device are made and a
// superblock read, and of one that is open and mounted. Each step is reported
// on its own. The server is a process, its source a file of the disk.
func BenchmarkLease(b *testing.B) {
	source, _ := tree(b, 1<<20)
	spec := testSpec{Path: image(b, source, "16M")}
	c := connect(b, ClientConfig{Dir: filepath.Join(shortDir(b), "fs")})
	defer func() {
		if err := c.Shutdown(b.Context(), true); err != nil {
			b.Error(err)
		}
	}()
	held := open(b, c, "held", spec)
	there := b.TempDir()
	if err := held.Mount(there); err != nil {
		b.Fatal(err)
	}
	defer unmount(b, there)
	n := 0
	for _, kind := range []struct {
		name   string
		volume func() string
	}{
		{"new", func() string { n++; return fmt.Sprint("v", n) }},
		{"open", func() string { return "held" }},
	} {
		b.Run(kind.name, func(b *testing.B) {
			var steps stopwatch
			target := b.TempDir()
			for b.Loop() {
				steps.start()
				l := open(b, c, kind.volume(), spec)
				steps.lap("open")
				if err := l.Mount(target); err != nil {
					b.Fatal(err)
				}
				steps.lap("mount")
				if err := mount.Unmount(target); err != nil {
					b.Fatal(err)
				}
				steps.lap("unmount")
				if err := l.Release(b.Context()); err != nil {
					b.Fatal(err)
				}
				steps.lap("release")
			}
			steps.report(b)
		})
	}
}

// stopwatch sums up what each step of a round takes.
type stopwatch struct {
	last  time.Time
	spent map[string]time.Duration
}

func (s *stopwatch) start() { s.last = time.Now() }

func (s *stopwatch) lap(step string) {
	if s.spent == nil {
		s.spent = make(map[string]time.Duration)
	}
	now := time.Now()
	s.spent[step] += now.Sub(s.last)
	s.last = now
}

func (s *stopwatch) report(b *testing.B) {
	b.Helper()
	for step, d := range s.spent {
		b.ReportMetric(float64(d.Microseconds())/float64(b.N), step+"-µs")
	}
}
