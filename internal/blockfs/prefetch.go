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
	fresh := v.ahead.unseen(args.Chunks)
	v.ahead.queue = append(v.ahead.queue, fresh...)
	s.startAhead(v, source)
	return len(fresh), nil
}

// runAhead is how many chunks are fetched ahead of who reads one chunk after
// the other: the time that a far source takes is then waited for once in as
// many.
const runAhead = 4

// follow fetches what comes after a chunk that was read right after the one
// before it. Its reader is waiting, so it goes before what is queued.
func (s *shelf) follow(v *volume, c int) {
	source, ok := v.source.(Prefetcher)
	if !ok {
		return
	}
	var next []int
	for i := c + 1; i <= c+runAhead && int64(i) < v.chunks(); i++ {
		next = append(next, i)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.gone {
		return
	}
	v.ahead.queue = append(v.ahead.unseen(next), v.ahead.queue...)
	s.startAhead(v, source)
}

// unseen returns those chunks that have never been queued, and notes them.
func (a *ahead) unseen(chunks []int) (fresh []int) {
	for _, c := range chunks {
		if a.seen[c/64]&(1<<(c%64)) == 0 {
			a.seen[c/64] |= 1 << (c % 64)
			fresh = append(fresh, c)
		}
	}
	return fresh
}

// startAhead has the queue of a volume worked off. The shelf is locked.
func (s *shelf) startAhead(v *volume, source Prefetcher) {
	for v.ahead.running < min(s.cfg.PrefetchDepth, len(v.ahead.queue)) {
		v.ahead.running++
		v.calls.Go(func() { s.fetchAhead(v, source) })
	}
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
