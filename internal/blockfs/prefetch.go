package blockfs

import (
	"context"
	"fmt"
)

// ahead is what is to be fetched of a volume before anybody reads it. The
// shelf's lock guards it. Each chunk is fetched ahead at most once in the
// volume's life, so the queue is never longer than the volume.
type ahead struct {
	seen    []uint64 // bitmap of chunks that were ever queued
	queue   []int
	running int
}

// prefetch queues chunks and returns at once, with how many are new.
func (s *shelf) prefetch(args *prefetchArgs) (int, error) {
	v, err := s.named(args.Volume)
	if err != nil {
		return 0, err
	}
	source, ok := v.source.(Prefetcher)
	if !ok {
		return 0, nil // prefetching is an advice
	}
	for _, c := range args.Chunks {
		if c < 0 || int64(c) >= v.chunks() {
			return 0, fmt.Errorf("%w: chunk %d of %d", ErrInvalid, c, v.chunks())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.gone {
		return 0, ErrUnknown
	}
	n := 0
	for _, c := range args.Chunks {
		if v.ahead.seen[c/64]&(1<<(c%64)) == 0 {
			v.ahead.seen[c/64] |= 1 << (c % 64)
			v.ahead.queue = append(v.ahead.queue, c)
			n++
		}
	}
	for v.ahead.running < min(s.cfg.PrefetchDepth, len(v.ahead.queue)) {
		v.ahead.running++
		v.calls.Go(func() { s.fetchAhead(v, source) })
	}
	return n, nil
}

// fetchAhead works off the queue of a volume.
func (s *shelf) fetchAhead(v *volume, source Prefetcher) {
	for {
		s.mu.Lock()
		if len(v.ahead.queue) == 0 || v.ctx.Err() != nil {
			v.ahead.running--
			s.mu.Unlock()
			return
		}
		c := v.ahead.queue[0]
		v.ahead.queue = v.ahead.queue[1:]
		s.mu.Unlock()
		if err := s.fetch(v, source, c); err != nil {
			v.counts.prefetchErrors.Add(1)
			continue
		}
		v.counts.prefetched.Add(1)
	}
}

func (s *shelf) fetch(v *volume, source Prefetcher, c int) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the source has panicked: %v", p)
		}
	}()
	ctx, cancel := context.WithTimeoutCause(v.ctx, s.cfg.ReadTimeout, errStalled)
	defer cancel()
	return source.Prefetch(ctx, c)
}
