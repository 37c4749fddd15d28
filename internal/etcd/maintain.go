package etcd

import (
	"context"
	"log/slog"
	"time"
)

// Rewriting the database blocks every request, so it is done only when it
// gives much back.
const (
	defragMinBytes = 128 << 20
	defragMaxInUse = 0.5
)

// maintain gives the space of deleted records back to the file system.
func (s *Server) maintain(ctx context.Context, every time.Duration) {
	defer close(s.done)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		total, inUse := s.Size()
		if !worthDefrag(total, inUse) {
			continue
		}
		if err := s.etcd.Server.Backend().Defrag(); err != nil && s.log != nil {
			s.log.LogAttrs(ctx, slog.LevelWarn, "etcd: defragmentation failed", slog.Any("error", err))
		}
	}
}

func worthDefrag(total, inUse int64) bool {
	return total >= defragMinBytes && float64(inUse) < defragMaxInUse*float64(total)
}
