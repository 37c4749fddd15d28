package cli

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"hearth/internal/bench"
	"hearth/internal/blockfs"
	"hearth/internal/chunkstore/stack"
	"hearth/internal/volumefs"
)

// blockfs is hidden: hearth up starts it, as a process of its own that outlives
// a crash of Hearth.
func (a *app) blockfs() *cobra.Command {
	var dir, chunks string
	var ready bool
	cmd := &cobra.Command{
		Use:    "blockfs",
		Short:  "Show volumes as block devices (started by hearth up)",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var from stack.Config
			if err := json.Unmarshal([]byte(chunks), &from); err != nil {
				return fmt.Errorf("--chunks: %w", err)
			}
			source, err := stack.New(from, bench.Origin)
			if err != nil {
				return err
			}
			build, err := blockfs.Build(chunks)
			if err != nil {
				return err
			}
			log := slog.New(slog.NewTextHandler(os.Stderr, nil))
			return blockfs.Run(cmd.Context(), blockfs.Config{
				Dir: dir, Opener: volumefs.Opener{Source: source, Checked: true}, Build: build,
				Locked: source.Open, Unlocked: func() {
					if err := source.Close(); err != nil {
						log.Warn("blockfs: chunks not closed cleanly", "error", err)
					}
				},
				Counters: func() any { return source.Stats() }, Log: log,
			}, ready)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the directory that it owns")
	cmd.Flags().BoolVar(&ready, "ready", false, "write to descriptor 3 when it serves")
	cmd.Flags().StringVar(&chunks, "chunks", "", "where chunks are, as JSON (stack.Config)")
	_ = cmd.MarkFlagRequired("dir")
	_ = cmd.MarkFlagRequired("chunks")
	return cmd
}
