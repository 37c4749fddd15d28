package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

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
			if a.output == "json" {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(rep)
			}
			return rep.Render(cmd.OutOrStdout())
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
	return cmd
}
