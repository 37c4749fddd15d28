package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"

	"hearth/internal/awserr"
	"hearth/internal/chunk"
	"hearth/internal/chunkstore/origin"
	"hearth/internal/chunkstore/stack"
	"hearth/internal/garbage"
)

// memoryCache is for chunks that blockfs keeps in memory.
const memoryCache = 128 << 20

// bucketPuts is how many chunks of a build are on their way to a bucket at once:
// each takes two round trips.
const bucketPuts = 32

// chunks says where the machine has chunks from, given its directories for
// them. What is in a directory of this machine is not kept on disk twice.
func (c *Config) chunks(dir, cache string) *stack.Config {
	s := &stack.Config{
		Origin: origin.Location{
			Bucket: c.Chunks.Bucket, Region: c.Chunks.BucketRegion, Credentials: c.Chunks.BucketCredentials,
		},
		MemoryBytes: memoryCache, Zone: c.Chunks.Zone, ZoneKey: c.Chunks.ZoneKey,
	}
	if s.Origin.Far() {
		s.CacheDir, s.DiskBytes = cache, c.Chunks.CacheMB<<20
	} else {
		s.Origin.Dir = dir
	}
	return s
}

// chunkPuts is artifact.Config.Puts.
func (c *Config) chunkPuts() int {
	if c.Chunks.Bucket != "" {
		return bucketPuts
	}
	return 0
}

// openChunks opens what keeps the chunks, and what collects their garbage.
func (h *Hearth) openChunks(ctx context.Context, salt *chunk.Salt) (err error) {
	at := h.cfg.chunks(h.kept(h.dir.Chunks()), h.dir.Cache()).Origin
	if err := h.settleOrigin(ctx, at); err != nil {
		return err
	}
	if h.chunks, err = at.Open(); err != nil {
		return err
	}
	h.stopLast(func() { h.stopped("chunk store", h.chunks.Close()) })
	cfg := garbage.Config{
		Store: garbage.Etcd{Client: h.client}, Chunks: h.chunks,
		Rotation: h.cfg.GCRotation, Expiry: h.cfg.GCExpiry, Log: h.cfg.Log,
	}
	if bucket, ok := h.chunks.(*origin.S3); ok {
		// Who has the salt has the chunks: nobody else could name them.
		sum := sha256.Sum256(append([]byte("hearth chunks "), salt.Secret[:]...))
		owner := hex.EncodeToString(sum[:16])
		cfg.Claim = func(ctx context.Context) error { return bucket.Claim(ctx, owner) }
	}
	h.garbage, err = garbage.Open(ctx, cfg)
	return err
}

// originKey is where it is recorded which place the chunks are in.
const originKey = "hearth/chunk-origin"

// settleOrigin makes sure that the chunks are where they are said to be: in
// another place no function would start.
func (h *Hearth) settleOrigin(ctx context.Context, at origin.Location) error {
	client := h.client
	if h.cfg.Chunks.Moved {
		if _, err := client.Put(ctx, originKey, at.String()); err != nil {
			return fmt.Errorf("record where chunks are: %w", err)
		}
		return nil
	}
	answer, err := client.Txn(ctx).If(clientv3.Compare(clientv3.CreateRevision(originKey), "=", 0)).
		Then(clientv3.OpGet(garbage.RootsKey, clientv3.WithCountOnly())).Else(clientv3.OpGet(originKey)).Commit()
	if err != nil {
		return fmt.Errorf("find where chunks are: %w", err)
	}
	got := answer.Responses[0].GetResponseRange()
	recorded := at.String()
	switch {
	case !answer.Succeeded:
		recorded = string(got.Kvs[0].Value)
	case got.Count > 0: // of a version that knew no other place
		recorded = origin.Location{}.String()
	}
	if recorded != at.String() {
		return fmt.Errorf("the chunks of this Hearth are in %s, not in %s: start it as before, or copy them and start it once with --chunks-moved",
			recorded, at)
	}
	if !answer.Succeeded {
		return nil
	}
	if _, err := client.Put(ctx, originKey, recorded); err != nil {
		return fmt.Errorf("record where chunks are: %w", err)
	}
	return nil
}

// chunkCounters tells where chunks were read from.
func (h *Hearth) chunkCounters(ctx context.Context, _ []byte) (any, error) {
	if h.blockfs == nil {
		return nil, awserr.New("ResourceConflictException", "Each worker of a cluster counts for itself; this process is none.")
	}
	var s stack.Stats
	err := h.blockfs.Counters(ctx, &s)
	return &s, err
}
