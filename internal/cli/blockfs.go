package cli

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"hearth/internal/blockfs"
)

// volumes is where the volumes of blockfs come from.
func volumes() blockfs.Opener { return blockfs.FileOpener{} }

// blockfs is hidden: hearth up starts it, as a process of its own that outlives
// a crash of Hearth.
func (a *app) blockfs() *cobra.Command {
	var dir string
	var ready bool
	cmd := &cobra.Command{
		Use:    "blockfs",
		Short:  "Show volumes as block devices (started by hearth up)",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			build, err := blockfs.Build()
			if err != nil {
				return err
			}
			return blockfs.Run(cmd.Context(), blockfs.Config{
				Dir: dir, Opener: volumes(), Build: build, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
			}, ready)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the directory that it owns")
	cmd.Flags().BoolVar(&ready, "ready", false, "write to descriptor 3 when it serves")
	_ = cmd.MarkFlagRequired("dir")
	return cmd
}
