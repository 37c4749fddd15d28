package cli

import (
	"strconv"

	"github.com/spf13/cobra"

	"hearth/internal/chunkstore"
	"hearth/internal/chunkstore/stack"
	"hearth/internal/cluster"
)

// chunksFlags adds the flags that say where chunks are kept and cached.
func chunksFlags(f flagSet, cfg *cluster.ChunksConfig) {
	f.StringVar(&cfg.Bucket, "chunks-bucket", "",
		"keep the chunks of volumes in a bucket of an S3 server, in place of the data directory: https://HOST[:PORT]/BUCKET[/PREFIX]")
	f.StringVar(&cfg.BucketRegion, "chunks-bucket-region", "", "region of that server (default us-east-1)")
	f.StringVar(&cfg.BucketCredentials, "chunks-bucket-credentials", "",
		"file with an access key for it, in the form of ~/.aws/credentials (default anonymous)")
	f.BoolVar(&cfg.Moved, "chunks-moved", false, "all chunks were copied to where they are said to be now")
	f.Int64Var(&cfg.CacheMB, "chunks-cache", cluster.DefaultCacheMB, "MB of this machine's disk for copies of chunks that are in a bucket")
	f.StringArrayVar(&cfg.Zone, "zone-cache", nil, "URL of a node of the zone's cache of chunks (hearth cache); may be repeated")
	f.StringVar(&cfg.ZoneKey, "zone-cache-key", "", "file with the key of those nodes (hearth cache key)")
}

func (a *app) chunks() *cobra.Command {
	return &cobra.Command{
		Use:   "chunks",
		Short: "Show where chunks of code and images were read from",
		Long: `Shows, for each tier in the order in which they are asked, how many chunks were
read from it since the process that shows volumes was started: a cold start's
way is memory, this machine's disk, the zone's cache, and where chunks are kept.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var s stack.Stats
			if err := a.operate(cmd.Context(), "ChunkCounters", struct{}{}, &s); err != nil {
				return err
			}
			var rows [][]string
			for _, tier := range []struct {
				name string
				chunkstore.Tier
			}{{"memory", s.Memory}, {"disk", s.Disk}, {"zone", s.Zone}, {"origin", s.Origin}} {
				row := []string{tier.name}
				for _, n := range []int64{tier.Hits, tier.Bytes, tier.Misses, tier.Corrupt, tier.Errors} {
					row = append(row, strconv.FormatInt(n, 10))
				}
				rows = append(rows, row)
			}
			return a.print(cmd, &s, []string{"TIER", "HITS", "BYTES", "MISSES", "CORRUPT", "ERRORS"}, rows)
		},
	}
}
