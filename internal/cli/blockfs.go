package cli

import (
	"errors"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"hearth/internal/bench"
	"hearth/internal/blockfs"
	"hearth/internal/chunkstore"
	"hearth/internal/chunkstore/cache"
	"hearth/internal/chunkstore/origin"
	"hearth/internal/volumefs"
)

// blockfs is hidden: hearth up starts it, as a process of its own that outlives
// a crash of Hearth.
func (a *app) blockfs() *cobra.Command {
	var dir, chunks string
	var memoryMB int64
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
			source, err := chunkSource(chunks, memoryMB<<20)
			if err != nil {
				return err
			}
			defer source.close()
			return blockfs.Run(cmd.Context(), blockfs.Config{
				Dir: dir, Opener: volumefs.Opener{Source: source, Checked: true}, Build: build,
				Counters: func() any { return source.Stats() }, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
			}, ready)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "the directory that it owns")
	cmd.Flags().BoolVar(&ready, "ready", false, "write to descriptor 3 when it serves")
	cmd.Flags().StringVar(&chunks, "chunks", "", "the directory of the chunks")
	cmd.Flags().Int64Var(&memoryMB, "memory-mb", 128, "MB of chunks that are kept in memory")
	_ = cmd.MarkFlagRequired("dir")
	_ = cmd.MarkFlagRequired("chunks")
	return cmd
}

// chunkTiers is where blockfs has chunks from.
type chunkTiers struct {
	*chunkstore.Tiered
	cache  *cache.Cache
	origin *origin.Dir
}

// chunkSource reads chunks from a directory, which is near: only those that are
// being read are kept in memory, and none on disk.
func chunkSource(dir string, memory int64) (_ *chunkTiers, err error) {
	t := &chunkTiers{}
	if t.origin, err = origin.AttachDir(dir); err != nil {
		return nil, err
	}
	if t.cache, err = cache.Open(cache.Config{MemoryBytes: memory}); err != nil {
		return nil, errors.Join(err, t.origin.Close())
	}
	measured, err := bench.Origin(t.origin)
	if err != nil {
		return nil, errors.Join(err, t.cache.Close(), t.origin.Close())
	}
	if t.Tiered, err = chunkstore.New(chunkstore.Config{Cache: t.cache, Origin: measured}); err != nil {
		return nil, errors.Join(err, t.cache.Close(), t.origin.Close())
	}
	return t, nil
}

func (t *chunkTiers) close() {
	t.Close()
	_ = t.cache.Close() // it has nothing to write
	_ = t.origin.Close()
}
