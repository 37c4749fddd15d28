package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"hearth/internal/bench"
	"hearth/internal/managedruntime"
)

func (a *app) bench() *cobra.Command {
	o := bench.Options{Progress: func(line string) { fmt.Fprintln(os.Stderr, line) }}
	var bare bool
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure this machine's Hearth against floors taken in the same run",
		Long: `Starts Hearths of its own over data directories of their own, and measures the
warm path and cold starts beside a bare HTTP server, the bare sandbox and plain
runsc. Run it on a quiet machine; quote the ratios.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if bare {
				return bench.Bare(cmd.Context(), func(addr string) { fmt.Fprintln(os.Stderr, "listening on", addr) })
			}
			rep, err := bench.Run(cmd.Context(), o)
			if err != nil {
				return err
			}
			return a.report(cmd, rep)
		},
	}
	cache := os.Getenv(managedruntime.CacheEnv)
	if dir, err := managedruntime.DefaultDir(); cache == "" && err == nil {
		cache = dir
	}
	f := cmd.Flags()
	f.IntVar(&o.Requests, "requests", 4000, "invokes in each warm series")
	f.IntVar(&o.Rounds, "rounds", 7, "cold starts of each runtime")
	f.StringVar(&o.RuntimeCache, "runtime-cache", filepath.Clean(cache), "directory of built runtime images (env HEARTH_RUNTIME_CACHE)")
	f.BoolVar(&bare, "serve-bare", false, "be the bare server")
	_ = f.MarkHidden("serve-bare") // the bench starts it itself
	cmd.AddCommand(a.benchStorage(cache))
	return cmd
}

func (a *app) benchStorage(cache string) *cobra.Command {
	o := bench.StorageOptions{Options: bench.Options{Requests: bench.MinRequests, Progress: func(line string) { fmt.Fprintln(os.Stderr, line) }}}
	var build int
	cmd := &cobra.Command{
		Use:   "storage",
		Short: "Measure volumes: how images are built, read lazily, and started",
		Long: `Starts Hearths of its own whose chunks come late, as from a store across a
network, and measures cold starts of container images of 20 MB and 1 GB, many
starts at once, reads, and builds. It needs 8 GB of disk, 20 GB with --huge.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if build > 0 {
				built, err := bench.Build(cmd.Context(), build)
				if err != nil {
					return err
				}
				return json.NewEncoder(cmd.OutOrStdout()).Encode(built)
			}
			rep, err := bench.Storage(cmd.Context(), o)
			if rep == nil {
				return err
			}
			return errors.Join(a.report(cmd, rep), err)
		},
	}
	f := cmd.Flags()
	f.DurationVar(&o.Delay, "delay", 20*time.Millisecond, "how long the origin of the chunks takes to answer")
	f.IntVar(&o.Rounds, "rounds", 5, "cold starts of each image")
	f.IntVar(&o.Concurrent, "concurrent", 200, "cold starts at once")
	f.StringSliceVar(&o.Parts, "parts", bench.StorageParts, "what to measure")
	f.BoolVar(&o.Huge, "huge", false, "build a volume of 10 GB, too")
	f.StringVar(&o.RuntimeCache, "runtime-cache", filepath.Clean(cache), "directory of built runtime images (env HEARTH_RUNTIME_CACHE)")
	f.IntVar(&build, "build", 0, "be the process that builds")
	_ = f.MarkHidden("build") // the bench starts it itself
	return cmd
}

// report writes what a bench has found.
func (a *app) report(cmd *cobra.Command, rep interface{ Render(out io.Writer) error }) error {
	if a.output == "json" {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		return enc.Encode(rep)
	}
	return rep.Render(cmd.OutOrStdout())
}
