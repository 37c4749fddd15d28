package blockfs

import (
	"context"
	"fmt"
)

// ahead is what is to be fetched of a volume before anybody reads it. The
// shelf's lock guards it.
type ahead struct {
	// queue is what clients want to have fetched, each chunk once in the
	// volume's life: so it is never longer than the volume. seen is a bitmap of
	// what was ever in it, or followed.
	queue    []int
	seen     []uint64
	followed []int // what goes first: readers come to it
	running  int
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

// maxFollowed bounds what waits to be fetched ahead of readers. Of more, what
// waits longest is given up: its reader is likely to have got there.
const maxFollowed = maxStreams * runAhead

// follow fetches chunks ahead of who is about to read them: a reader waits, so
// they go before what is queued. Whoever reads a volume again, after its chunks
// have left memory, is followed again.
func (s *shelf) follow(v *volume, chunks []int) {
	source, ok := v.source.(Prefetcher)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if v.gone {
		return
	}
	a := &v.ahead
	a.unseen(chunks) // clients need not have them fetched any more
	a.followed = append(a.followed, chunks...)
	if over := len(a.followed) - maxFollowed; over > 0 {
		a.followed = append(a.followed[:0], a.followed[over:]...)
	}
	s.startAhead(v, source)
}

// next takes the chunk that is to be fetched next.
func (a *ahead) next() (c int, ok bool) {
	from := &a.followed
	if len(*from) == 0 {
		from = &a.queue
	}
	if len(*from) == 0 {
		return 0, false
	}
	c, *from = (*from)[0], (*from)[1:]
	return c, true
}

// unseen returns those chunks that have never been asked for, and notes them.
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
	for v.ahead.running < min(s.cfg.PrefetchDepth, len(v.ahead.followed)+len(v.ahead.queue)) {
		v.ahead.running++
		v.calls.Go(func() { s.fetchAhead(v, source) })
	}
}

// fetchAhead works off what is queued of a volume.
func (s *shelf) fetchAhead(v *volume, source Prefetcher) {
	for {
		s.mu.Lock()
		c, ok := v.ahead.next()
		if !ok || v.ctx.Err() != nil {
			v.ahead.running--
			s.mu.Unlock()
			return
		}
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
